"""Is more found in code that is cut at functions and classes by a grammar than in code that is cut by its layout?

    python benchmarks/code_splitting.py [--language python|cpp] [--max-tokens 256] [--trial]

Code of installed packages is stripped of its documentation, whose first sentences are the questions; see
harness/functions.py. It is cut by qsift's `Splitter` and by tree-sitter (peers/grammar.py), and each goes into an index
of its own with the demo pair's embedder: vectors (exact), words (BM25, which knows no model), and both. Right is the
passage that holds the line of the function's name, or else the one that holds most lines of its body. A difference
comes with its 95 % interval over files drawn anew 10,000 times, as questions of a file are not independent. Figures
go to results/code_splitting.jsonl.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import get_args

import numpy as np
from harness.command_line import command, record
from harness.functions import Code, Language, Question, functions
from harness.rows import Figure, machine_line
from numpy.typing import NDArray
from peers.grammar import GrammarSplitter

from qsift import Document, Embedder, IndexOptions, Passage, SearchIndex
from qsift.documents import Splitter
from qsift.hub import BUNDLED, checksum
from qsift.search import Mode

CANDIDATES = 100
DRAWS = 10_000
LAYOUTS = ("layout", "layout, no overlap")
"""What qsift does, and what it would do if neighbours shared nothing, as those of a grammar."""
MEASURES: dict[str, Callable[[NDArray[np.int64]], NDArray[np.float64]]] = {
    "recall@1": lambda places: (places < 1).astype(float),
    "recall@10": lambda places: (places < 10).astype(float),
    "MRR": lambda places: np.where(places < CANDIDATES, 1 / (places + 1), 0),
}
"""What each question contributes, from the place of its answer, from 0."""

Cut = Callable[[str, str], Iterable[Passage]]
Places = Mapping[tuple[Mode, str], NDArray[np.int64]]


def cuts(embedder: Embedder, language: Language, max_tokens: int) -> dict[str, Cut]:
    """Returns what is compared, by name: each cuts a text with a name."""

    def by_layout(overlap: int) -> Cut:
        splitter = Splitter(embedder.token_count, max_tokens=max_tokens, overlap=overlap)
        return lambda text, source: splitter.split(Document.of_text(text, source, kind="code"))

    return {
        LAYOUTS[0]: by_layout(max_tokens // 8),
        LAYOUTS[1]: by_layout(0),
        "grammar": GrammarSplitter(language, embedder.token_count, max_tokens=max_tokens).split,
    }


def check(code: Code, passages: Iterable[Passage]) -> None:
    """Holds a cut to its promise: every character that is no white space is in a passage, at the lines that it says."""
    lines = {source: text.split("\n") for source, text in code.files.items()}
    covered: dict[str, int] = defaultdict(int)
    for passage in passages:
        there = "\n".join(lines[passage.source][passage.line - 1 : passage.end_line])
        assert passage.text in there, f"{passage.citation} is not what stands there"
        covered[passage.source] += sum(map(len, passage.text.split()))
    for source, text in code.files.items():
        assert covered[source] >= sum(map(len, text.split())), f"Something of {source} is in no passage"


def answers(questions: Iterable[Question], passages: list[Passage]) -> dict[str, list[set[str]]]:
    """Returns the numbers of the right passages of each question, for each idea of what is right."""
    of_file: dict[str, list[tuple[str, Passage]]] = defaultdict(list)
    for number, passage in enumerate(passages):
        of_file[passage.source].append((str(number), passage))
    named, held = [], []
    for question in questions:
        near = of_file[question.source]
        named.append({number for number, passage in near if passage.line <= question.definition <= passage.end_line})
        shared = {
            number: len(range(max(passage.line, question.body.start), min(passage.end_line + 1, question.body.stop)))
            for number, passage in near
        }
        held.append({max(shared, key=lambda number: shared[number])})
    return {"definition": named, "body": held}


def search(
    embedder: Embedder, passages: list[Passage], code: Code, vectors: NDArray[np.float32], max_tokens: int
) -> Places:
    """Returns where each mode of an index of the passages puts the answers, for each idea of what is right."""
    right = answers(code.questions, passages)
    places: dict[tuple[Mode, str], list[int]] = defaultdict(list)
    options = IndexOptions(max_tokens=max_tokens, exact_rows=1 << 40)
    with tempfile.TemporaryDirectory() as folder, SearchIndex.open(folder, embedder, options=options) as index:
        index.update(
            Document.of_text(passage.text, str(number), kind="code") for number, passage in enumerate(passages)
        )
        assert index.info().passages == len(passages)
        for number, (question, vector) in enumerate(zip(code.questions, vectors, strict=True)):
            for mode in get_args(Mode):
                hits = index.search(vector, question.text, candidates=CANDIDATES, mode=mode)
                found = [hit.passage.source for hit in hits]
                for target, numbers in right.items():
                    places[mode, target].append(
                        next((place for place, source in enumerate(found) if source in numbers[number]), CANDIDATES)
                    )
    return {key: np.array(value) for key, value in places.items()}


def interval(gains: NDArray[np.float64], files: NDArray[np.int64]) -> tuple[float, float]:
    """Returns the bounds between which 95 % of the mean gains lie when files are drawn anew; one gain a question."""
    sums, counts = np.bincount(files, gains), np.bincount(files)
    drawn = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=DRAWS)
    low, high = np.percentile(drawn @ sums / (drawn @ counts), [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def main() -> None:
    """Measures, prints and records."""
    parser = command(__doc__)
    parser.add_argument("--language", choices=get_args(Language), default="python")
    parser.add_argument("--max-tokens", type=int, default=256, help="of a passage")
    options = parser.parse_args()
    print(machine_line())
    code = functions(options.language)
    _, files = np.unique([question.source for question in code.questions], return_inverse=True)
    asked = {
        "language": options.language,
        "files": len(code.files),
        "questions": len(code.questions),
        "max_tokens": options.max_tokens,
    }
    print(" ".join(f"{name}={value}" for name, value in asked.items()), flush=True)
    digest = checksum(BUNDLED / "demo-embedding.gguf")
    rows: list[Figure] = []

    def note(name: str, value: float, **settings: object) -> None:
        told = " ".join(f"{setting}={chosen}" for setting, chosen in settings.items() if setting != "splitter")
        print(f"  {name:18} {value:10.4f}  {told}", flush=True)
        rows.append(Figure("code_splitting", name, round(value, 4), asked | settings, digest))

    with Embedder.load("demo-embedding") as embedder:
        vectors = embedder.encode_query([question.text for question in code.questions])
        layouts: dict[str, Places] = {}
        for splitter, cut in cuts(embedder, options.language, options.max_tokens).items():
            print(splitter, flush=True)
            started = time.perf_counter()
            passages = [passage for source, text in code.files.items() for passage in cut(text, source)]
            note("cutting, s", time.perf_counter() - started, splitter=splitter)
            note("passages", len(passages), splitter=splitter)
            check(code, passages)
            places = search(embedder, passages, code, vectors, options.max_tokens)
            for (mode, target), found in places.items():
                for name, measure in MEASURES.items():
                    settings = {"splitter": splitter, "stage": mode, "target": target}
                    note(name, float(measure(found).mean()), **settings)
                    for layout, others in layouts.items():
                        gains = measure(found) - measure(others[mode, target])
                        bounds = interval(gains, files)
                        note(f"gain in {name}", float(gains.mean()), **settings, beside=layout, interval=bounds)
            if splitter in LAYOUTS:
                layouts[splitter] = places
    record(rows, "code_splitting", options)


if __name__ == "__main__":
    main()
