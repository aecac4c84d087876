"""What does each quant cost in quality, and what does it save?

    python benchmarks/quants.py [--models demo | random | EMBEDDING,RERANKER] [--card FILE] [--trial]

Each quant, without and with an importance matrix, is held against F32 of the same checkpoint: vectors, rankings,
nDCG@10, recall@10 and P(yes), for each mode of the accelerator, type of cache, precision and width of the vectors.
Texts are docstrings of Python and numpy: the first sentence searches for the rest.

`demo` is the bundled pair; its files are in Q8_0, whose values are what F32 holds here, so what Q8_0 itself loses is
not measured on it. `random` has the released 0.6B shape and random weights: sizes and speeds are right, and what needs
meaning is left out. EMBEDDING and RERANKER are folders of checkpoints; the second may be left out. Rows go to
results/quants.jsonl; --card writes a table for a model card.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from demo.bundled import NAMES, write_checkpoint
from demo.measures import cut, ndcg, recall
from harness.command_line import MODELS, command
from harness.docstrings import questions_and_answers
from harness.rows import append, machine_line
from models.random_weights import checkpoint
from numpy.typing import NDArray
from scipy.stats import kendalltau

from qsift import Embedder, EngineOptions, Reranker
from qsift.convert import QUANTS, convert
from qsift.engine import Accel, CacheType, physical_cores
from qsift.hub import checksum
from qsift.models import Task
from qsift.text import PRECISIONS, Precision, quantize, similarity

TEXTS = {"demo": 400, "random": 24}
"""Questions, and as many documents; for checkpoints as for the demo pair."""
CANDIDATES = 10
"""Documents that the reranker sorts for each question."""
RERANKED = {"demo": 30, "random": 4}
RANKED = 50
"""Documents of the exact ranking whose order Kendall's tau compares."""
DEFAULT = ("off", "f16")


@dataclass(frozen=True)
class QuantRow:
    """One line of results/quants.jsonl.

    Attributes:
        question: the script that asked.
        models: "demo", "random", or the name of a checkpoint.
        task, quant: of the file.
        imatrix: whether an importance matrix weighed it.
        accel, cache_type: of the engine.
        precision, width: of the vectors; None for scores.
        nbytes: of the file.
        tokens_per_second: of all texts, each token once.
        loss: mean of 1 - cosine to F32; for scores the mean change of P(yes).
        worst: the largest of these.
        tau: mean of Kendall's tau between the rankings by this file and by F32.
        ndcg, recall: at 10, of the right document; None where the weights have no meaning.
        n_texts: texts that were embedded, or pairs that were scored.
        model_sha256: of the file.
        threads: CPU threads.
    """

    question: str
    models: str
    task: Task
    quant: str
    imatrix: bool
    accel: Accel
    cache_type: CacheType
    precision: Precision | None
    width: int | None
    nbytes: int
    tokens_per_second: float
    loss: float
    worst: float
    tau: float
    ndcg: float | None
    recall: float | None
    n_texts: int
    model_sha256: str
    threads: int


@dataclass(frozen=True)
class Made:
    """A file and how it was made."""

    path: Path
    quant: str
    imatrix: bool

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.quant}{' + imatrix' if self.imatrix else ''}"


@dataclass(frozen=True)
class Questions:
    """What is asked, and which documents a reranker sorts for each of the first questions, the right one among them."""

    queries: list[str]
    documents: list[str]
    candidates: NDArray[np.int64]
    has_meaning: bool

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every question with every one of its candidates."""
        return [(self.queries[i], self.documents[j]) for i, row in enumerate(self.candidates) for j in row]

    @classmethod
    def of(cls, models: str) -> Questions:
        """Returns the questions for the demo pair, for random weights or for a user's models."""
        known = models if models in TEXTS else "demo"
        queries, documents = map(list, zip(*questions_and_answers(TEXTS[known]), strict=True))
        count = RERANKED[known]
        with Embedder.load("demo-embedding", options=EngineOptions(accel="off")) as embedder:
            close = embedder.encode_query(queries[:count]) @ embedder.encode_document(documents).T
        close[np.arange(count), np.arange(count)] = np.inf  # the right one is always sorted
        candidates = np.argsort(-close, axis=1, kind="stable")[:, :CANDIDATES]
        return cls(queries, documents, candidates, known != "random")


def files(source: Path, task: Task, folder: Path, quants: list[str]) -> Iterator[Made]:
    """Yields F32 and then each quant, without and with an importance matrix; each is removed after its turn."""
    matrix: Path | None = None
    for quant in ["f32", *quants]:
        for weighed in (False, True):
            if weighed and quant in ("f32", "f16", "bf16", "q8_0"):
                continue  # no weight of theirs is rounded by what the others are
            target = folder / f"{task}-{quant}-{weighed}.gguf"
            how = {} if not weighed else {"imatrix": "auto"} if matrix is None else {"imatrix_file": matrix}
            convert(source, target, quants=quant, task=task, **how)
            matrix = next(iter(folder.glob("*.imatrix.gguf")), None) if weighed else matrix
            yield Made(target, quant, weighed)
            target.unlink()


