"""How fast is each framework's way to qsift beside the library's own, and two Ray actors beside one engine?

    python benchmarks/integrations.py [--texts 512] [--ray-texts 20000] [--repeat 5] [--trial]

Same model, same texts, same process: library and framework take turns, and the median of the rounds' ratios
counts. Frameworks that hand over one text at a time (queries everywhere, and LlamaIndex's single texts) are measured
beside the library's batch, and named. For Ray, one engine of two threads in this process stands beside two actors of
one thread, start-up of the actors left out and said.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness.command_line import command, record
from harness.rows import Figure, machine_line, verdict
from harness.turns import Turns, in_turns
from harness.workloads import RERANK

from qsift import Embedder, EngineOptions, Reranker
from qsift.hub import checksum

TARGET, RAY_TARGET = ">= 0.95", ">= 0.9"
OPTIONS = EngineOptions(device="cpu", threads=2)
PARTITIONS = 40
"""Partitions of the Ray workload: as many as make two actors end at nearly the same time."""


@dataclass(frozen=True)
class Contest:
    """A framework's call beside the library's.

    Attributes:
        name: the framework and what of it.
        theirs: gives vectors or scores through the framework.
        ours: gives the same through the library.
        target: the ratio that is demanded; None where the framework hands over one text at a time.
    """

    name: str
    theirs: Callable[[], Any]
    ours: Callable[[], Any]
    target: str | None = TARGET


def contests(embedder: Embedder, reranker: Reranker, texts: list[str]) -> Iterator[Contest]:
    """Yields every framework's calls over the same texts; each is made when it is asked for."""
    query = RERANK["rerank32"]().query
    pairs = [(query, text) for text in texts]

    def vectors() -> Any:
        return embedder.encode_document(texts)

    def scores() -> Any:
        return reranker.predict(pairs)

    from qsift.integrations import langchain

    lang = langchain.QsiftEmbeddings(embedder)
    yield Contest("LangChain embed_documents", lambda: lang.embed_documents(texts), vectors)
    few = texts[: max(8, len(texts) // 8)]
    yield Contest(
        "LangChain embed_query, one text at a time",
        lambda: [lang.embed_query(text) for text in few],
        lambda: embedder.encode_query(few),
        None,
    )
    yield Contest("LangChain cross-encoder", lambda: langchain.QsiftCrossEncoder(reranker).score(pairs), scores)
    yield from llama_index_contests(vectors, scores, texts, query)
    yield from haystack_contests(vectors, scores, texts, query)
    yield from other_contests(embedder, reranker, vectors, scores, texts, query)


def llama_index_contests(vectors: Any, scores: Any, texts: list[str], query: str) -> Iterator[Contest]:
    """Yields LlamaIndex's; it takes names, not loaded models."""
    from llama_index.core.schema import NodeWithScore, TextNode

    from qsift.integrations.llama_index import QsiftEmbedding, QsiftRerank

    embedding = QsiftEmbedding(model_name="demo-embedding", options=OPTIONS)
    rerank = QsiftRerank(model="demo-reranker", top_n=None, options=OPTIONS)
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(i))) for i, text in enumerate(texts)]

    def ranked() -> list[float]:
        found = rerank.postprocess_nodes(nodes, query_str=query)
        return [node.score for node in sorted(found, key=lambda node: int(node.node_id))]

    yield Contest("LlamaIndex text batch", lambda: embedding.get_text_embedding_batch(texts), vectors)
    yield Contest("LlamaIndex postprocessor", ranked, scores)


def haystack_contests(vectors: Any, scores: Any, texts: list[str], query: str) -> Iterator[Contest]:
    """Yields Haystack's."""
    from haystack import Document

    from qsift.integrations.haystack import QsiftDocumentEmbedder, QsiftRanker

    embedder = QsiftDocumentEmbedder("demo-embedding", options=OPTIONS)
    ranker = QsiftRanker("demo-reranker", top_k=None, options=OPTIONS)
    documents = [Document(content=text, id=str(i)) for i, text in enumerate(texts)]

    def ranked() -> list[float]:
        found = ranker.run(query, documents)["documents"]
        return [document.score for document in sorted(found, key=lambda document: int(document.id))]

    yield Contest("Haystack documents", lambda: [d.embedding for d in embedder.run(documents)["documents"]], vectors)
    yield Contest("Haystack ranker", ranked, scores)


