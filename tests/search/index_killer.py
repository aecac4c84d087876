"""Kills an indexer twenty times at random moments and looks at the index after each; run by a test.

    python tests/search/index_killer.py MODEL FOLDER

A process of its own, because it forks: importing LanceDB anew for every round would take a minute.
Prints how many indexers were really killed. Exits with 1, and says why, where a promise is broken.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

import qsift.search.table  # before the forks  # noqa: F401
from qsift import Document, Embedder, EngineOptions, IndexOptions, SearchIndex, Section
from qsift.engine.llama.library import library

N_ROUNDS, N_DOCUMENTS, LARGE = 20, 100, 50
OPTIONS = IndexOptions(batch=20, wait=60)


def documents(version: int) -> list[Document]:
    """Returns documents of three passages, and one in the middle that is larger than two batches."""

    def document(number: int) -> Document:
        n_passages = LARGE if number == N_DOCUMENTS // 2 else 3
        sections = [
            Section(f"passage {part} of document {number}, version {version}", part + 1) for part in range(n_passages)
        ]
        return Document(f"{number}.md", "markdown", str(version), 0.0, lambda: sections)

    return [document(number) for number in range(N_DOCUMENTS)]


def main(model: Path, folder: Path) -> None:
    """Runs the rounds; every third one, all documents change."""
    generator = random.Random(4)
    library()
    started = time.monotonic()
    finish(fork(lambda: index(model, folder / "calibration", 0, folder / "whole.txt")))
    whole = time.monotonic() - started
    n_killed = 0
    for number in range(N_ROUNDS):
        version, said = number // 3, folder / f"round-{number}.txt"
        child = fork(lambda version=version, said=said: index(model, folder / "index", version, said))
        time.sleep(generator.uniform(0, whole))
        os.kill(child, signal.SIGKILL)
        n_killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        acknowledged = re.findall(r"(passage .+)\n", said.read_text()) if said.exists() else []
        finish(
            fork(lambda acknowledged=acknowledged, number=number: check(model, folder / "index", acknowledged, number))
        )
    finish(fork(lambda: complete(model, folder / "index", (N_ROUNDS - 1) // 3)))
    print(n_killed)


def index(model: Path, path: Path, version: int, said: Path) -> None:
    """Indexes, and writes down every passage that is told to be safe."""
    with said.open("w") as file, Embedder.load(model, options=EngineOptions(threads=1)) as embedder:

        def acknowledge(passages: object) -> None:
            file.writelines(f"{passage.text}\n" for passage in passages)  # type: ignore[attr-defined]
            file.flush()

        SearchIndex.open(path, embedder, options=OPTIONS).update(documents(version), on_batch=acknowledge)


def contents(opened: SearchIndex) -> Counter[tuple[str, str]]:
    """Returns how often each passage is in the index."""
    hits = opened.search(np.ones(opened.embedder.width), "", mode="vector", candidates=100_000)
    return Counter((hit.passage.source, hit.passage.text) for hit in hits)


def check(model: Path, path: Path, acknowledged: list[str], number: int) -> None:
    """Looks, without repairing anything, for what was acknowledged and for what is there twice."""
    if not acknowledged and not (path / "passages.lance" / "_versions").exists():
        return  # killed before there was anything
    with Embedder.load(model, options=EngineOptions(threads=1)) as embedder:
        found = contents(SearchIndex.open(path, embedder, create=not acknowledged))
    times = Counter(text for _, text in found.elements())
    lost = [text for text in acknowledged if times[text] != 1]
    twice = [text for text, n in times.items() if n > 1]
    if lost or twice:
        raise SystemExit(f"Round {number}: acknowledged and not there exactly once {lost[:5]}, twice {twice[:5]}")


def complete(model: Path, path: Path, version: int) -> None:
    """Updates once more, unharmed, and looks whether every passage is there exactly once."""
    due = Counter((one.source, section.text) for one in documents(version) for section in one.read())
    with Embedder.load(model, options=EngineOptions(threads=1)) as embedder:
        opened = SearchIndex.open(path, embedder, create=False, options=OPTIONS)
        opened.update(documents(version))
        if contents(opened) != due:
            raise SystemExit(f"After the last update: {(contents(opened) - due) or (due - contents(opened))}")
        again, info = opened.update(documents(version)), opened.info()
        if (again.unchanged, again.embedded, info.incomplete) != (N_DOCUMENTS, 0, 0):
            raise SystemExit(f"After the last update: {again}, {info}")


def fork(work: Callable[[], None]) -> int:
    """Returns the id of a child that works and exits."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def finish(child: int) -> None:
    """Waits for a child, and exits where it failed."""
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
