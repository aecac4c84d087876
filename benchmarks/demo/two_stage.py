"""The main job on real files with the bundled pair: the embedder sifts, the reranker sorts. It is `make demo`.

    python benchmarks/demo/two_stage.py README.md notes.txt --query "when is it due?"

For each question both stages stand side by side, so that what the second one adds can be seen.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from qsift import Embedder, Reranker
from qsift.cli_output import columns, one_line

CANDIDATES, SHOWN = 20, 4
QUESTIONS = (
    "How do I turn a checkpoint into a GGUF file?",
    "Why does a text that is too long raise an error?",
    "如何安装这个软件?",
)


@dataclass(frozen=True)
class Passage:
    """A paragraph of a file and the line it starts at."""

    place: str
    text: str


def paragraphs(path: Path) -> list[Passage]:
    """Returns the paragraphs of a text file that hold more than three words."""
    found, line = [], 1
    for block in path.read_text("utf-8", errors="replace").split("\n\n"):
        start = line + len(block) - len(block.lstrip("\n"))
        if len(block.split()) > 3:
            found.append(Passage(f"{path}:{start}", block.strip()))
        line += block.count("\n") + 2
    return found


def column(ranked: list[tuple[float, Passage]], width: int) -> list[str]:
    """Returns a line for each of the best passages, each at most ``width`` columns wide."""
    lines, longest = [], max(len(passage.place) for _, passage in ranked[:SHOWN])
    for score, passage in ranked[:SHOWN]:
        line = f"{score:5.2f}  {passage.place:<{longest}}  "
        lines.append(line + one_line(passage.text, width - len(line)))
    return lines


def answer(query: str, passages: list[Passage], embedder: Embedder, reranker: Reranker, vectors: object) -> float:
    """Prints both stages for one question; returns the seconds that they took."""
    started = time.perf_counter()
    cosines = embedder.similarity(embedder.encode_query(query), vectors)[0]
    candidates = (-cosines).argsort(kind="stable")[:CANDIDATES]
    hits = reranker.rank(query, [passages[i].text for i in candidates])
    seconds = time.perf_counter() - started
    width = min(shutil.get_terminal_size((120, 24)).columns, 160) // 2 - 2
    first = column([(float(cosines[i]), passages[i]) for i in candidates], width)
    second = column([(hit.score, passages[candidates[hit.corpus_id]]) for hit in hits], width)
    print(f"\n{query}\n{'cosine of the embedder':<{width}}    P(yes) of the reranker")
    for left, right in zip(first, second, strict=True):
        print(f"{left}{' ' * (width - columns(left))}    {right}")
    return seconds


def main() -> None:
    """Searches the files for the answers to all questions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--query", action="append", help="may be given several times; default: three of ours")
    arguments = parser.parse_args()
    questions = arguments.query or QUESTIONS
    try:
        passages = [passage for path in arguments.files for passage in paragraphs(path)]
    except OSError as error:
        sys.exit(f"Error: {str(error.filename)!r} cannot be read: {error.strerror}.")
    if not passages:
        sys.exit("Error: the files hold no paragraphs of more than three words.")
    with Embedder.load("demo-embedding") as embedder, Reranker.load("demo-reranker") as reranker:
        started = time.perf_counter()
        vectors = embedder.encode_document([passage.text for passage in passages])
        embedding = time.perf_counter() - started
        answering = sum(answer(query, passages, embedder, reranker, vectors) for query in questions)
    print(
        f"\n{len(passages)} paragraphs embedded in {embedding:.1f} s; {len(questions)} questions, the best "
        f"{min(CANDIDATES, len(passages))} candidates of each reranked, in {answering:.1f} s.\n"
        "The demo pair is for trying out; for real work convert a released checkpoint (README, Quickstart)."
    )


if __name__ == "__main__":
    main()