def settings(made: Made, modes: list[Accel]) -> Iterator[tuple[Accel, CacheType]]:
    """Yields what the engine runs a file with: one thing after the other is changed."""
    yield DEFAULT  # type: ignore[misc]
    if made.quant in ("f32", "f16"):
        return
    for mode in modes:
        yield mode, "f16"
    for cache in get_args(CacheType):
        if cache != "f16":
            yield "off", cache


def rankings(scores: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Returns the mean of Kendall's tau over the rows, among the documents that are first by the exact scores."""
    best = np.argsort(-exact, axis=1, kind="stable")[:, :RANKED]
    rows = (
        kendalltau(np.take(ours, places), np.take(theirs, places)).statistic
        for ours, theirs, places in zip(scores, exact, best, strict=True)
    )
    return float(np.mean([tau for tau in rows if not np.isnan(tau)]))


class Measurement:
    """Holds every file of a model against its F32, prints rows and keeps them."""

    def __init__(self, models: str, task: Task, modes: list[Accel], repeat: int) -> None:
        self.models, self.task, self.modes, self.repeat = models, task, modes, repeat
        self.threads = physical_cores()
        self.questions = Questions.of(models)
        self.rows: list[QuantRow] = []
        self._exact: NDArray[np.float32] | None = None

    def take(self, made: Made) -> list[QuantRow]:
        """Measures a file with each of its settings and returns its rows."""
        before, digest = len(self.rows), checksum(made.path)
        for accel, cache in settings(made, self.modes):
            options = EngineOptions(accel=accel, cache_type=cache, threads=self.threads)
            loader = Embedder if self.task == "embed" else Reranker
            with loader.load(made.path, options=options) as model:
                if (getattr(model.engine, "accel", None) or "off") != accel:
                    print(f"  {made.name:18} {accel}: the accelerator declines", flush=True)
                    continue
                measure = self._embed if isinstance(model, Embedder) else self._rerank
                for fields in measure(model, only=(accel, cache) == DEFAULT):  # type: ignore[arg-type]
                    self.rows.append(
                        QuantRow(
                            "quants",
                            self.models,
                            self.task,
                            made.quant,
                            made.imatrix,
                            accel,
                            cache,
                            nbytes=made.path.stat().st_size,
                            model_sha256=digest,
                            threads=self.threads,
                            **fields,
                        )
                    )
                    print(f"  {made.name:18} {line(self.rows[-1])}", flush=True)
        return self.rows[before:]

    def _embed(self, embedder: Embedder, *, only: bool) -> Iterator[dict[str, Any]]:
        """Yields what a row says of the vectors; each precision and width where the engine has its default settings."""
        queries, documents = self.questions.queries, self.questions.documents
        n_tokens = sum(map(embedder.token_count, documents)) + sum(
            embedder.token_count(query, prompt_name="query") for query in queries
        )
        embedder.encode_document(documents[0])
        seconds, both = self._timed(lambda: (embedder.encode_query(queries), embedder.encode_document(documents)))
        vectors = np.concatenate(both)
        self._exact = vectors if self._exact is None else self._exact
        widths = [width for width in (32, 64, 128, 256, 512, 1024, 2560, 4096) if width < embedder.width]
        full = embedder.width
        shapes: list[tuple[Precision, int]] = [("float32", full)]
        if only:
            shapes += [("float32", width) for width in widths] + [(one, full) for one in PRECISIONS if one != "float32"]
        for precision, width in shapes:
            ours, theirs = cut(vectors, width), cut(self._exact, width)
            q, d = np.split(ours, [len(queries)])
            exact = theirs[: len(queries)] @ theirs[len(queries) :].T
            scores = similarity(quantize(q, precision), quantize(d, precision), precision)
            losses = 1 - (ours * theirs).sum(axis=1)
            places = (scores >= np.diag(scores)[:, None]).sum(axis=1) - 1
            yield {
                "precision": precision, "width": width, "tokens_per_second": round(n_tokens / seconds, 1),
                "loss": float(losses.mean()), "worst": float(losses.max()), "tau": rankings(scores, exact),
                "ndcg": ndcg(places) if self.questions.has_meaning else None,
                "recall": recall(places) if self.questions.has_meaning else None, "n_texts": len(vectors),
            }  # fmt: skip

    def _rerank(self, reranker: Reranker, *, only: bool) -> Iterator[dict[str, Any]]:
        """Yields what the row says of the scores."""
        pairs, candidates = self.questions.pairs, self.questions.candidates
        n_tokens = sum(reranker.token_count(*pair) for pair in pairs)
        reranker.predict(pairs[:1])
        seconds, found = self._timed(lambda: reranker.predict(pairs))
        scores = np.asarray(found, np.float32).reshape(candidates.shape)
        self._exact = scores if self._exact is None else self._exact
        changes = np.abs(scores - self._exact)
        right = candidates == np.arange(len(candidates))[:, None]
        places = (scores >= scores[right][:, None]).sum(axis=1) - 1
        yield {
            "precision": None, "width": None, "tokens_per_second": round(n_tokens / seconds, 1),
            "loss": float(changes.mean()), "worst": float(changes.max()), "tau": rankings(scores, self._exact),
            "ndcg": ndcg(places) if self.questions.has_meaning else None, "recall": None, "n_texts": len(pairs),
        }  # fmt: skip

    def _timed(self, call: Callable[[], Any]) -> tuple[float, Any]:
        """Returns the median of the rounds in seconds, and the result."""
        rounds = []
        for _ in range(self.repeat):
            started = time.perf_counter()
            result = call()
            rounds.append(time.perf_counter() - started)
        return statistics.median(rounds), result


def line(row: QuantRow) -> str:
    """Returns a row in one line."""
    place = f"accel={row.accel} cache={row.cache_type}"
    place += f" {row.precision} {row.width}" if row.precision else ""
    meaning = "" if row.ndcg is None else f"  nDCG@10 {row.ndcg:.4f}"
    meaning += "" if row.recall is None else f"  recall@10 {row.recall:.4f}"
    what = "1 - cosine" if row.task == "embed" else "change of P(yes)"
    return (
        f"{row.nbytes / 1e6:8.1f} MB {row.tokens_per_second:7.0f} tokens/s  {what} {row.loss:.5f} "
        f"(most {row.worst:.4f})  tau {row.tau:.4f}{meaning}  {place}"
    )


def card(rows: list[QuantRow]) -> str:
    """Returns the table of a model card: each file as it runs where nothing is set, beside F32."""
    first = rows[0]
    losing = "1 - cosine" if first.task == "embed" else "change of P(yes)"
    lines = [f"| file | MB | {losing}, mean | largest | Kendall's tau | nDCG@10 |", "|---|--:|--:|--:|--:|--:|"]
    for row in rows:
        if (row.accel, row.cache_type, row.precision, row.width) == (*DEFAULT, first.precision, first.width):
            name = f"{row.quant.upper()}{', importance-weighted' if row.imatrix else ''}"
            meaning = "" if row.ndcg is None else f"{row.ndcg:.3f}"
            cells = (name, f"{row.nbytes / 1e6:,.0f}", f"{row.loss:.5f}", f"{row.worst:.4f}", f"{row.tau:.3f}", meaning)
            lines.append(f"| {' | '.join(cells)} |")
    told = f"Against F32 of the same checkpoint, over {first.n_texts} {'texts' if first.task == 'embed' else 'pairs'}"
    return "\n".join([*lines, "", f"{told} in English about software; measured by benchmarks/quants.py of qsift.", ""])


def sources(models: str, scratch: Path) -> Iterator[tuple[str, Task, Path]]:
    """Yields what is measured: the name for the rows, the task and the checkpoint."""
    tasks: tuple[Task, ...] = get_args(Task)
    for task, given in zip(tasks, [models] * 2 if models in TEXTS else models.split(","), strict=False):
        if models == "random":
            yield models, task, checkpoint(MODELS, task, "0.6b")
        elif models == "demo":
            name = next(name for name, known in NAMES.items() if known == task)
            yield models, task, write_checkpoint(name, scratch)
        else:
            yield Path(given).resolve().name, task, Path(given)


def main() -> None:
    """Measures, prints and records."""
    parser = command(__doc__, repeat=1)
    parser.add_argument("--models", default="demo", help="demo, random, or EMBEDDING,RERANKER: folders of checkpoints")
    parser.add_argument("--task", choices=get_args(Task), help="default: both")
    parser.add_argument("--quants", default=",".join(QUANTS[1:]), help="beside f32")
    parser.add_argument("--accel", default="exact,bf16,int8", help="modes of the accelerator, where it is installed")
    parser.add_argument("--card", type=Path, help="where to write the tables for a model card")
    options = parser.parse_args()
    modes = [mode for mode in options.accel.split(",") if mode]
    print(machine_line())
    tables = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, task, source in sources(options.models, Path(scratch)):
            if options.task not in (None, task):
                continue
            print(f"{name}, {task}", flush=True)
            measurement = Measurement(name, task, modes, options.repeat)
            for made in files(source, task, Path(scratch), options.quants.split(",")):
                found = measurement.take(made)
                if not options.trial:
                    append(found, "quants")  # a run that is cut off keeps what it measured
            tables.append(card(measurement.rows))
    if options.card:
        options.card.write_text("\n".join(tables), "utf-8")


if __name__ == "__main__":
    main()
