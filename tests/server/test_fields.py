"""A field means the same at every endpoint, and one that would change results is never left out in silence."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from qsift import Embedder, Reranker
from qsift.server.fields import HARMLESS, ONLY
from qsift.text import quantize

TEXTS = ["Bake the bread for an hour.", "A program that shows pictures.", "一个查看图片的程序"]
QUERY = "image viewer"
Body = dict[str, Any]

# Every endpoint that embeds: how texts are sent, and where the vectors are in its answer.
EMBEDDING: dict[str, tuple[Callable[[list[str]], Body], Callable[[Any], Any]]] = {
    "/v1/embeddings": (lambda texts: {"input": texts}, lambda a: [item["embedding"] for item in a["data"]]),
    "/v1/embed": (lambda texts: {"texts": texts}, lambda a: a["embeddings"]),
    "/v2/embed": (
        lambda texts: {"texts": texts, "input_type": "search_document"},
        lambda a: a["embeddings"]["float"],
    ),
    "/embed": (lambda texts: {"inputs": texts}, lambda a: a),
    "/": (lambda texts: {"inputs": texts}, lambda a: a),
    "/embedding": (lambda texts: {"content": texts}, lambda a: [item["embedding"][0] for item in a]),
    "/api/embed": (lambda texts: {"input": texts}, lambda a: a["embeddings"]),
}
RANKING: dict[str, tuple[str, Callable[[Any], list[tuple[int, float]]]]] = {
    **{
        path: ("documents", lambda a: [(hit["index"], hit["relevance_score"]) for hit in a["results"]])
        for path in ("/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking", "/api/rerank")
    },
    "/": ("texts", lambda a: [(hit["index"], hit["score"]) for hit in a]),
    "/v1/score": ("documents", lambda a: sorted(((d["index"], d["score"]) for d in a["data"]), key=lambda d: -d[1])),
}
every_embedding = pytest.mark.parametrize("path", EMBEDDING)
every_ranking = pytest.mark.parametrize("path", RANKING)


def embedded(http: httpx.Client, path: str, texts: list[str] = TEXTS, **fields: Any) -> np.ndarray:
    to_body, vectors = EMBEDDING[path]
    answer = http.post(path, json={**to_body(texts), **fields})
    assert answer.status_code == 200, answer.text
    return np.array(vectors(answer.json()), np.float32)


def ranked(http: httpx.Client, path: str, **fields: Any) -> list[tuple[int, float]]:
    name, hits = RANKING[path]
    answer = http.post(path, json={"query" if path != "/v1/score" else "queries": QUERY, name: TEXTS, **fields})
    assert answer.status_code == 200, answer.text
    return hits(answer.json())


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.allclose(found, expected, atol=0.003 * max(1, np.abs(expected).max()))


@every_embedding
def test_texts_are_documents_until_a_field_says_query(http: httpx.Client, embedder: Embedder, path: str) -> None:
    documents, queries = embedder.encode_document(TEXTS), embedder.encode_query(TEXTS)
    silent = {"input_type": None} if path == "/v2/embed" else {}
    assert_close(embedded(http, path), documents)
    for field, word in (
        *(("input_type", word) for word in ("query", "search_query")),
        *(("task", word) for word in ("retrieval.query", "code.query")),
        ("prompt_name", "query"),
    ):
        assert_close(embedded(http, path, **{**silent, field: word}), queries)
    for field, word in (("input_type", "passage"), ("task", "retrieval.passage"), ("prompt_name", "document")):
        assert_close(embedded(http, path, **{field: word}), documents)
    told = embedder.encode_query(TEXTS, instruction="Find recipes")
    assert_close(embedded(http, path, **silent, instruction="Find recipes"), told)


@every_embedding
def test_width_and_length_have_two_names(http: httpx.Client, embedder: Embedder, path: str) -> None:
    for name in ("dimensions", "output_dimension"):
        assert_close(embedded(http, path, **{name: 32}), embedder.encode_document(TEXTS, truncate_dim=32))
    raw = embedder.encode_document(TEXTS, normalize_embeddings=False)
    for name in ("normalize", "normalized"):
        assert_close(embedded(http, path, **{name: False}), raw)


@every_embedding
def test_texts_are_cut_or_refused_as_the_request_says(http: httpx.Client, embedder: Embedder, path: str) -> None:
    text = " ".join(f"word{number}" for number in range(1500))
    with pytest.warns(UserWarning, match="was cut"):
        whole, short = embedder.encode_document([text]), embedder.encode_document([text], max_tokens=50)
    for fields in ({"truncate": True}, {"truncate": "END"}, {"truncation": True}, {"truncate_prompt_tokens": -1}):
        assert_close(embedded(http, path, [text], **fields), whole)
    assert_close(embedded(http, path, [text], truncate_prompt_tokens=50), short)
    for fields in ({"truncate": False}, {"truncate": "NONE"}, {"truncation": False}):
        answer = http.post(path, json={**EMBEDDING[path][0]([text]), **fields})
        assert answer.status_code in (400, 413) and "The limit is 2048" in answer.text


@pytest.mark.parametrize("path", [*EMBEDDING, *(path for path in RANKING if path != "/")])
def test_what_would_change_results_is_refused_by_its_name(http: httpx.Client, path: str) -> None:
    body: Body = EMBEDDING[path][0](TEXTS) if path in EMBEDDING else {"query": QUERY, "documents": TEXTS}
    if path == "/v1/score":
        body = {"queries": QUERY, "documents": TEXTS}
    assert http.post(path, json=body).status_code == 200
    for name, value in (
        *(("late_chunking", True), ("truncation_direction", "Left"), ("pooling", "mean"), ("modality", "image")),
        *(("max_chunks_per_doc", 10), ("add_special_tokens", False), ("dimension", 64), ("instruct", "a")),
        *(("images", ["data:"]), ("kwargs", '{"dimensions": 5}'), ("embd_normalize", -1), ("a" * 1000, 1)),
    ):
        answer = http.post(path, json={**body, name: value})
        assert answer.status_code in (400, 422), (name, answer.text)
        assert repr(name[:100]) in answer.json().get("detail", answer.json()["error"]), answer.text
    kept = {name: None for name in ("late_chunking", "pooling", "anything", "model")}
    taken = {name: allowed[0] for name, (allowed, _) in ONLY.items() if allowed}
    answer = http.post(path, json={**body, **kept, **taken, **dict.fromkeys(HARMLESS, "a value")})
    assert answer.status_code == 200, answer.text


@every_ranking
def test_scores_are_the_librarys(http: httpx.Client, reranker: Reranker, path: str) -> None:
    hits = [(hit.corpus_id, hit.score) for hit in reranker.rank(QUERY, TEXTS)]
    raw = [(hit.corpus_id, hit.score) for hit in reranker.rank(QUERY, TEXTS, raw_scores=True)]
    told = [(hit.corpus_id, hit.score) for hit in reranker.rank(QUERY, TEXTS, instruction="Find recipes")]
    for fields, expected, bound in (
        *(({}, hits, 0.01), ({"raw_scores": True}, raw, 0.1), ({"instruction": "Find recipes"}, told, 0.01)),
        ({"max_tokens_per_doc": None}, hits, 0.01),
    ):
        found = ranked(http, path, **fields)
        assert [index for index, _ in found] == [index for index, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=bound)
    if path != "/v1/score":
        for name in ("top_n", "top_k"):
            field = {name: 2} if path != "/" else {"top_n": 2}
            answer = http.post(path, json={"query": QUERY, RANKING[path][0]: TEXTS, **field}).json()
            found = answer if isinstance(answer, list) else answer.get("data", answer.get("results"))
            assert [hit["index"] for hit in found] == [index for index, _ in hits[:2]]


def test_documents_come_back_in_the_shape_of_each_dialect(http: httpx.Client) -> None:
    def first(path: str, **fields: Any) -> Any:
        answer = http.post(path, json={"query": QUERY, "documents": TEXTS, **fields}).json()
        return answer.get("data", answer.get("results"))[0]

    for path in ("/rerank", "/v1/rerank", "/v2/rerank", "/v1/reranking"):
        assert "document" not in first(path)
        for yes in (True, "true"):
            assert first(path, return_documents=yes)["document"] == {"text": TEXTS[1]}
    assert first("/v1/rerank", return_documents=True, top_k=None)["document"] == TEXTS[1], "Voyage's"
    assert first("/api/rerank")["document"] == TEXTS[1], "Ollama's"


def test_numbers_come_in_the_type_that_is_asked_for(http: httpx.Client, embedder: Embedder) -> None:
    whole = embedder.encode_document(TEXTS)
    types = {"float": "<f4", "int8": "<i1", "uint8": "<u1", "binary": "<i1", "ubinary": "<u1"}
    for kind, dtype in types.items():
        expected = quantize(whole, "float32" if kind == "float" else kind)  # type: ignore[arg-type]
        voyages = http.post(
            "/v1/embeddings", json={"input": TEXTS, "output_dtype": kind, "encoding_format": "base64"}
        ).json()["data"]
        from_base64 = np.array([np.frombuffer(base64.b64decode(item["embedding"]), dtype) for item in voyages])
        jinas = http.post("/v1/embeddings", json={"input": TEXTS, "embedding_type": kind}).json()["data"]
        body = {"texts": TEXTS, "input_type": "search_document", "embedding_types": [kind, "base64"]}
        coheres = http.post("/v2/embed", json=body).json()["embeddings"]
        in_lists = np.array([item["embedding"] for item in jinas])
        for found in (from_base64, in_lists, np.array(coheres[kind])):
            assert found.shape == expected.shape
            steps = np.abs(found.astype(np.float32) - expected)
            if "binary" in kind:
                assert (np.unpackbits(found.astype(np.uint8) ^ expected.astype(np.uint8))).mean() < 0.01
            else:
                assert steps.max() <= (0.003 if kind == "float" else 1)
        floats = np.array([np.frombuffer(base64.b64decode(text), "<f4") for text in coheres["base64"]])
        assert_close(floats, whole)


def test_tokens_go_there_and_back(http: httpx.Client, embedder: Embedder) -> None:
    text = "An image viewer 一个程序 🙂 <|im_end|>"
    ids = embedder.token_ids(text).tolist()
    for body, found in (
        ({"content": text}, lambda a: a["tokens"] + ids[-1:]),
        ({"content": text, "add_special": True}, lambda a: a["tokens"]),
        ({"prompt": text}, lambda a: a["tokens"]),
        ({"text": text}, lambda a: a["tokens"] + ids[-1:]),
        ({"inputs": text}, lambda a: [token["id"] for token in a[0]]),
        ({"inputs": [text], "add_special_tokens": False}, lambda a: [token["id"] for token in a[0]] + ids[-1:]),
    ):
        answer = http.post("/tokenize", json=body).json()
        assert found(answer) == ids, body  # type: ignore[no-untyped-call]
    assert http.post("/tokenize", json={"prompt": text}).json()["count"] == len(ids)
    tokens = http.post("/tokenize", json={"inputs": text}).json()[0]
    assert tokens[-1] == {"id": ids[-1], "text": "<|endoftext|>", "special": True, "start": None, "stop": None}
    assert "".join(text[token["start"] : token["stop"]] for token in tokens[:-1]) == text
    long = f"{text} " * 20_000
    tokens = http.post("/tokenize", json={"inputs": long}).json()[0]
    assert "".join(long[token["start"] : token["stop"]] for token in tokens[:-1]) == long
    query = http.post("/tokenize", json={"inputs": text, "prompt_name": "query"}).json()[0]
    assert [token["id"] for token in query] == embedder.token_ids(text, prompt_name="query").tolist()
    assert http.post("/detokenize", json={"tokens": ids[:-1]}).json() == {"content": text, "prompt": text}
    assert http.post("/decode", json={"ids": ids}).json() == [text]
    whole = http.post("/decode", json={"ids": [ids, ids[:1]], "skip_special_tokens": False}).json()
    assert whole[0] == f"{text}<|endoftext|>" and len(whole) == 2


def test_front_ends_find_what_they_probe(http: httpx.Client, embedder: Embedder) -> None:
    info = http.get("/info").json()
    assert list(info["model_type"]) == ["embedding", "reranker"] and info["max_input_length"] == 2048
    assert http.get("/props").json()["default_generation_settings"]["n_ctx"] == 2048
    tags = http.get("/api/tags").json()["models"]
    assert [model["name"] for model in tags] == ["demo-embedding:latest", "demo-reranker:latest"]
    assert len({model["digest"] for model in tags}) == 2 and http.get("/api/ps").json()["models"] == tags
    shown = http.post("/api/show", json={"name": "demo-embedding:latest"}).json()
    assert shown["capabilities"] == ["embedding"]
    assert shown["model_info"]["qwen3.embedding_length"] == 256 and shown["details"]["quantization_level"] == "Q8_0"
    assert tuple(map(int, http.get("/api/version").json()["version"].split("."))) >= (0, 12)
    models = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
    assert [model["model_type"] for model in models.values()] == ["embedding", "rerank"]
    assert models["demo-embedding"]["dimensions"] == 256
    assert http.get("/").status_code == http.head("/").status_code == http.get("/ping").status_code == 200
    prompt = http.post("/api/embeddings", json={"model": "demo-embedding", "prompt": QUERY}).json()["embedding"]
    assert_close(np.array(prompt), embedder.encode_document(QUERY))
