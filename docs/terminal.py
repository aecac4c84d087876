"""Draws docs/pictures/terminal.svg from commands that it runs.

    python docs/terminal.py          (make figures)

The picture holds no font and no script, and asks no other host.
"""

from __future__ import annotations

import html
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.cells import cell_len
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
WIDTH = 106
COMMANDS = (
    ["qsift", "rerank", "demo-reranker", "什么是量子计算?", "计算机发展简史", "量子力学入门知识", "量子计算的基本原理"],
    ["qsift", "search", "how are passages of code cut?", "docs/*.md", "--top-k", "2"],
)
THEME = TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    # Black, red, green, yellow, blue, magenta, cyan, white.
    [
        *((72, 79, 88), (255, 123, 114), (86, 211, 164), (227, 179, 65)),
        *((121, 192, 255), (210, 168, 255), (118, 227, 234), (177, 186, 196)),
    ],
)
LINES = 4
"""Lines of a passage that are shown."""


def main() -> None:
    """Runs the commands and writes the picture."""
    console = Console(record=True, width=WIDTH, force_terminal=True, file=io.StringIO(), highlight=False)
    for number, command in enumerate(COMMANDS):
        if number:
            console.print()
        console.print(Text.assemble(("$ ", "bold green"), (shell(command), "bold")))
        files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))
        given = [word for part in command for word in (files if part == "docs/*.md" else [part])]
        given[0] = str(Path(sys.executable).with_name(command[0]))
        done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True, check=True)
        for line in clipped(done.stdout.splitlines()):
            console.print(styled(line), no_wrap=True, overflow="ellipsis")
    svg = console.export_svg(
        title="qsift", theme=THEME, code_format=without_fonts(CONSOLE_SVG_FORMAT), unique_id="qsift"
    )
    (ROOT / "docs" / "pictures" / "terminal.svg").write_text(with_wide_letters(svg) + "\n", "utf-8")


def shell(command: list[str]) -> str:
    """Returns a command as one types it."""
    return " ".join(word if shlex.quote(word) == word or "*" in word else f'"{word}"' for word in command)


def clipped(lines: list[str]) -> list[str]:
    """Returns the lines of an output, LINES of each passage at most."""
    kept, n_passage = [], 0
    for line in lines:
        n_passage = n_passage + bool(line.strip()) if line.startswith("     ") else 0
        if n_passage <= LINES and (line.strip() or n_passage < LINES):
            kept.append(line.rstrip())
    return kept


def styled(line: str) -> Text:
    """Returns a line with its numbers and places in colour."""
    text = Text(line)
    text.highlight_regex(r"^rank.*", "dim")
    text.highlight_regex(r"^ *\d+ +(?P<score>0\.\d+)", "bold")
    text.highlight_regex(r"0\.\d{3,4}(?=  )", "green")
    text.highlight_regex(r"\S+\.md:\d+(-\d+)?", "cyan")
    text.highlight_regex(r"\(cosine .*\)", "dim")
    return text


def with_wide_letters(svg: str) -> str:
    """Returns a picture whose Chinese letters are two cells wide; rich gives them room for one."""

    def widened(match: re.Match[str]) -> str:
        text = html.unescape(match[4])
        return f"{match[1]}{float(match[2]) / len(text) * cell_len(text):g}{match[3]}{match[4]}"

    return re.sub(r'(<text [^>]*textLength=")([\d.]+)("[^>]*>)([^<]+)', widened, svg)


def without_fonts(template: str) -> str:
    """Returns rich's template without the fonts that it fetches, with those that machines have."""
    head, *fonts = template.split("@font-face")
    rest = fonts[-1].split("}}", 1)[1]
    mono = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Noto Sans Mono CJK SC', monospace"
    return (head.rstrip() + rest).replace("Fira Code, monospace", mono)


if __name__ == "__main__":
    main()
