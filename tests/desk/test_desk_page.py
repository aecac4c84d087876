"""The desk's page in a browser: each view, by keyboard, at any size, whatever the files hold."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desking import Desking
from server.serving import Serving

from qsift import Document, Embedder, Reranker, SearchIndex

VIEWS = ("search", "compare", "rerank", "index")
pytestmark = pytest.mark.posix


@pytest.fixture
def page(browser: Any, desk: Desking) -> Iterator[Any]:
    """The page as `qsift desk` opens it; whatever it complains of fails the test."""
    yield from _opened(browser, desk)


def _opened(browser: Any, desk: Desking, **options: Any) -> Iterator[Any]:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], locale="en-GB", **options)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda asked: asked.url.startswith(desk.url) or complaints.append(asked.url))
    page.goto(desk.page)
    page.locator("#search-status", has_text="passages of").wait_for()
    yield page
    assert not [said for said in complaints if "ERR_CONNECTION_REFUSED" not in said]
    context.close()


def ask(page: Any, question: str) -> Any:
    """Types a question, waits until its passages are ranked, and returns them."""
    page.fill("#query", "")
    page.type("#query", question)
    page.locator("#search-status", has_text="the best first").wait_for(timeout=60_000)
    return page.locator("#hits > li")


def test_a_question_is_answered_as_it_is_typed(page: Any) -> None:
    page.type("#query", "how long does green tea steep?")
    page.locator("#hits", has_text="tea.md").wait_for()  # the first stage
    page.locator("#search-status", has_text="the best first").wait_for(timeout=60_000)
    first = page.locator("#hits > li").first
    assert "notes/tea.md lines 1–3" in first.locator("h2").inner_text()
    assert re.search(r"P\(yes\)\s+0\.\d{3}\s+cosine 0\.\d{3}\s+first stage \d", first.locator(".scores").inner_text())
    first.locator("mark").wait_for()
    assert first.locator("mark").inner_text() == "Green tea steeps for two minutes at 75 °C."
    assert {"Green", "tea", "steeps"} <= set(first.locator(".snippet b").all_inner_texts())


def test_one_of_five_thousand_passages_is_found(page: Any) -> None:
    first = ask(page, "who notes the ships at the lighthouse?").first
    assert f"lines.index · lines/{4999 % 7}/4999.txt" in first.inner_text()


def test_a_script_in_a_file_or_its_name_is_text(page: Any) -> None:
    hit = ask(page, "volcano report").first
    assert "<script>window.harm = 1</script> <img src=x onerror='window.harm = 2'>" in hit.inner_text()
    hit = ask(page, "a submarine in a bottle").first
    assert '<img src=x onerror="harm=3">.txt' in hit.locator("h2").inner_text()
    assert page.evaluate("window.harm ?? 0") == 0 and page.locator("main img, main script").count() == 0


def test_the_keyboard_is_enough(page: Any, desk: Desking, folder: Path) -> None:
    ask(page, "how long does green tea steep?").first.locator("mark").wait_for()
    page.locator("h1").first.evaluate("node => document.activeElement.blur()")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert "tea.md" in page.evaluate("document.activeElement.innerText")
    page.keyboard.press("c")
    page.locator("#search-status", has_text="clipboard").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "“Green tea steeps for two minutes at 75 °C.” (notes/tea.md, lines 1–3)"
    page.keyboard.press("Enter")
    page.locator("#search-status", has_text="was opened").wait_for()
    assert desk.opened.read_text().splitlines() == [str(folder / "notes/tea.md")]
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "query"


def test_filters_limit_what_is_found(page: Any) -> None:
    page.select_option("#shelf", label="home")
    page.locator("#kinds label", has_text="Code").click()
    hits = ask(page, "green tea")
    assert [text.split(" lines")[0] for text in hits.locator("h2").all_inner_texts()] == ["home · code/parser.py"]
    page.click("#clear")
    page.select_option("#shelf", label="lines.index")
    page.select_option("#folder", label="lines/3 (714)")
    hits = ask(page, "green tea")
    assert hits.count() == 20 and all("lines/3/" in text for text in hits.locator("h2").all_inner_texts())
    page.click("#clear")
    page.fill("#after", "2999-01-01")
    page.fill("#query", "nothing is as new as that")
    page.locator("#search-status", has_text="Nothing was found").wait_for()


def test_compare_shows_the_librarys_cosines(page: Any, embedder: Embedder) -> None:
    texts = ["a red car", "a crimson automobile", "soup of the day"]
    page.click("nav >> text=Compare")
    page.fill("#compare-texts", "\n".join(texts))
    page.fill("#compare-query", "something to drive")
    page.click("#compare-form button[type=submit]")
    page.locator("#heat td.self").first.wait_for()
    query, vectors = embedder.encode_query(["something to drive"]), embedder.encode_document(texts)
    first_row = page.locator("#heat tbody tr").first.locator("td")

    def shown() -> list[float]:
        return [float(text) for text in first_row.all_inner_texts()[1:]]

    assert shown() == pytest.approx(embedder.similarity(query, vectors)[0].tolist(), abs=0.0051)
    order = page.locator("#ranking .text").all_inner_texts()
    assert order == [texts[i] for i in (-embedder.similarity(query, vectors)[0]).argsort()]
    page.locator("#compare-width").fill("0")
    page.locator("#compare-precision label", has_text="binary").click()
    narrow = [embedder.encode_query(["something to drive"], truncate_dim=32, precision="binary")]
    narrow.append(embedder.encode_document(texts, truncate_dim=32, precision="binary"))
    cosines = embedder.similarity(*narrow, precision="binary")[0]
    assert shown() == pytest.approx(cosines.tolist(), abs=0.0051)
    page.locator("#heat tbody button").nth(1).click()
    assert page.locator("#ranking-title").inner_text() == "Nearest to 1"


def test_rerank_shows_the_librarys_scores_and_its_prompt(page: Any, reranker: Reranker) -> None:
    query, documents = "how is bread kept fresh?", ["A bakery opens.", "Bread stays fresh in a cloth.", "面包可以冷冻"]
    page.click("nav >> text=Rerank")
    page.fill("#rerank-query", query)
    page.fill("#rerank-documents", "\n".join(documents))
    page.click("#rerank-form button[type=submit]")
    page.locator("#rerank-result li").first.wait_for()
    hits = reranker.rank(query, documents)
    assert page.locator("#rerank-result .text").all_inner_texts() == [hit.text for hit in hits]
    shown = [float(score) for score in page.locator("#rerank-result strong").all_inner_texts()]
    assert shown == pytest.approx([hit.score for hit in hits], abs=2e-3)
    page.locator("#rerank-result summary").first.click()
    page.locator(".prompt .count").wait_for()
    ids = reranker.token_ids(query, hits[0].text)
    exact = b"".join(token.piece for token in reranker.tokens(ids)).decode()
    assert page.locator(".prompt").first.text_content() == f"{exact}\n{len(ids)} tokens"


def test_the_index_says_what_is_there_and_what_was_left_out(page: Any) -> None:
    page.click("nav >> text=Index")
    card = page.locator("#shelves article").first
    card.locator("dd").first.wait_for()
    assert card.locator("dd").all_inner_texts()[:2] == ["5", "5"]
    card.locator("summary", has_text="1 skipped").click()
    assert "It is binary: it holds zero bytes. (1)" in card.inner_text() and "picture.bin" in card.inner_text()
    card.locator("summary", has_text="Folders").click()
    assert re.search(r"notes\s+4", card.inner_text())
    assert page.locator("#shelves article").nth(1).locator("dd").first.inner_text() == "5,000"


def test_what_is_added_can_be_stopped_and_found(page: Any, tmp_path: Path) -> None:
    words = "river stone lamp paper house wind glass bread"
    for number in range(3000):
        (tmp_path / f"{number}.txt").write_text(f"{number} {words} {number * 7}")
    page.click("nav >> text=Index")
    card = page.locator("#shelves article").first
    card.locator("input").fill(str(tmp_path))
    card.locator("button", has_text="Add").click()
    card.locator(".status", has_text="embedded").wait_for(timeout=60_000)
    card.locator("button", has_text="Stop").click()
    card.locator(".status", has_text="Stopped.").wait_for(timeout=60_000)
    n_documents = int(card.locator("dd").first.inner_text().replace(",", ""))
    assert 5 <= n_documents < 3005
    card.locator("input").fill(str(tmp_path / "nothing"))
    card.locator("button", has_text="Add").click()
    card.locator(".status", has_text="There is no such file or folder.").wait_for()


def test_an_index_that_changes_meanwhile_is_seen(page: Any, index: Path, embedder: Embedder) -> None:
    question = "where does the glassblower live?"
    assert "glassblower" not in ask(page, question).first.inner_text()
    with SearchIndex.open(index, embedder) as writer:
        writer.add([Document.of_text("The glassblower lives above the harbour.", "lines/new.txt")])
        assert "lines/new.txt" in ask(page, question).first.inner_text()
        writer.remove(["lines/new.txt"])
        assert "lines/new.txt" not in ask(page, question).first.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, desk: Desking, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    # Its own script is no part of the page, whose policy it could not pass.
    for page in _opened(browser, desk, color_scheme=scheme, bypass_csp=True, viewport={"width": 1440, "height": 900}):
        for view in _each_view(page):
            found = axe.Axe().run(page).response["violations"]
            serious = [item for item in found if item["impact"] in ("serious", "critical")]
            assert not serious, (view, [(item["id"], [node["html"] for node in item["nodes"]]) for item in serious])


def _each_view(page: Any) -> Iterator[str]:
    """Goes through the views, each with something in it."""
    ask(page, "green tea").first.locator("mark, .snippet").first.wait_for()
    yield "search"
    for view in ("compare", "rerank"):
        page.click(f"nav >> [data-view={view}]")
        page.click(f"#{view}-example")
        page.locator(f"#{'heat td.self' if view == 'compare' else 'rerank-result strong'}").first.wait_for()
        yield view
    page.click("nav >> [data-view=index]")
    page.locator("#shelves dd").first.wait_for()
    yield "index"


def test_nothing_is_lost_at_four_times_the_size(browser: Any, desk: Desking) -> None:
    # 400 % of a window of 1,280 pixels: WCAG 2.2, 1.4.10.
    for page in _opened(browser, desk, viewport={"width": 320, "height": 256}):
        for view in _each_view(page):
            assert page.evaluate("document.scrollingElement.scrollWidth") <= 320, view


def test_the_page_speaks_chinese(page: Any) -> None:
    page.click("#language")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert page.locator("nav a").all_inner_texts() == ["搜索", "比较", "重排", "索引"]
    page.fill("#query", "面包怎么保存")
    page.locator("#search-status", has_text="最佳在前").wait_for(timeout=60_000)
    hit = page.locator("#hits > li").first
    assert "面包.md" in hit.inner_text() and "面包" in hit.locator("b").all_inner_texts()
    page.click("#language")


def test_every_text_of_the_page_is_in_the_table() -> None:
    assets = Path(__file__).parents[2] / "src" / "qsift" / "desk" / "assets"
    table = set(re.findall(r'^  "([\w-]+)": \[', (assets / "strings.js").read_text("utf-8"), re.MULTILINE))
    sources = [path.read_text("utf-8") for path in assets.iterdir() if path.suffix in (".js", ".html")]
    source = "\n".join(text for text in sources if "const STRINGS" not in text)
    asked_for = set(re.findall(r'(?:data-t(?:-label|-placeholder)?=|\bt\()"([\w-]+)"', source))
    assert asked_for <= table
    assert {name for name in table if not name.startswith(("kind-", "unit-"))} <= set(re.findall(r'"([\w-]+)"', source))


def test_typing_leaves_nothing_behind(page: Any, http: Any, desk: Desking) -> None:
    def gone() -> float:
        lines = http.get("/metrics").text.splitlines()
        mine = [line for line in lines if "/desk/search" in line and 'status="499"' in line]
        return sum(float(line.rpartition(" ")[2]) for line in mine if "_total" in line or "_count" in line)

    before, told = gone(), list(desk.told)
    page.type("#query", "a question that is typed in one go", delay=5)
    page.locator("#search-status", has_text="the best first").wait_for(timeout=60_000)
    assert gone() > before and desk.told == told


def test_the_page_says_that_its_server_has_ended(browser: Any, folder: Path, tmp_path: Path) -> None:
    with Desking(tmp_path, folder / "notes") as desk:
        for page in _opened(browser, desk):
            page.fill("#query", "green tea")
            started = time.monotonic()
            assert desk.interrupt() == 0
            assert time.monotonic() - started < 20
            page.locator("#banner", has_text="The server has ended").wait_for(timeout=15_000)


def test_a_server_shows_what_its_models_do(browser: Any) -> None:
    models = ("--embedding", "demo-embedding", "--reranker", "demo-reranker")
    with Serving(*models, "--api-key", "secret") as server:
        page = browser.new_page(locale="en-GB")
        page.goto(server.url)
        page.fill("#key", "wrong")
        page.click("#key-form button")
        page.locator("#key-dialog[open]").wait_for()
        page.fill("#key", "secret")
        page.click("#key-form button")
        page.locator("h1", has_text="Compare").wait_for()
        assert page.locator("nav a:visible").all_inner_texts() == ["Compare", "Rerank"]
        page.click("nav >> text=Rerank")
        page.click("#rerank-example")
        page.locator("#rerank-result strong").first.wait_for()
        page.close()
