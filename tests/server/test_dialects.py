"""TEI's, Jina's and Ollama's shapes, and that every API is refused in its own words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving import Serving

from qsift import Embedder, Reranker

TEXTS = ["Bake the bread for an hour.", "A program that shows pictures.", "一个查看图片的程序"]
QUERY = "image viewer"


def test_tei_embeds(http: httpx.Client, embedder: Embedder) -> None:
    def embed(**body: Any) -> np.ndarray:
        answer = http.post("/embed", json=body)
        assert answer.status_code == 200, answer.text
        return np.array(answer.json(), np.float32)

    assert np.allclose(embed(inputs=TEXTS), embedder.encode_document(TEXTS), atol=2e-3)
    assert embed(inputs=TEXTS[0]).shape == (1, 256)
    assert np.allclose(embed(inputs=QUERY, prompt_name="query")[0], embedder.encode_query(QUERY), atol=2e-3)
    assert embed(inputs=TEXTS, dimensions=32).shape == (3, 32)
    raw = embed(inputs=TEXTS, normalize=False)
    expected = embedder.encode_document(TEXTS, normalize_embeddings=False)
    assert np.allclose(raw, expected, atol=0.01 * np.abs(expected).max())
    assert embed(inputs="word " * 3000, truncate=True).shape == (1, 256)


def test_tei_compares(http: httpx.Client, embedder: Embedder) -> None:
    body = {"inputs": {"source_sentence": TEXTS[1], "sentences": TEXTS}}
    expected = embedder.similarity(embedder.encode_document(TEXTS[1]), embedder.encode_document(TEXTS))[0]
    assert np.allclose(http.post("/similarity", json=body).json(), expected, atol=5e-3)
    body["parameters"] = {"prompt_name": "query"}
    queries = embedder.encode_query(TEXTS)
    expected = embedder.similarity(queries[1], queries)[0]
    assert np.allclose(http.post("/similarity", json=body).json(), expected, atol=5e-3)


def test_tei_reranks(http: httpx.Client, reranker: Reranker) -> None:
    hits = reranker.rank(QUERY, TEXTS)
    found = http.post("/rerank", json={"query": QUERY, "texts": TEXTS, "return_text": True}).json()
    assert [(hit["index"], hit["text"]) for hit in found] == [(hit.corpus_id, hit.text) for hit in hits]
    assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in hits], abs=0.01)
    found = http.post("/rerank", json={"query": QUERY, "texts": TEXTS, "raw_scores": True}).json()
    raw = reranker.rank(QUERY, TEXTS, raw_scores=True)
    assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in raw], abs=0.05)
    assert "text" not in found[0]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_jinas_fields_and_an_instruction_are_taken(http: httpx.Client, reranker: Reranker, path: str) -> None:
    documents = [{"title": TEXTS[0], "body": "x", "id": 7}, {"title": TEXTS[1], "body": "y"}]
    body = {"query": QUERY, "documents": documents, "rank_fields": ["title", "body"], "top_n": 1}
    answer = http.post(path, json={**body, "return_documents": True, "instruction": "Find programs"}).json()
    texts = [f"{TEXTS[0]}\nx", f"{TEXTS[1]}\ny"]
    hit = reranker.rank(QUERY, texts, instruction="Find programs")[0]
    assert answer["results"][0]["relevance_score"] == pytest.approx(hit.score, abs=0.01)
    assert answer["results"] == [{**answer["results"][0], "index": hit.corpus_id, "document": documents[hit.corpus_id]}]
    tokens = sum(reranker.token_count(QUERY, text, instruction="Find programs") for text in texts)
    assert answer["usage"]["total_tokens"] == tokens


def test_a_models_own_prompts_reach_every_dialect(fine_tune: Path) -> None:
    with (
        Serving("--embedding", str(fine_tune)) as server,
        httpx.Client(base_url=server.url, timeout=120) as http,
        Embedder.load(fine_tune) as embedder,
    ):
        document, query, web, told = (
            embedder.encode_document(QUERY),
            embedder.encode_query(QUERY),
            embedder.encode(QUERY, prompt_name="web"),
            embedder.encode(QUERY, prompt_name="web", instruction="Find"),
        )
        for body, expected in (
            ({}, document),
            ({"prompt_name": "document"}, document),
            ({"prompt_name": "query"}, query),
            ({"prompt_name": "web"}, web),
            ({"prompt_name": "web", "instruction": "Find"}, told),
        ):
            found = [
                http.post("/embed", json={"inputs": QUERY, **body}).json()[0],
                http.post("/v1/embeddings", json={"input": QUERY, **body}).json()["data"][0]["embedding"],
            ]
            assert np.allclose(found, [expected, expected], atol=2e-3), body
        found = http.post("/v1/embeddings", json={"input": QUERY, "input_type": "query"}).json()["data"][0]["embedding"]
        assert np.allclose(found, query, atol=2e-3)
        assert np.allclose(http.post("/api/embed", json={"input": QUERY}).json()["embeddings"], document, atol=2e-3)
        refused = [("/embed", {"inputs": QUERY}, 422), ("/v1/embeddings", {"input": QUERY}, 400)]
        refused.append(("/api/embed", {"input": QUERY}, 400))
        for path, body, status in refused:
            answer = http.post(path, json={**body, "instruction": "Find"})
            assert answer.status_code == status and "has no place for an instruction" in sentence(path, answer)
        for path, body, status in refused[:2]:
            answer = http.post(path, json={**body, "prompt_name": "sts"})
            assert answer.status_code == status
            assert "no prompt 'sts'; this model's are 'query', 'document', 'web'" in sentence(path, answer)


LONG, MANY = "word " * 3000, ["a"] * 3000
REFUSED: list[tuple[str, Any, int, str]] = [
    ("/v1/embeddings", {"input": 5}, 400, "'input' is none of what is allowed: A text, a list of texts"),
    ("/v1/embeddings", {"input": []}, 400, "'input' is an empty list"),
    ("/v1/embeddings", {}, 400, "'input': Field required."),
    ("/v1/embeddings", {"input": "a", "input_type": "query", "prompt_name": "document"}, 400, "different things"),
    ("/v1/embeddings", {"input": "a", "input_type": "document", "instruction": "b"}, 400, "different things"),
    (
        "/v1/embeddings",
        {"input": "a", "dimensions": 32, "output_dimension": 64},
        400,
        "and 'output_dimension' say",
    ),
    ("/v1/embeddings", {"input": "a", "task": "classification"}, 400, "'task': There is no prompt 'classification'"),
    ("/v1/embeddings", {"input": "a", "truncate": "START"}, 400, "texts are cut at their end. Say END or NONE."),
    ("/v1/embeddings", {"input": "a", "truncate": False, "truncation": True}, 400, "'truncate' and 'truncation'"),
    ("/v1/embeddings", {"input": LONG, "truncation": False}, 400, "The limit is 2048"),
    ("/v1/embed", {"texts": [LONG], "truncate": "NONE"}, 400, "The limit is 2048"),
    ("/v1/embed", {"texts": ["a"], "truncate": "NONE", "max_tokens": 5}, 422, "'max_tokens' cuts texts"),
    ("/embed", {"inputs": "a", "truncate": False, "truncate_prompt_tokens": 5}, 422, "not to be cut"),
    ("/v1/embed", {}, 422, "One of 'texts' and 'inputs' is needed."),
    ("/v2/embed", {"texts": ["a"]}, 422, "'input_type' is missing; say search_query or search_document."),
    ("/v2/embed", {"texts": ["a"], "input_type": "image"}, 422, "There is no prompt 'image'"),
    ("/v2/embed", {"texts": ["a"], "input_type": "search_query", "embedding_types": ["int4"]}, 422, "'embedding_types"),
    ("/embedding", {}, 400, "One of 'content' and 'input' is needed."),
    ("/score", {"text_1": "a"}, 400, "'queries' and 'documents' are needed"),
    ("/score", {"text_1": ["a", "b"], "text_2": ["c", "d", "e"]}, 400, "There are 2 queries for 3 documents"),
    ("/tokenize", {}, 400, "One of 'content', 'prompt', 'text' and 'inputs' is needed."),
    ("/detokenize", {"tokens": [99_999]}, 400, "The list holds the token id 99999"),
    ("/decode", {"ids": [99_999]}, 422, "The list holds the token id 99999"),
    ("/api/show", {"model": "llama"}, 404, "There is no model 'llama'"),
    ("/api/rerank", {"query": "a", "documents": []}, 400, "There are no documents"),
    ("/embed_all", {}, 404, "vectors of each token are not to be had"),
    ("/embed_sparse", {}, 404, "sparse vectors are not to be had"),
    ("/predict", {}, 404, "/rerank gives P(yes)"),
    ("/pooling", {}, 404, "other poolings are not to be had"),
    ("/v1/chat/completions", {}, 404, "it writes no text"),
    ("/api/generate", {}, 404, "it writes no text"),
    ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, 400, "'encoding_format'"),
    (
        "/v1/embeddings",
        {"input": [30_000]},
        400,
        "check_embedding_ctx_length=False",
    ),
    ("/v1/embeddings", {"input": [-1]}, 400, "'input' is none of what is allowed"),
    ("/v1/embeddings", {"input": MANY}, 400, "3000 texts are too many for one request; 2048 are allowed"),
    ("/v1/embeddings", {"input": "a", "model": "demo-reranker"}, 404, "no model 'demo-reranker' for this task"),
    ("/v1/rerank", {"query": "a", "documents": []}, 422, "There are no documents"),
    ("/v1/rerank", {"query": "a", "documents": [{"x": 1}]}, 422, "Document 0 is an object without a text in 'text'"),
    ("/v2/rerank", {"query": "a", "documents": ["b"], "top_n": 0}, 422, "'top_n'"),
    ("/v2/rerank", {"query": LONG, "documents": ["b"]}, 400, "Cutting cannot help"),
    ("/v1/rerank", {"query": "a", "documents": ["b"], "model": "demo-embedding"}, 404, "no model"),
    ("/rerank", {"query": "a"}, 422, "One of 'documents' and 'texts' is needed"),
    ("/rerank", {"query": "a", "texts": []}, 422, "There are no documents"),
    ("/rerank", {"query": "a", "texts": [LONG]}, 413, "The limit is 2048"),
    ("/embed", {"inputs": LONG}, 413, 'Shorten it, or send "truncate": true.'),
    ("/embed", {"inputs": "a", "truncation_direction": "Left"}, 422, "'truncation_direction'"),
    ("/similarity", {"inputs": {"source_sentence": "a"}}, 422, "'inputs.sentences': Field required."),
    ("/api/embed", {"input": "a", "model": "llama"}, 404, "no model 'llama'"),
    ("/api/embed", {"input": "a", "dimensions": 5}, 400, "'dimensions' is 5"),
]


def sentence(path: str, answer: httpx.Response) -> str:
    """Returns what an answer says, read as the clients of its dialect read it."""
    body = answer.json()
    if path.startswith("/api/"):
        assert set(body) == {"error"}
        return str(body["error"])
    if "error_type" in body or path.startswith(("/embed_", "/similarity", "/decode", "/predict")) or path == "/embed":
        assert set(body) == {"error", "error_type"}
        return str(body["error"])
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["message"] == body["detail"] == body["error"]["message"]
    return str(body["detail"])


@pytest.mark.parametrize(("path", "body", "status", "says"), REFUSED)
def test_a_refusal_has_its_dialects_status_and_words(
    http: httpx.Client, path: str, body: Any, status: int, says: str
) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code == status
    assert says in sentence(path, answer)
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/rerank", "/embed", "/api/embed"])
def test_what_is_no_json_is_refused(http: httpx.Client, path: str) -> None:
    for body in (b"", b"{", b"\xff\xfe", b'{"input": "\\ud800"}', b"[" * 100_000, b'{"input": 1e999}'):
        answer = http.post(path, content=body)
        assert answer.status_code in (400, 422)
        assert sentence(path, answer)


def test_what_is_not_there_is_said(http: httpx.Client) -> None:
    assert "no endpoint" in http.get("/v1/nothing").json()["error"]["message"]
    assert http.get("/v1/embeddings").status_code == 405
    assert http.get("/v1/models/none").status_code == 404


def test_the_figures_count_what_was_done(http: httpx.Client) -> None:
    def figure(name: str) -> float:
        lines = [line for line in http.get("/metrics").text.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    answered, tokens = 'qsift_requests_total{path="/embed",status="200"}', 'qsift_tokens_total{model="demo-embedding"}'
    before = figure(answered), figure(tokens), figure("qsift_batch_fill_count")
    http.post("/embed", json={"inputs": ["one", "two"]})
    after = figure(answered), figure(tokens), figure("qsift_batch_fill_count")
    assert after[0] == before[0] + 1 and after[1] == before[1] + 4 and after[2] > before[2]
    assert figure("qsift_queue_tokens") == figure("qsift_queue_requests") == 0
    http.get("/a/path/that/somebody/made/up")
    assert "made" not in http.get("/metrics").text


def test_the_documentation_names_every_endpoint(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/v1/embeddings", "/v1/rerank", "/v2/rerank", "/rerank", "/embed", "/similarity", "/api/embed"} < set(paths)


def test_the_page_of_the_documentation_needs_no_other_host(http: httpx.Client) -> None:
    page = http.get("/docs").text
    needed = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(needed) == 3 and "://" not in page
    for path in needed:
        assert http.get(path, headers={"Authorization": ""}).status_code == 200, path
