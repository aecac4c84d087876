"""Under which names, paths and keys, and from which pages, a server is reached; and whose token ids it takes."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from serving import Serving

from qsift import Embedder

ORIGIN = "http://notes.example"


@pytest.fixture(scope="module")
def open_minded() -> Iterator[httpx.Client]:
    """A client of a server that takes what a careful one does not."""
    models = ("--embedding", "demo-embedding", "--reranker", "demo-reranker")
    names = ("--alias", "text-embedding-3-small", "--alias", "judge=demo-reranker", "--any-model-name")
    with (
        Serving(*models, *names, "--accept-token-ids", "--allow-origin", ORIGIN, "--api-key", "secret") as server,
        httpx.Client(base_url=server.url, timeout=120, headers={"Authorization": "Bearer secret"}) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "path",
    ["/v1/embeddings", "/embeddings", "/v1/embeddings/", "/embeddings//", "//v1//embeddings", "/v1/v1/embeddings"],
)
def test_slashes_and_the_version_may_be_written_as_people_do(http: httpx.Client, path: str) -> None:
    answer = http.post(httpx.URL(str(http.base_url).rstrip("/") + path), json={"input": "a"})
    assert answer.status_code == 200, answer.text


def test_versions_that_differ_stay_apart(http: httpx.Client) -> None:
    assert isinstance(http.post("/embed", json={"inputs": "a"}).json(), list), "TEI's"
    assert "texts" in http.post("/v1/embed", json={"texts": ["a"]}).json(), "Cohere's"
    assert http.get("/v1/health").status_code == http.get("/v1/info").status_code == 200
    assert http.get("/models/demo-reranker").json()["id"] == "demo-reranker"
    assert http.get("/v1/nothing").status_code == 404


def test_a_model_is_found_by_its_further_names(open_minded: httpx.Client) -> None:
    names = [model["id"] for model in open_minded.get("/v1/models").json()["data"]]
    assert names == ["demo-embedding", "demo-reranker", "text-embedding-3-small", "judge"]
    assert open_minded.get("/v1/models/judge").json()["task"] == "rerank"
    assert open_minded.get("/v1/models/text-embedding-3-small").json()["task"] == "embed"
    body = {"query": "a", "documents": ["b"]}
    for name in ("judge", "text-embedding-3-small", "jinaai/jina-reranker-v3", "demo-reranker:latest", None):
        answer = open_minded.post("/v1/rerank", json={**body, "model": name})
        assert answer.status_code == 200 and answer.json()["model"] == (name or "demo-reranker")
    for name in ("text-embedding-3-small:latest", "anything/at all"):
        assert open_minded.post("/v1/embeddings", json={"input": "a", "model": name}).json()["model"] == name


def test_without_these_options_an_unknown_name_is_refused(http: httpx.Client) -> None:
    answer = http.post("/v1/embeddings", json={"input": "a", "model": "text-embedding-3-small"})
    assert answer.status_code == 404 and "It is 'demo-embedding'." in answer.json()["detail"]


def test_an_alias_for_a_model_that_is_not_served_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    from qsift.server import ServerOptions, create_app

    with Embedder.load("demo-embedding") as embedder, pytest.raises(ValueError, match="'x' is for 'y', which is not"):
        create_app({"demo-embedding": embedder}, options=ServerOptions(aliases=("x=y",)))


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key", "api-key"])
def test_a_key_may_come_in_any_of_three_headers(open_minded: httpx.Client, header: str) -> None:
    url = f"{open_minded.base_url}/v1/models"
    shown = "Bearer {}" if header == "Authorization" else "{}"
    assert httpx.get(url, headers={header: shown.format("secret")}).status_code == 200
    for wrong in (shown.format("secre"), "", "Bearer", "Bearer None"):
        assert httpx.get(url, headers={header: wrong}).status_code == 401


def test_a_page_that_may_ask_is_told_so(open_minded: httpx.Client) -> None:
    url, page = f"{open_minded.base_url}/v1/embeddings", {"Origin": ORIGIN}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    preflight = httpx.options(url, headers={**page, **asked})
    assert preflight.status_code == 200 and preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"]
    answer = open_minded.post(url, json={"input": "a"}, headers=page)
    assert answer.status_code == 200 and answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    refusal = httpx.post(url, json={"input": "a"}, headers=page)
    assert refusal.status_code == 401 and refusal.headers["Access-Control-Allow-Origin"] == ORIGIN, "it can be read"


def test_any_other_page_is_not_answered(open_minded: httpx.Client, http: httpx.Client) -> None:
    other = {"Origin": "http://other.example"}
    answer = open_minded.post("/v1/embeddings", json={"input": "a"}, headers=other)
    assert answer.status_code == 403 and "Access-Control-Allow-Origin" not in answer.headers
    assert "--allow-origin" in answer.json()["detail"]
    assert http.post("/v1/embeddings", json={"input": "a"}, headers={"Origin": ORIGIN}).status_code == 403
    asked = {"Access-Control-Request-Method": "POST"}
    for client in (open_minded, http):
        preflight = client.options("/v1/embeddings", headers={**other, **asked})
        assert "Access-Control-Allow-Origin" not in preflight.headers and preflight.status_code >= 400


def test_token_ids_are_taken_where_they_can_be_this_models(open_minded: httpx.Client, embedder: Embedder) -> None:
    texts = ["Bake the bread.", "A program that shows pictures."]
    ids = [embedder.token_ids(text).tolist() for text in texts]
    expected = embedder.encode_document(texts)
    answer = open_minded.post("/v1/embeddings", json={"input": ids}).json()
    assert np.allclose([item["embedding"] for item in answer["data"]], expected, atol=2e-3)
    assert np.allclose(open_minded.post("/embed", json={"inputs": ids}).json(), expected, atol=2e-3)
    for wrong, sentence in (
        (ids[0][:-1], "The token ids of text 1 do not end with <|endoftext|>, this model's end token"),
        ([*ids[0][:-1], 99_999, ids[0][-1]], "Text 1 holds the token id 99999"),
        ([], "The token ids of text 1 do not end"),
    ):
        refusal = open_minded.post("/v1/embeddings", json={"input": [ids[0], wrong]})
        assert refusal.status_code == 400 and sentence in refusal.json()["detail"]
