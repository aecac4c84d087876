"""Clients that exist speak to the server, and get the library's vectors and scores."""

from __future__ import annotations

import asyncio
from typing import Any

import cohere
import numpy as np
import ollama
import openai
import pytest
from agreement import QUERY, SCORE, TEXTS, assert_same_scores, assert_same_vectors, nodes
from serving import Serving

from qsift import Embedder, Reranker


@pytest.fixture(scope="module")
def openai_client(server: Serving) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


@pytest.mark.parametrize("encoding", ["float", "base64", openai.NOT_GIVEN])
def test_openai_gets_the_vectors_in_both_encodings(
    openai_client: openai.OpenAI, embedder: Embedder, encoding: Any
) -> None:
    answer = openai_client.embeddings.create(model="demo-embedding", input=TEXTS, encoding_format=encoding)
    vectors = [item.embedding for item in answer.data]
    if encoding == "base64":  # then the client leaves decoding to the caller
        import base64

        vectors = [np.frombuffer(base64.b64decode(vector), "<f4") for vector in vectors]  # type: ignore[arg-type]
    assert_same_vectors(vectors, embedder.encode_document(TEXTS))
    assert [item.index for item in answer.data] == list(range(len(TEXTS)))
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(embedder.token_count, TEXTS))
    assert answer.model == "demo-embedding"


def test_openai_gets_the_dimensions_it_asks_for(openai_client: openai.OpenAI, embedder: Embedder) -> None:
    answer = openai_client.embeddings.create(model="demo-embedding", input=TEXTS, dimensions=64)
    assert_same_vectors([i.embedding for i in answer.data], embedder.encode_document(TEXTS, truncate_dim=64))


@pytest.mark.parametrize(
    ("extra", "instruction"),
    [
        ({"input_type": "query"}, None),
        ({"input_type": "search_query", "prompt_name": "query"}, None),
        ({"prompt_name": "query"}, None),
        ({"instruction": "Find recipes"}, "Find recipes"),
    ],
)
def test_openai_gets_queries_by_an_extension(
    openai_client: openai.OpenAI, embedder: Embedder, extra: dict[str, str], instruction: str | None
) -> None:
    answer = openai_client.embeddings.create(model="demo-embedding", input=QUERY, extra_body=extra)
    assert_same_vectors(answer.data[0].embedding, embedder.encode_query(QUERY, instruction=instruction))
    assert answer.usage.total_tokens == embedder.token_count(QUERY, prompt_name="query", instruction=instruction)


def test_openai_reads_the_models_and_our_refusals(openai_client: openai.OpenAI) -> None:
    assert [model.id for model in openai_client.models.list()] == ["demo-embedding", "demo-reranker"]
    assert openai_client.models.retrieve("demo-reranker").object == "model"
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'") as caught:
        openai_client.embeddings.create(model="gpt", input="a")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="'dimensions' is 8; this model was trained for 32 to 256"):
        openai_client.embeddings.create(model="demo-embedding", input="a", dimensions=8)
    with pytest.raises(openai.BadRequestError, match=r"Text 1 is \d+ tokens long. The limit is 2048.") as caught_long:
        openai_client.embeddings.create(model="demo-embedding", input=["a", "word " * 3000])
    assert caught_long.value.code == "context_length_exceeded"


def test_openai_gets_long_texts_cut_where_it_asks_for_that(openai_client: openai.OpenAI, embedder: Embedder) -> None:
    text = " ".join(f"word{number}" for number in range(1500))
    for extra, most in (({"truncate": True}, None), ({"truncate_prompt_tokens": 100}, 100)):
        answer = openai_client.embeddings.create(model="demo-embedding", input=text, extra_body=extra)
        with pytest.warns(UserWarning, match="was cut"):
            expected = embedder.encode_document(text, max_tokens=most)
        assert_same_vectors(answer.data[0].embedding, expected)


def test_many_at_once_get_each_their_own(server: Serving, embedder: Embedder) -> None:
    texts = [f"{'long text ' * (number % 40)} number {number}" for number in range(120)]

    async def all_of_them() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            return await asyncio.gather(
                *(client.embeddings.create(model="demo-embedding", input=text) for text in texts)
            )

    answers = asyncio.run(all_of_them())
    assert_same_vectors([answer.data[0].embedding for answer in answers], embedder.encode_document(texts))
    assert [a.usage.total_tokens for a in answers] == [embedder.token_count(text) for text in texts]


@pytest.mark.parametrize("make", [cohere.Client, cohere.ClientV2])
def test_cohere_gets_the_scores(server: Serving, reranker: Reranker, make: Any) -> None:
    client = make(api_key="none", base_url=server.url)
    answer = client.rerank(model="demo-reranker", query=QUERY, documents=TEXTS)
    assert_same_scores([(hit.index, hit.relevance_score) for hit in answer.results], reranker, TEXTS)
    assert len(answer.results) == len(TEXTS)
    assert len(client.rerank(model="demo-reranker", query=QUERY, documents=TEXTS, top_n=2).results) == 2


def test_cohere_gets_documents_cut_where_it_asks_for_that(server: Serving, reranker: Reranker) -> None:
    client = cohere.ClientV2(api_key="none", base_url=server.url)
    documents = ["viewer " * 500, "viewer"]
    answer = client.rerank(model="demo-reranker", query=QUERY, documents=documents, max_tokens_per_doc=3)
    scores = {hit.index: hit.relevance_score for hit in answer.results}
    assert scores[0] == pytest.approx(reranker.predict((QUERY, "viewer viewer viewer")), abs=SCORE)
    assert scores[1] == pytest.approx(reranker.predict((QUERY, "viewer")), abs=SCORE)