def other_contests(
    embedder: Embedder, reranker: Reranker, vectors: Any, scores: Any, texts: list[str], query: str
) -> Iterator[Contest]:
    """Yields those of sentence-transformers' shape, LanceDB and MTEB."""
    from mteb._create_dataloaders import _create_dataloader_from_texts as loader
    from mteb.types import PromptType

    from qsift.integrations.lancedb import QsiftEmbeddingFunction
    from qsift.integrations.mteb import QsiftCrossEncoder, QsiftEncoder
    from qsift.integrations.sentence_transformers import QsiftSentenceTransformer

    shape = QsiftSentenceTransformer(embedder)
    yield Contest("sentence-transformers' shape", lambda: shape.encode_document(texts), vectors)
    function = QsiftEmbeddingFunction.create(name="demo-embedding", options=OPTIONS)
    yield Contest("LanceDB source column", lambda: function.compute_source_embeddings(texts), vectors)
    task = type("Task", (), {"name": "none", "type": "none", "prompt": None})
    about: dict[str, Any] = {"task_metadata": task, "hf_split": "test", "hf_subset": "default"}
    encoder, judge = QsiftEncoder(embedder), QsiftCrossEncoder(reranker)
    yield Contest(
        "MTEB encoder", lambda: encoder.encode(loader(texts), prompt_type=PromptType.document, **about), vectors
    )
    queries = [query] * len(texts)
    yield Contest("MTEB cross-encoder", lambda: judge.predict(loader(queries), loader(texts), **about), scores)


def measured(contest: Contest, repeat: int) -> Turns:
    """Returns what the turns of framework and library took; checks the results first."""
    difference = np.abs(np.float32(contest.theirs()) - np.float32(contest.ours())).max()
    if not difference < 5e-3:
        raise SystemExit(f"{contest.name} gives other results than the library: they differ by {difference:.4f}.")
    return in_turns(lambda _: contest.theirs(), lambda _: contest.ours(), repeat)


def with_ray(texts: list[str], folder: Path) -> tuple[float, float, float]:
    """Returns the seconds of one engine with two threads, of two actors with one, and of those with their start.

    The actors' clock runs from the end of the third partition: the first two come from actors that started at
    different moments. Rows before it do not count.
    """
    import ray

    from qsift.integrations.ray import Pool, embed_files

    source = folder / "in"
    source.mkdir()
    pq.write_table(pa.table({"id": list(range(len(texts))), "text": texts}), source / "texts.parquet")
    with Embedder.load("demo-embedding", options=OPTIONS) as embedder:
        embedder.encode_document(texts[:64])
        start = time.perf_counter()
        expected = np.concatenate([embedder.encode_document(texts[i : i + 1024]) for i in range(0, len(texts), 1024)])
        ours = time.perf_counter() - start
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    marks: list[tuple[float, int]] = []
    start = time.perf_counter()
    embed_files(
        str(source),
        str(folder / "out"),
        model="demo-embedding",
        pool=Pool(actors=2, threads=1),
        partition_rows=max(1, len(texts) // PARTITIONS),
        on_progress=lambda done, _: marks.append((time.perf_counter(), done)),
    )
    whole = time.perf_counter() - start
    ray.shutdown()
    result = pq.read_table(folder / "out")
    found = np.float32(result["vector"].to_pylist())[np.argsort(result["id"].to_numpy())]
    if not (found.shape == expected.shape and (found * expected).sum(axis=1).min() > 0.999):
        raise SystemExit("Ray's vectors are not the library's.")
    (first, before), (last, after) = marks[2], marks[-1]
    return ours, (last - first) / (after - before) * len(texts), whole


def main() -> None:
    """Measures, prints and records."""
    parser = command(__doc__, repeat=5)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--ray-texts", type=int, default=20_000)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine_line())
    figures = []
    documents = RERANK["rerank32"]().documents
    texts = [f"{i} {documents[i % len(documents)]}" for i in range(options.texts)]
    with (
        Embedder.load("demo-embedding", options=OPTIONS) as embedder,
        Reranker.load("demo-reranker", options=OPTIONS) as reranker,
    ):
        digest = checksum(Path(embedder.file.path))
        for contest in contests(embedder, reranker, texts):
            turns = measured(contest, options.repeat)
            print(told(contest.name, turns.times, contest.target), f"({turns.first:.2f} s and {turns.second:.2f} s)")
            settings: dict[str, object] = {
                "texts": len(texts),
                "threads": OPTIONS.threads,
                "seconds": [turns.first, turns.second],
            }
            figures.append(Figure("integrations", contest.name, turns.times, settings, digest, contest.target))
    if options.ray_texts:
        short = [" ".join(f"{i} {documents[i % len(documents)]}".split()[:48]) for i in range(options.ray_texts)]
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs, whole = with_ray(short, Path(folder))
        name = "Ray, two actors of one thread"
        rate = len(short) / theirs
        print(told(name, ours / theirs, RAY_TARGET), f"({rate:.0f} texts a second; {whole:.0f} s with the start)")
        settings = {"texts": len(short), "seconds": [theirs, ours], "seconds with start": whole}
        figures.append(Figure("integrations", name, ours / theirs, settings, digest, RAY_TARGET))
    record(figures, "integrations", options)


def told(name: str, times: float, target: str | None) -> str:
    """Returns a figure's line."""
    return f"{name}: {times:.3f} of the library's rate {verdict(times, target)}"


if __name__ == "__main__":
    main()
