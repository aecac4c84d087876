"""The main job on real files with the bundled pair: the embedder sifts, the reranker sorts. It is `make demo`.

    python benchmarks/demo/two_stage.py README.md notes --query "when is it due?"

For each question both stages stand side by side, so that what the second one adds can be seen.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence

from qsift import Embedder, PassageList, QsiftError, Reranker, SearchHit, SearchPipeline, Splitter, find_documents
from qsift.cli.output import columns, one_line

CANDIDATES, SHOWN = 20, 4
MAX_TOKENS = 96
"""Longest passage: the pair was trained on texts of about this length."""
QUESTIONS = (
    "How do I turn a checkpoint into a GGUF file?",
    "Why does a text that is too long raise an error?",
    "向量可以截断到多少维?",
)


def column(hits: Sequence[SearchHit], scores: Sequence[float | None], width: int) -> list[str]:
    """Returns a line for each hit, at most ``width`` columns wide."""
    places = [f"{hit.passage.source}:{hit.passage.line}" for hit in hits]
    longest = max(map(columns, places))
    lines = []
    for hit, score, place in zip(hits, scores, places, strict=True):
        line = f"{score:5.2f}  {place}{' ' * (longest - columns(place))}  "
        lines.append(line + one_line(hit.passage.text, width - columns(line)))
    return lines


def show(query: str, hits: Sequence[SearchHit]) -> None:
    """Prints the best passages of both stages side by side."""
    width = min(shutil.get_terminal_size((120, 24)).columns, 160) // 2 - 2
    sifted, both = sorted(hits, key=lambda hit: hit.rank)[:SHOWN], hits[:SHOWN]
    left = column(sifted, [hit.similarity for hit in sifted], width)
    right = column(both, [hit.score for hit in both], width)
    print(f"\n{query}\n{'cosine of the embedder':<{width}}    P(yes) of the reranker")
    for first, second in zip(left, right, strict=True):
        print(f"{first}{' ' * (width - columns(first))}    {second}")


def main() -> None:
    """Searches the files for the answers to all questions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", help="files and folders")
    parser.add_argument("--query", action="append", help="may be given several times; default: three of ours")
    arguments = parser.parse_args()
    questions = arguments.query or QUESTIONS

    def skipped(name: str, reason: str) -> None:
        print(f"Skipped {name!r}: {reason}", file=sys.stderr)

    with Embedder.load("demo-embedding") as embedder, Reranker.load("demo-reranker") as reranker:
        started = time.perf_counter()
        documents = find_documents(arguments.paths, on_skip=skipped)
        splitter = Splitter(embedder.token_count, max_tokens=MAX_TOKENS, overlap=0)
        passages = PassageList.of(documents, embedder, splitter=splitter, on_skip=skipped)
        if not passages.passages:
            sys.exit("Error: there is no text in these files.")
        embedded = time.perf_counter()
        pipeline = SearchPipeline(embedder, reranker, passages)
        for query in questions:
            show(query, pipeline.search(query, top_k=CANDIDATES, candidates=CANDIDATES, order="score"))
        answered = time.perf_counter()
    count = len(passages.passages)
    print(
        f"\n{count} passages embedded in {embedded - started:.1f} s; {len(questions)} questions, the best "
        f"{min(CANDIDATES, count)} candidates of each reranked, in {answered - embedded:.1f} s.\n"
        "The demo pair is for trying out; for real work load a released model by its name (docs/models.md)."
    )


if __name__ == "__main__":
    try:
        main()
    except QsiftError as error:
        sys.exit(f"Error: {error}")