def test_cohere_gets_its_documents_back(server: Serving) -> None:
    client = cohere.Client(api_key="none", base_url=server.url)
    documents = [{"text": TEXTS[0], "id": "bread"}, TEXTS[1]]
    answer = client.rerank(query=QUERY, documents=documents, model="demo-reranker", return_documents=True)  # type: ignore[arg-type]
    assert [hit.document.text for hit in answer.results] == [TEXTS[1], TEXTS[0]]  # type: ignore[union-attr]
    with pytest.raises(cohere.NotFoundError):
        client.rerank(query=QUERY, documents=["a"], model="rerank-v3.5")
    with pytest.raises(cohere.UnprocessableEntityError):
        client.rerank(query=QUERY, documents=[], model="demo-reranker")


def test_ollama_gets_the_vectors(server: Serving, embedder: Embedder) -> None:
    client = ollama.Client(host=server.url)
    answer = client.embed(model="demo-embedding", input=TEXTS)
    assert_same_vectors(answer.embeddings, embedder.encode_document(TEXTS))
    assert answer.prompt_eval_count == sum(map(embedder.token_count, TEXTS))
    assert_same_vectors(
        client.embed(model="demo-embedding:latest", input=TEXTS[0], dimensions=32).embeddings[0],
        embedder.encode_document(TEXTS[0], truncate_dim=32),
    )
    assert client.embed(model="demo-embedding", input=[]).embeddings == []
    assert len(client.embed(model="demo-embedding", input="word " * 3000).embeddings) == 1
    with pytest.raises(ollama.ResponseError, match="The limit is 2048"):
        client.embed(model="demo-embedding", input="word " * 3000, truncate=False)


def test_langchain_embeds_and_reranks(server: Serving, embedder: Embedder, reranker: Reranker) -> None:
    from langchain_cohere import CohereRerank
    from langchain_openai import OpenAIEmbeddings

    embeddings = OpenAIEmbeddings(
        base_url=f"{server.url}/v1", api_key="none", model="demo-embedding", check_embedding_ctx_length=False
    )  # type: ignore[call-arg]
    assert_same_vectors(embeddings.embed_documents(TEXTS), embedder.encode_document(TEXTS))
    assert_same_vectors(embeddings.embed_query(TEXTS[1]), embedder.encode_document(TEXTS[1]))
    ranks = CohereRerank(base_url=server.url, cohere_api_key="none", model="demo-reranker", top_n=3)  # type: ignore[call-arg, arg-type]
    hits = ranks.rerank(TEXTS, QUERY)
    assert_same_scores([(hit["index"], hit["relevance_score"]) for hit in hits], reranker, TEXTS)
    assert len(hits) == 3


def test_llama_index_embeds_and_reranks(server: Serving, embedder: Embedder, reranker: Reranker) -> None:
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    embeddings = OpenAILikeEmbedding(model_name="demo-embedding", api_base=f"{server.url}/v1", api_key="none")
    texts = [text for text in TEXTS if text]
    assert_same_vectors(embeddings.get_text_embedding_batch(texts), embedder.encode_document(texts))
    assert_same_vectors(embeddings.get_query_embedding(texts[0]), embedder.encode_document(texts[0]))
    ranks = CohereRerank(api_key="none", model="demo-reranker", top_n=3, base_url=server.url)
    hits = ranks.postprocess_nodes(nodes(texts), query_str=QUERY)
    assert_same_scores([(int(hit.node.node_id), hit.score or 0.0) for hit in hits], reranker, texts)


def test_llama_indexs_classes_for_tei_work_too(server: Serving, embedder: Embedder, reranker: Reranker) -> None:
    from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    embeddings = TextEmbeddingsInference(
        model_name="demo-embedding", base_url=server.url, query_instruction="", text_instruction=""
    )
    texts = [text.strip() for text in TEXTS if text]
    assert_same_vectors(embeddings.get_text_embedding_batch(texts), embedder.encode_document(texts))
    ranks = TextEmbeddingInference(base_url=server.url, top_n=3)
    hits = ranks.postprocess_nodes(nodes(texts), query_str=QUERY)
    assert [hit.node.node_id for hit in hits] == [str(hit.corpus_id) for hit in reranker.rank(QUERY, texts, top_k=3)]


def test_mtebs_wrappers_encode_and_rerank(server: Serving, embedder: Embedder, reranker: Reranker) -> None:
    from mteb.models.openai_wrappers import OpenAIAPIEncodeWrapper, OpenAIAPIRerankWrapper
    from torch.utils.data import DataLoader

    def batches(texts: list[str]) -> Any:
        return DataLoader([{"text": text} for text in texts], batch_size=2)  # type: ignore[arg-type]

    about: dict[str, Any] = {"task_metadata": None, "hf_split": "test", "hf_subset": "default"}
    encoder = OpenAIAPIEncodeWrapper(server.url, "demo-embedding", use_chat_template=False, modalities=["text"])
    assert encoder.max_length == 2048
    found = encoder.encode(batches(TEXTS), **about, show_progress_bar=False)
    assert_same_vectors(found, embedder.encode_document(TEXTS))
    ranks = OpenAIAPIRerankWrapper(server.url, "demo-reranker", modalities=["text"])
    scores = ranks.predict(batches([QUERY] * len(TEXTS)), batches(TEXTS), **about, show_progress_bar=False)
    assert np.allclose(scores, reranker.predict([(QUERY, text) for text in TEXTS]), atol=SCORE)
