"""Programs that people already run embed and rerank through the server, and get the library's vectors and scores."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agreement import QUERY, TEXTS, assert_same_scores, assert_same_vectors, nodes
from serving import Serving

from qsift import Embedder, Reranker

EMBEDDING, RERANKER = "demo-embedding", "demo-reranker"
WORDS = [text for text in TEXTS if text]  # some programs refuse an empty text themselves


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keeps programs from other hosts, also those that they ask for lists, and from what the user has set for them."""
    settings = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "LANGSMITH_TRACING": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "LLM_USER_PATH": str(tmp_path),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    addresses = socket.getaddrinfo

    def of_this_machine(host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            raise socket.gaierror(f"No test asks {host!r}.")
        return addresses(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", of_this_machine)


@pytest.fixture(scope="module")
def any_name() -> Iterator[Serving]:
    """A server for programs whose list of model names is fixed."""
    with Serving("--embedding", EMBEDDING, "--any-model-name") as server:
        yield server


LITELLM_EMBEDDING: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None]] = {
    "openai": ("/v1", {}, {"extra_body": {"input_type": "query"}}),
    "hosted_vllm": ("/v1", {}, {"input_type": "query"}),
    "infinity": ("", {}, {"input_type": "query"}),
    "jina_ai": ("/v1", {}, {"task": "retrieval.query"}),
    "cohere": ("/v2/embed", {"input_type": "search_document"}, {"input_type": "search_query"}),
    # Without a type, it asks the hub for the model's.
    "huggingface": ("/embed", {"input_type": "feature-extraction"}, None),
    "ollama": ("", {}, None),
}


@pytest.mark.parametrize("provider", LITELLM_EMBEDDING)
def test_litellm_embeds_through_every_provider(server: Serving, embedder: Embedder, provider: str) -> None:
    import litellm

    path, documents, queries = LITELLM_EMBEDDING[provider]

    def embed(texts: list[str], options: dict[str, Any]) -> Any:
        answer = litellm.embedding(
            f"{provider}/{EMBEDDING}", input=texts, api_base=server.url + path, api_key="none", **options
        )
        return [item["embedding"] for item in answer.data]

    assert_same_vectors(embed(TEXTS, documents), embedder.encode_document(TEXTS))
    if queries is not None:
        assert_same_vectors(embed(WORDS, queries), embedder.encode_query(WORDS))


@pytest.mark.parametrize(
    ("provider", "path"),
    [("hosted_vllm", "/v1"), ("infinity", ""), ("jina_ai", "/v1"), ("cohere", ""), ("huggingface", "")],
)
def test_litellm_reranks_through_every_provider(server: Serving, reranker: Reranker, provider: str, path: str) -> None:
    import litellm

    def rerank(**options: Any) -> Any:
        url, model = server.url + path, f"{provider}/{RERANKER}"
        hits = litellm.rerank(model, QUERY, TEXTS, api_base=url, api_key="none", **options).results
        assert len(hits) == options.get("top_n", len(TEXTS))
        assert_same_scores([(hit["index"], hit["relevance_score"]) for hit in hits], reranker, TEXTS)
        return hits

    rerank(top_n=2, return_documents=False)
    rerank(return_documents=False)
    if provider != "infinity":  # which wants bare texts back, and sends what the others send, who want objects
        hits = rerank()
        assert [hit["document"]["text"] for hit in hits] == [TEXTS[hit["index"]] for hit in hits]


def test_langchains_openai_class_is_refused_until_it_sends_texts(
    server: Serving, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiktoken.registry
    from langchain_openai import OpenAIEmbeddings
    from openai import BadRequestError

    # OpenAI's own tokens lie on another host. This encoding knows bytes alone; whatever its ids are, they are no texts.
    encoding = tiktoken.Encoding(
        "bytes", pat_str=r".", mergeable_ranks={bytes([n]): n for n in range(256)}, special_tokens={}
    )
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, "cl100k_base", encoding)
    settings: dict[str, Any] = {"base_url": f"{server.url}/v1", "api_key": "none", "model": EMBEDDING}
    with pytest.raises(BadRequestError, match="check_embedding_ctx_length=False"):
        OpenAIEmbeddings(**settings).embed_documents(WORDS)
    texts = OpenAIEmbeddings(**settings, check_embedding_ctx_length=False)
    assert_same_vectors(texts.embed_documents(WORDS), embedder.encode_document(WORDS))
    as_queries = OpenAIEmbeddings(
        **settings, check_embedding_ctx_length=False, model_kwargs={"extra_body": {"input_type": "query"}}
    )
    assert_same_vectors(as_queries.embed_query(QUERY), embedder.encode_query(QUERY))


