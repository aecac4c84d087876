"""The documentation is whole: names, languages, figures, and a site that asks no other host."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qsift
from qsift.cli import COMMANDS

ROOT = Path(__file__).parents[2]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXT = "\n".join(page.read_text("utf-8") for page in [*READMES, *PAGES])
REFERENCE = set(re.findall(r"^::: (?:qsift\.)?([\w.]+)$", TEXT, re.MULTILINE))


def test_every_command_and_error_is_named() -> None:
    missing = [f"qsift {name}" for name in COMMANDS if f"`qsift {name}`" not in TEXT]
    table = (ROOT / "docs" / "errors.md").read_text("utf-8")
    errors = [name for name in qsift.__all__ if name.endswith("Error") and name != "QsiftError"]
    assert not missing + [name for name in errors if f"| `{name}` |" not in table]


def test_every_public_name_stands_in_the_reference() -> None:
    assert not set(qsift.__all__) - REFERENCE


@pytest.mark.parametrize("home", ["hub", "server", "integrations"])
def test_what_else_is_public_stands_in_the_reference(home: str) -> None:
    files = {path.stem for path in (ROOT / "src" / "qsift" / "integrations").glob("*.py")}
    inner = {"__init__", "columns", "lazy_models", "partitions"}
    wanted = {"hub": {"pull", "remove", "open_model"}, "server": {"create_app", "serve", "ServerOptions"}}
    assert not {f"{home}.{name}" for name in wanted.get(home, files - inner)} - REFERENCE


def test_every_page_stands_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed = re.findall(r"[\w/]+\.md", text[text.index("\nnav:") :])
    assert sorted(listed) == [page.relative_to(ROOT / "docs").as_posix() for page in PAGES]


def test_both_readmes_say_the_same() -> None:
    english, chinese = (shape(path.read_text("utf-8")) for path in READMES)
    assert english == chinese


def shape(text: str) -> dict[str, list[str]]:
    """Returns what two translations share: code, the levels of headings, rows and links."""
    code = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return {
        "code": code,
        "headings": re.findall(r"^#+", prose, re.MULTILINE),
        "rows": [str(row.count(" |")) for row in prose.splitlines() if row.startswith("|")],
        "links": sorted(set(re.findall(r"\]\((.+?)\)", prose)) - {path.name for path in READMES}),
        "commands": sorted(set(re.findall(r"`([^`]+)`", prose))),
    }


def test_a_readme_is_read_in_one_sitting() -> None:
    assert all(len(path.read_text("utf-8").splitlines()) <= 150 for path in READMES)


def test_a_figure_stands_once() -> None:
    printed = re.findall(r"\[\[\[cog (\w+)\(", TEXT)
    assert sorted(set(printed)) == sorted(printed)


def test_figures_are_those_of_the_rows() -> None:
    pytest.importorskip("cogapp", reason="cogapp is not installed: pip install 'qsift[docs]'")
    files = [
        path for path in [*PAGES, ROOT / "docs" / "pictures" / "ragged.svg"] if "[[[cog" in path.read_text("utf-8")
    ]
    command = [sys.executable, "-m", "cogapp", "--check", "-P", "-I", "docs", "-p", "from figures import *"]
    result = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"Renew them with: make figures\n{result.stdout}{result.stderr}"


def test_the_site_builds_and_asks_no_other_host(tmp_path: Path) -> None:
    pytest.importorskip("zensical", reason="zensical is not installed: pip install 'qsift[docs]'")
    for name in ("docs", "src/qsift", "convert"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.gguf"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    fetched = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) == len(PAGES) + 1
    assert not [tag for page in pages for tag in fetched.findall(page.read_text("utf-8"))]
    pictures = [path.read_text("utf-8") for path in (tmp_path / "site" / "pictures").glob("*.svg")]
    assert pictures and not [text for text in pictures if "url(http" in text or "@import" in text]
