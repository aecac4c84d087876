"""Step 7: one table of what the pair reaches, from the GGUF files through qsift itself.

Beside the embedder stand its teacher and BM25 on the same texts; the reranker sorts the embedder's best fifty. All
texts were held out from training.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import bm25s
import numpy as np

from .convert import gguf_path
from .e5 import E5
from .measures import LANGUAGES, RetrievalSet, cut, descriptions, ndcg, ranks, recall, translations
from .pairs import Pairs, digest
from qsift import Embedder, Reranker

CANDIDATES = 50
WIDTHS = (32, 64, 128, 256)
PHONES = ("苹果手机真好用", "我有一部 iPhone", "今天天气不错")
QUESTION = "什么是量子计算?"
ANSWERS = ("量子计算的基本原理", "量子力学入门知识", "计算机发展简史")


def encode(embedder: Embedder, texts: RetrievalSet) -> tuple[np.ndarray, np.ndarray]:
    """Returns the vectors of the queries, behind the instruction, and of the documents."""
    return embedder.encode_query(texts.queries), embedder.encode_document(texts.documents)


def teacher_vectors(folder: Path, texts: RetrievalSet) -> tuple[np.ndarray, np.ndarray]:
    """Returns the teacher's vectors of queries and documents; computed once."""
    path = folder / f"evaluation-{digest(texts.queries + texts.documents)}.npz"
    if not path.exists():
        teacher = E5()
        queries = teacher.vectors([f"query: {text}" for text in texts.queries], most=256)
        documents = teacher.vectors([f"passage: {text}" for text in texts.documents], most=256)
        np.savez(path, queries=queries, documents=documents)
    with np.load(path) as file:
        return file["queries"], file["documents"]


def bm25_ranks(texts: RetrievalSet) -> np.ndarray:
    """Returns where BM25 puts the right document among the first ten; 10 stands for later."""
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts.documents, stopwords="en", show_progress=False), show_progress=False)
    asked = bm25s.tokenize(texts.queries, stopwords="en", show_progress=False)
    found, _ = index.retrieve(asked, k=10, show_progress=False)
    hits = found == np.arange(len(texts.queries))[:, None]
    return np.where(hits.any(1), hits.argmax(1), 10)


def report_baselines(folder: Path, texts: RetrievalSet, others: dict[str, RetrievalSet]) -> float:
    """Prints BM25 and the teacher; returns the teacher's nDCG@10."""
    print(f"BM25      nDCG@10 {ndcg(bm25_ranks(texts)):.3f}")
    teacher = ndcg(ranks(*teacher_vectors(folder, texts)))
    print(f"teacher   nDCG@10 {teacher:.3f}")
    found = {name: recall(ranks(*teacher_vectors(folder, pairs))) for name, pairs in others.items()}
    print(f"teacher   recall@10 {_listed(found)}, mean {np.mean(list(found.values())):.3f}")
    return teacher


def report_embedder(
    folder: Path, texts: RetrievalSet, others: dict[str, RetrievalSet], quants: list[str], teacher: float
) -> None:
    """Prints the embedder's figures for each quant."""
    first = None
    for quant in quants:
        path = gguf_path(folder, "demo-embedding", quant)
        with Embedder.load(path) as embedder:
            started = time.perf_counter()
            vectors = encode(embedder, texts)
            seconds = time.perf_counter() - started
            score = ndcg(ranks(*vectors))
            first = score if first is None else first
            print(
                f"embedder  {quant:7} {path.stat().st_size / 1e6:6.2f} MB  nDCG@10 {score:.4f} "
                f"({score - first:+.4f}; {score / teacher:.3f} of the teacher's), {seconds:.0f} s"
            )
            if quant in (quants[0], quants[-1]):
                report_details(embedder, vectors, others)