def _langchain_ollama(url: str, _: pytest.MonkeyPatch) -> Any:
    from langchain_ollama import OllamaEmbeddings

    return OllamaEmbeddings(base_url=url, model=EMBEDDING, validate_model_on_init=True)


def _langchain_cohere(url: str, _: pytest.MonkeyPatch) -> Any:
    from langchain_cohere import CohereEmbeddings

    return CohereEmbeddings(base_url=url, cohere_api_key="none", model=EMBEDDING)


def _langchain_jina(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    from langchain_community.embeddings import jina

    monkeypatch.setattr(jina, "JINA_API_URL", f"{url}/v1/embeddings")
    return jina.JinaEmbeddings(jina_api_key="none", model_name=EMBEDDING)


def _langchain_infinity(url: str, _: pytest.MonkeyPatch) -> Any:
    from langchain_community.embeddings import InfinityEmbeddings

    return InfinityEmbeddings(infinity_api_url=url, model=EMBEDDING)


@pytest.mark.parametrize(
    ("make", "says_query"),
    [
        (_langchain_ollama, False),
        (_langchain_cohere, True),
        (_langchain_jina, False),
        (_langchain_infinity, False),
    ],
)
def test_langchain_embeds(
    server: Serving,
    embedder: Embedder,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[str, pytest.MonkeyPatch], Any],
    says_query: bool,
) -> None:
    embeddings = make(server.url, monkeypatch)
    assert_same_vectors(embeddings.embed_documents(WORDS), embedder.encode_document(WORDS))
    expected = embedder.encode_query(QUERY) if says_query else embedder.encode_document(QUERY)
    assert_same_vectors(embeddings.embed_query(QUERY), expected)


