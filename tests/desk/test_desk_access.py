"""Who may ask the desk, and for what: the token, the origin, the host, and files that are not in the index."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from desking import Desking

pytestmark = pytest.mark.posix  # an xdg-open of its own
ENDPOINTS = {
    "/desk/search": {"query": "tea"},
    "/desk/sentences": {"query": "tea", "passages": [{"text": "One sentence is here. Another one is there."}]},
    "/desk/open": {"shelf": 0, "source": "x"},
    "/desk/index": {"shelf": 0},
    "/desk/stop": {"shelf": 0},
    "/desk/compare": {"texts": ["a", "b"]},
    "/desk/prompt": {"query": "a", "document": "b"},
}


def test_nothing_is_said_without_the_token(desk: Desking) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        for path, body in ENDPOINTS.items():
            assert httpx.post(desk.url + path, json=body, headers=headers).status_code == 401, path
        for path in ("/desk/state", "/v1/models", "/metrics"):
            assert httpx.get(desk.url + path, headers=headers).status_code == 401, path


def test_a_page_of_another_origin_or_name_is_refused(http: httpx.Client) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        answer = http.post("/desk/search", json={"query": "tea"}, headers=headers)
        assert answer.status_code == 403, headers


def test_the_page_runs_nothing_but_its_own_files(desk: Desking) -> None:
    page = httpx.get(desk.url, headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"] == "text/html; charset=utf-8" and desk.token not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy and "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff" and page.headers["referrer-policy"] == "no-referrer"
    again = httpx.get(desk.url, headers={"Accept": "text/html", "If-None-Match": page.headers["etag"]})
    assert again.status_code == 304 and not again.content
    script = httpx.get(f"{desk.url}/desk/assets/app.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    for name in ("../desk.py", "..%2fdesk.py", "nothing.js", ""):
        assert httpx.get(f"{desk.url}/desk/assets/{name}").status_code in (401, 404), name


def test_answers_from_files_are_kept_by_no_cache(http: httpx.Client) -> None:
    assert http.post("/desk/search", json={"query": "tea"}).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("source", ["/etc/passwd", "../home/notes/tea.md", "notes/tea.md", "", "\0", "-e", "x" * 5000])
def test_only_what_is_in_the_index_is_opened(http: httpx.Client, desk: Desking, source: str) -> None:
    before = desk.opened.read_text() if desk.opened.exists() else ""
    answer = http.post("/desk/open", json={"shelf": 0, "source": source})
    assert answer.status_code == 404 and "is not in this index" in answer.json()["message"]
    assert before == (desk.opened.read_text() if desk.opened.exists() else "")


def test_a_document_that_is_no_file_is_not_opened(http: httpx.Client) -> None:
    answer = http.post("/desk/open", json={"shelf": 1, "source": "lines/0/0.txt"})
    assert answer.status_code == 404 and "The file is not there any more" in answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/desk/search", {"query": " "}, 400),
        ("/desk/search", {"query": "\ud800"}, 400),
        ("/desk/search", {"query": "x" * 5000}, 400),
        ("/desk/search", {"query": "tea", "shelf": 9}, 404),
        ("/desk/search", {"query": "tea", "shelf": -1}, 404),
        ("/desk/search", {"query": "tea", "kinds": ["exe'; DROP TABLE"]}, 400),
        ("/desk/search", {"query": "tea", "top_k": 10**9}, 400),
        ("/desk/search", {"query": "tea", "rerank": 51}, 400),
        ("/desk/search", {"query": "tea", "folder": "x'; [ ] * ?"}, 200),
        ("/desk/search", {"query": "tea' OR 1=1 --"}, 200),
        ("/desk/search", {"query": "<|im_end|>"}, 200),
        ("/desk/search", {"query": "\0"}, 200),
        ("/desk/compare", {"texts": []}, 400),
        ("/desk/compare", {"texts": ["x"] * 41}, 400),
        ("/desk/index", {"shelf": 0, "add": " "}, 400),
        ("/desk/stop", {"shelf": 7}, 404),
    ],
)
def test_odd_requests_are_answered_in_words(
    http: httpx.Client, path: str, body: dict[str, object], status: int
) -> None:
    answer = http.post(path, content=json.dumps(body))
    assert answer.status_code == status, answer.text
    assert "hits" in answer.json() if status == 200 else answer.json()["message"]


def test_programs_get_from_the_root_what_they_got(http: httpx.Client) -> None:
    for accept in ("*/*", "application/json", "text/plain"):
        answer = http.get("/", headers={"Accept": accept})
        assert answer.text == "qsift is running. /docs says what it answers.\n"
    assert http.post("/", json={"inputs": "a"}, headers={"Accept": "text/html"}).status_code == 200


def test_a_second_job_waits_for_the_first(http: httpx.Client, tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number}.txt").write_text(f"{number} rain on the roof {number * 3}")
    assert http.post("/desk/index", json={"shelf": 1, "add": str(tmp_path)}).status_code == 200
    refused = http.post("/desk/index", json={"shelf": 1, "add": str(tmp_path)})
    assert refused.status_code == 429 and "Stop that" in refused.json()["message"]
    assert http.post("/desk/stop", json={"shelf": 1}).status_code == 200
