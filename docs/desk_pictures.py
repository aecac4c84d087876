"""Takes the pictures of the desk's views in docs/pictures, in Chromium, over a copy of these pages.

python docs/desk_pictures.py                (make pictures)
python docs/desk_pictures.py --all FOLDER   every view at 390 and 1,440 pixels, light and dark, to look at
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parent
SIZES = {"wide": (1440, 900), "phone": (390, 844)}
SHOWN = (
    *(("search", "wide", "light"), ("search", "wide", "dark"), ("search", "phone", "light")),
    *(("compare", "wide", "light"), ("rerank", "wide", "light"), ("index", "wide", "light")),
)
"""What stands in the pages: view, size and colours."""
QUESTION = "how are passages of code cut?"
LARGEST = 200_000
"""Bytes of a picture."""


@contextmanager
def desk(home: Path) -> Iterator[str]:
    """Gives the address of a desk over these pages, in a home folder of its own."""
    shutil.copytree(DOCS, home / "docs", ignore=shutil.ignore_patterns("*.py", "*.css", "__pycache__", "pictures"))
    (home / "docs" / "scan.bin").write_bytes(bytes(64))
    command = [sys.executable, "-m", "qsift", "desk", "--no-open", str(home / "docs")]
    environment = {**os.environ, "HOME": str(home), "QSIFT_CACHE": str(home / ".cache" / "qsift")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            yield next(filter(None, (re.search(r"http://\S+/#token=\S+", line) for line in process.stderr)))[0]
        finally:
            process.terminate()


def fill(page: Any, view: str) -> None:
    """Shows a view with something in it, and waits until it stands still."""
    page.click(f"nav >> [data-view={view}]")
    if view == "search":
        page.fill("#query", QUESTION)
        page.locator("#search-status", has_text="the best first").wait_for(timeout=120_000)
        page.locator("#hits mark").first.wait_for(timeout=60_000)
    elif view == "index":
        page.locator("#shelves .status", has_text="Up to date").wait_for(timeout=120_000)
        page.locator("#shelves summary:visible", has_text="skipped").click()
        page.locator("#shelves summary:visible", has_text="Kinds").click()
    else:
        page.click(f"#{view}-example")
        page.locator("#heat td.self" if view == "compare" else "#rerank-result strong").first.wait_for()
        if view == "compare":
            page.locator("#compare-width").fill("0")
            page.locator("#compare-precision label", has_text="binary").click()
        else:
            page.locator("#rerank-result summary").first.click()
            page.locator(".prompt .count").wait_for()
        page.locator("main").evaluate("node => document.activeElement.blur()")
    page.wait_for_timeout(800)


def save(shot: bytes, path: Path) -> None:
    """Writes a screenshot as WebP.

    Raises:
        SystemExit: it is larger than a page should load.
    """
    Image.open(io.BytesIO(shot)).convert("RGB").save(path, quality=88, method=6)
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes; {LARGEST} are allowed. Show less.")


def main() -> None:
    """Takes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", type=Path, metavar="FOLDER", dest="folder")
    folder = parser.parse_args().folder
    views = dict.fromkeys(view for view, _, _ in SHOWN)
    wanted = SHOWN if folder is None else [(v, s, c) for v in views for s in SIZES for c in ("light", "dark")]
    target = folder or DOCS / "pictures"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home, desk(Path(home)) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for view, size, colours in wanted:
            width, height = SIZES[size]
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme="dark" if colours == "dark" else "light",
                device_scale_factor=1 if size == "wide" else 2,
                locale="en-GB",
            )
            page.goto(url)
            page.locator("#search-status", has_text="passages of").wait_for(timeout=120_000)
            fill(page, view)
            save(page.screenshot(full_page=view != "search"), target / f"desk-{view}-{size}-{colours}.webp")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