def test_langchains_jina_class_reranks(server: Serving, reranker: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_community.document_compressors import jina_rerank

    monkeypatch.setattr(jina_rerank, "JINA_API_URL", f"{server.url}/v1/rerank")
    hits = jina_rerank.JinaRerank(jina_api_key="none", model=RERANKER).rerank(TEXTS, QUERY, top_n=None)
    assert len(hits) == len(TEXTS)
    assert_same_scores([(hit["index"], hit["relevance_score"]) for hit in hits], reranker, TEXTS)


@pytest.mark.parametrize("path", ["", "/embed"])
def test_hugging_faces_client_embeds(
    server: Serving, embedder: Embedder, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    from huggingface_hub import InferenceClient

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # it would not ask this machine either
    client = InferenceClient(model=server.url + path)
    for text in WORDS:
        assert_same_vectors(client.feature_extraction(text), embedder.encode_document([text]))
    found = client.feature_extraction(QUERY, prompt_name="query", normalize=True, truncate=True)
    assert_same_vectors(found, embedder.encode_query([QUERY]))


def test_llama_indexs_ollama_class_embeds(server: Serving, embedder: Embedder) -> None:
    from llama_index.embeddings.ollama import OllamaEmbedding

    embeddings = OllamaEmbedding(EMBEDDING, base_url=server.url)
    assert_same_vectors(embeddings.get_text_embedding_batch(WORDS), embedder.encode_document(WORDS))
    assert_same_vectors(embeddings.get_query_embedding(QUERY), embedder.encode_document(QUERY))
    queries = OllamaEmbedding(EMBEDDING, base_url=server.url, query_instruction="Find:")
    assert_same_vectors(queries.get_query_embedding(QUERY), embedder.encode_document(f"Find: {QUERY}"))


def test_llama_indexs_jina_classes_embed_and_rerank(server: Serving, embedder: Embedder, reranker: Reranker) -> None:
    from llama_index.embeddings.jinaai import JinaEmbedding
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    def embeddings(**options: Any) -> JinaEmbedding:
        embeddings = JinaEmbedding(model=EMBEDDING, api_key="none", **options)
        embeddings._api.api_url = f"{server.url}/v1/embeddings"  # for which it has no setting
        return embeddings

    documents = embeddings(task="retrieval.passage", dimensions=64)
    expected = embedder.encode_document(WORDS, truncate_dim=64)
    assert_same_vectors(documents.get_text_embedding_batch(WORDS), expected)
    queries = embeddings(task="retrieval.query")
    assert_same_vectors(queries.get_query_embedding(QUERY), embedder.encode_query(QUERY))
    with pytest.raises(RuntimeError, match="'encoding_type' cannot be 'binary'"):
        embeddings(encoding_queries="binary").get_query_embedding(QUERY)
    hits = JinaRerank(top_n=3, model=RERANKER, base_url=f"{server.url}/v1", api_key="none").postprocess_nodes(
        nodes(WORDS), query_str=QUERY
    )
    assert len(hits) == 3
    assert_same_scores([(int(hit.node.node_id), hit.score or 0.0) for hit in hits], reranker, WORDS)


def test_llama_indexs_cohere_class_embeds_under_a_name_of_coheres(any_name: Serving, embedder: Embedder) -> None:
    from llama_index.embeddings.cohere import CohereEmbedding

    embeddings = CohereEmbedding(model_name="embed-multilingual-v3.0", base_url=any_name.url, api_key="none")
    assert_same_vectors(embeddings.get_text_embedding_batch(WORDS), embedder.encode_document(WORDS))
    assert_same_vectors(embeddings.get_query_embedding(QUERY), embedder.encode_query(QUERY))


def test_llm_embeds_under_a_name_of_openais(
    any_name: Serving, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llm

    monkeypatch.setenv("OPENAI_BASE_URL", f"{any_name.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    model = llm.get_embedding_model("text-embedding-3-small")
    assert_same_vectors(list(model.embed_multi(WORDS)), embedder.encode_document(WORDS))


def _documents(texts: list[str]) -> list[Any]:
    from haystack import Document

    return [Document(content=text, meta={"number": number}) for number, text in enumerate(texts)]


def test_haystacks_jina_components_embed_and_rerank(server: Serving, embedder: Embedder, reranker: Reranker) -> None:
    from haystack.utils import Secret
    from haystack_integrations.components.embedders.jina import JinaDocumentEmbedder, JinaTextEmbedder
    from haystack_integrations.components.rankers.jina import JinaRanker

    where: dict[str, Any] = {
        "api_key": Secret.from_token("none"),
        "model": EMBEDDING,
        "base_url": f"{server.url}/v1/embeddings",
    }
    embedded = JinaDocumentEmbedder(**where, progress_bar=False).run(_documents(WORDS))["documents"]
    assert_same_vectors([document.embedding for document in embedded], embedder.encode_document(WORDS))
    found = JinaTextEmbedder(**where, task="retrieval.query", dimensions=64).run(QUERY)["embedding"]
    assert_same_vectors(found, embedder.encode_query(QUERY, truncate_dim=64))
    where |= {"model": RERANKER, "base_url": f"{server.url}/v1/rerank"}
    hits = JinaRanker(**where).run(query=QUERY, documents=_documents(WORDS))["documents"]
    assert len(hits) == len(WORDS)
    assert_same_scores([(hit.meta["number"], hit.score) for hit in hits], reranker, WORDS)


def test_haystacks_cohere_components_embed_and_rerank(server: Serving, embedder: Embedder, reranker: Reranker) -> None:
    from haystack.utils import Secret
    from haystack_integrations.components.embedders.cohere import CohereDocumentEmbedder, CohereTextEmbedder
    from haystack_integrations.components.rankers.cohere import CohereRanker

    where: dict[str, Any] = {"api_key": Secret.from_token("none"), "api_base_url": server.url}
    embedded = CohereDocumentEmbedder(model=EMBEDDING, progress_bar=False, **where).run(_documents(WORDS))["documents"]
    assert_same_vectors([document.embedding for document in embedded], embedder.encode_document(WORDS))
    found = CohereTextEmbedder(model=EMBEDDING, **where).run(QUERY)["embedding"]
    assert_same_vectors(found, embedder.encode_query(QUERY))
    hits = CohereRanker(model=RERANKER, **where).run(query=QUERY, documents=_documents(WORDS))["documents"]
    assert len(hits) == len(WORDS)
    assert_same_scores([(hit.meta["number"], hit.score) for hit in hits], reranker, WORDS)


def test_haystacks_ollama_components_embed(server: Serving, embedder: Embedder) -> None:
    from haystack_integrations.components.embedders.ollama import OllamaDocumentEmbedder, OllamaTextEmbedder

    where: dict[str, Any] = {"model": EMBEDDING, "url": server.url}
    embedded = OllamaDocumentEmbedder(progress_bar=False, **where).run(_documents(WORDS))["documents"]
    assert_same_vectors([document.embedding for document in embedded], embedder.encode_document(WORDS))
    found = OllamaTextEmbedder(dimensions=64, **where).run(QUERY)["embedding"]
    assert_same_vectors(found, embedder.encode_document(QUERY, truncate_dim=64))


@pytest.fixture
def voyage(server: Serving) -> Any:
    import voyageai

    return voyageai.Client(api_key="none", base_url=f"{server.url}/v1")


def test_voyages_client_embeds_both_sides_and_reranks(voyage: Any, embedder: Embedder, reranker: Reranker) -> None:
    answer = voyage.embed(TEXTS, model=EMBEDDING, input_type="document")
    assert_same_vectors(answer.embeddings, embedder.encode_document(TEXTS))
    assert answer.total_tokens == sum(map(embedder.token_count, TEXTS))
    assert_same_vectors(voyage.embed(TEXTS, model=EMBEDDING).embeddings, embedder.encode_document(TEXTS))
    found = voyage.embed([QUERY], model=EMBEDDING, input_type="query", output_dimension=64).embeddings
    assert_same_vectors(found, embedder.encode_query([QUERY], truncate_dim=64))
    for top_k in (None, 2):
        hits = voyage.rerank(QUERY, TEXTS, model=RERANKER, top_k=top_k).results
        assert [hit.document for hit in hits] == [TEXTS[hit.index] for hit in hits]
        assert len(hits) == top_k or len(TEXTS)
        assert_same_scores([(hit.index, hit.relevance_score) for hit in hits], reranker, TEXTS)


@pytest.mark.parametrize("kind", ["int8", "uint8", "binary", "ubinary"])
def test_voyages_client_gets_smaller_numbers(voyage: Any, embedder: Embedder, kind: str) -> None:
    found = np.array(voyage.embed(TEXTS, model=EMBEDDING, output_dtype=kind).embeddings)
    expected = embedder.encode_document(TEXTS, precision=kind)
    assert found.shape == expected.shape
    assert (found.min() < 0) == (kind in ("int8", "binary"))
    if kind.endswith("binary"):
        shift = 128 if kind == "binary" else 0
        bits = [np.unpackbits((np.asarray(some, int) + shift).astype(np.uint8)) for some in (found, expected)]
        assert (bits[0] == bits[1]).mean() > 0.98  # numbers about 0 take either side
    else:
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= 2


def test_ollamas_client_embeds_the_older_way_and_with_a_prompt_and_describes_the_models(
    server: Serving, embedder: Embedder
) -> None:
    import ollama

    client = ollama.Client(host=server.url)
    found = client.embeddings(model=EMBEDDING, prompt=QUERY, options={"num_thread": 1}, keep_alive="5m").embedding
    assert_same_vectors(found, embedder.encode_document(QUERY))
    prompt = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
    assert_same_vectors(client.embed(model=EMBEDDING, input=prompt + QUERY).embeddings[0], embedder.encode_query(QUERY))
    names = [f"{EMBEDDING}:latest", f"{RERANKER}:latest"]
    assert [model.model for model in client.list().models] == names
    assert [model.model for model in client.ps().models] == names
    shown = client.show(EMBEDDING)
    assert shown.capabilities == ["embedding"]
    assert shown.modelinfo is not None and shown.modelinfo["qwen3.embedding_length"] == 256
    with pytest.raises(ollama.ResponseError, match="no model 'nomic'"):
        client.show("nomic")