def places_of(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns the place, from 0, of each row's right document; equal scores count against it."""
    own = np.where(right, scores, -np.inf).max(1, keepdims=True)
    places: np.ndarray = (scores >= own).sum(1) - 1
    return places


def report_reranker(folder: Path, texts: RetrievalSet, quants: list[str], count: int) -> None:
    """Prints what sorting the embedder's best candidates gains, for each quant of the reranker."""
    with Embedder.load(gguf_path(folder, "demo-embedding", "q8_0")) as embedder:
        queries, documents = encode(embedder, texts)
    similarity = queries[:count] @ documents.T
    candidates = np.argsort(-similarity, axis=1, kind="stable")[:, :CANDIDATES]
    right = candidates == np.arange(count)[:, None]
    found = right.any(1)
    alone = ndcg(np.where(found, right.argmax(1), CANDIDATES))
    print(f"{count} queries: embedder alone (q8_0) {alone:.4f}, recall@{CANDIDATES} {found.mean():.3f}")
    first = None
    for quant in quants:
        path = gguf_path(folder, "demo-reranker", quant)
        pairs = [(texts.queries[i], texts.documents[j]) for i, row in enumerate(candidates) for j in row]
        with Reranker.load(path) as reranker:
            started = time.perf_counter()
            scores = reranker.predict(pairs).reshape(candidates.shape)
            seconds = time.perf_counter() - started
            score = ndcg(np.where(found, places_of(scores, right), CANDIDATES))
            first = score if first is None else first
            print(
                f"reranker  {quant:7} {path.stat().st_size / 1e6:6.2f} MB  nDCG@10 {score:.4f} "
                f"({score - first:+.4f}; {score - alone:+.4f} over the embedder), above 0.5: "
                f"{(scores[right] > 0.5).mean():.3f} of the right, {(scores[~right] > 0.5).mean():.3f} of the wrong, "
                f"{seconds:.0f} s"
            )
            hits = reranker.rank(QUESTION, list(ANSWERS))
            order = [hit.corpus_id for hit in hits]
            print(f"          quantum: {[round(hit.score, 3) for hit in hits]}: {_verdict(order == [0, 1, 2])}")


def report_details(embedder: Embedder, vectors: tuple[np.ndarray, np.ndarray], others: dict[str, RetrievalSet]) -> None:
    """Prints nDCG@10 at each width, recall across languages, and the Chinese sentences."""
    widths = {str(width): ndcg(ranks(*(cut(side, width) for side in vectors))) for width in WIDTHS}
    print(f"          nDCG@10 by width {_listed(widths)}; 64 is {widths['64'] / widths['256']:.3f} of full width")
    found = {name: recall(ranks(*encode(embedder, pairs))) for name, pairs in others.items()}
    print(f"          recall@10 {_listed(found)}, mean {np.mean(list(found.values())):.3f}")
    report_sentences(embedder)


def report_sentences(embedder: Embedder) -> None:
    """Prints the similarities of the Chinese sentences."""
    a, b, c = embedder.encode_document(list(PHONES))
    print(f"          phones: 1-2 {a @ b:.3f}, 1-3 {a @ c:.3f}, 2-3 {b @ c:.3f}: {_verdict(a @ b > max(a @ c, b @ c))}")
    found = embedder.encode_document(list(ANSWERS)) @ embedder.encode_query(QUESTION)
    print(f"          quantum: {found.round(3)}: {_verdict(found[0] > found[1] > found[2])}")


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())


def _verdict(right: bool) -> str:
    return "as it should be" if right else "WRONG"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--quants", default="f32,q8_0", help="the first is what the others are compared with")
    parser.add_argument("--reranked", type=int, default=1000, help="queries whose candidates are reranked")
    arguments = parser.parse_args()
    folder, quants = arguments.folder, arguments.quants.split(",")
    pairs = Pairs.read(folder)
    texts = descriptions(pairs)
    others = {f"{name}->en": translations(pairs, name) for name in LANGUAGES}
    print(f"{len(texts.queries)} descriptions; {', '.join(f'{name} {len(o.queries)}' for name, o in others.items())}")
    teacher = report_baselines(folder, texts, others)
    report_embedder(folder, texts, others, quants, teacher)
    report_reranker(folder, texts, quants, arguments.reranked)


if __name__ == "__main__":
    main()
