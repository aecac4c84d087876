"""What applications send to a server that their users typed in, and what they read from its answers.

Written by us from what each program does in November 2026; `test_recordings` replays them. Bodies are to the letter: a
null, a word in the place of a truth or an empty header is what the program sends. The demo pair's names stand where a
program has a setting for the name. Paths are as the program makes them of the base URL that ``typed`` shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

TEXTS = ["Bake the bread for an hour.", "A program that shows pictures. 🙂", "一个查看图片的程序"]
QUERY = "image viewer"
EMBEDDING, RERANKER = "demo-embedding", "demo-reranker"


class Reads(Enum):
    """What a value in an answer has to be, beyond its type."""

    DOCUMENT = auto()  # the vector of a text of the request as a document
    QUERY = auto()  # as a query
    BASE64 = auto()  # as a document, its float32 in base64
    INDEX = auto()  # which document a row is of
    SCORE = auto()  # the score of that document
    TEXT = auto()  # that document
    SENTENCE = auto()  # the sentence that the program shows, with `says` in it


@dataclass(frozen=True)
class Call:
    """A request, and what the program reads from its answer.

    Attributes:
        request: method and path.
        body: the JSON that is sent; None for none.
        reads: by the place in the answer: ``*`` is each item of a list, ``~`` the first key of an object. A type, a
            `Reads`, or the value itself.
        headers: beside those of HTTP itself.
        status: of the answer.
        says: a part of the sentence.
        meant: the texts without what the program puts before them.
    """

    request: str
    body: Any = None
    reads: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    says: str = ""
    meant: list[str] | None = None


@dataclass(frozen=True)
class Recording:
    """What a program does, in a sentence, after somebody typed a base URL; ``server`` is a fixture of the test."""

    does: str
    typed: str
    calls: tuple[Call, ...]
    server: str = "server"


def key(name: str) -> dict[str, str]:
    """Returns the header of most programs."""
    return {"Authorization": f"Bearer {name}"}


OPENAI = {"data/*/embedding": Reads.DOCUMENT}
COUNTED = OPENAI | {"usage/prompt_tokens": int, "usage/total_tokens": int}
AS_QUERY = {"data/*/embedding": Reads.QUERY, "usage/total_tokens": int}
IN_BASE64 = {"data/*/embedding": Reads.BASE64}
OLLAMA = {"embeddings/*": Reads.DOCUMENT}
TEI = {"*": Reads.DOCUMENT}
RESULTS = {"results/*/index": Reads.INDEX, "results/*/relevance_score": Reads.SCORE}
WITH_OBJECTS = RESULTS | {"results/*/document/text": Reads.TEXT}
ROWS = {"data/*/index": Reads.INDEX, "data/*/relevance_score": Reads.SCORE}
TEI_ROWS = {"*/index": Reads.INDEX, "*/score": Reads.SCORE}

RERANK = {"model": RERANKER, "query": QUERY, "documents": TEXTS}
EMBED = {"model": EMBEDDING, "input": TEXTS}
TEI_INFO = {"max_input_length": int, "max_client_batch_size": int}
PLACE = int | None  # none for a control token
TEI_TOKENS = {"*/*/id": int, "*/*/text": str, "*/*/special": bool, "*/*/start": PLACE}

DIFY = (
    Recording(
        "Dify's OpenAI-compatible plugin checks an embedding model, and then embeds documents",
        "http://HOST/v1/",
        (
            Call("POST /v1/embeddings", {"input": "ping", "model": EMBEDDING}, COUNTED | {"model": str}),
            Call("POST /v1/embeddings", {**EMBED, "encoding_format": "float"}, COUNTED, {"Authorization": ""}),
            Call(
                "POST /v1/embeddings",
                {**EMBED, "user": "0b2f", "encoding_format": "float"},
                COUNTED,
                key("none"),
            ),
        ),
    ),
    Recording(
        "Dify's OpenAI-compatible plugin reranks, with and without documents in the answer",
        "http://HOST/v1",
        (
            Call("POST /v1/rerank", {**RERANK, "top_n": 3}, RESULTS, {"Authorization": ""}),
            Call("POST /v1/rerank", {**RERANK, "top_n": 2, "return_documents": True}, WITH_OBJECTS, key("none")),
        ),
    ),
    Recording(
        "Dify's TEI plugin asks what is served, counts tokens and embeds without a model's name",
        "http://HOST",
        (
            Call("GET /info", None, {**TEI_INFO, "model_type/~": "embedding"}),
            Call("POST /tokenize", {"inputs": TEXTS}, TEI_TOKENS),
            Call("POST /v1/embeddings", {"input": TEXTS}, COUNTED),
        ),
    ),
    Recording(
        "Dify's TEI plugin reranks on a server that has nothing but a reranker",
        "http://HOST",
        (
            Call("GET /info", None, {**TEI_INFO, "model_type/~": "reranker"}),
            Call(
                "POST /rerank",
                {"query": QUERY, "texts": TEXTS, "return_text": True},
                TEI_ROWS | {"*/text": Reads.TEXT},
            ),
        ),
        "reranker_alone",
    ),
    Recording(
        "Dify's Xinference plugin finds no key demanded, and embeds and reranks what the server says it has",
        "http://HOST",
        (
            Call("GET /v1/cluster/auth", None, {"auth": False}),
            Call("GET /v1/models/demo-embedding", None, {"model_type": "embedding", "max_tokens": int}),
            Call("POST /v1/embeddings", EMBED, COUNTED),
            Call("GET /v1/models/demo-reranker", None, {"model_type": "rerank", "context_length": int}),
            Call(
                "POST /v1/rerank",
                {
                    **RERANK,
                    "top_n": None,
                    "max_chunks_per_doc": None,
                    "return_documents": True,
                    "return_len": None,
                    "kwargs": "{}",
                },
                WITH_OBJECTS,
            ),
            Call(
                "POST /v1/rerank",
                {**RERANK, "model": "bge", "kwargs": "{}"},
                {"detail": Reads.SENTENCE},
                status=404,
                says="There is no model 'bge'",
            ),
        ),
    ),
    Recording(
        "Dify's Xinference plugin learns without a key that one is demanded, and sends it",
        "http://HOST",
        (
            Call("GET /v1/cluster/auth", None, {"auth": True}),
            Call("GET /v1/models/demo-embedding", None, {"model_type": "embedding"}, key("secret")),
            Call("POST /v1/embeddings", EMBED, COUNTED, key("secret")),
        ),
        "any_name_with_a_key",
    ),
    Recording(
        "Dify's Ollama plugin embeds with options, and reranks at a path that Ollama does not have",
        "http://HOST/",
        (
            Call(
                "POST /api/embed",
                {"input": TEXTS[:1], "model": EMBEDDING, "options": {"use_mmap": True}},
                OLLAMA,
                {"Authorization": ""},
            ),
            Call(
                "POST /api/rerank",
                {**RERANK, "top_n": 2},
                RESULTS | {"results/*/document": Reads.TEXT},
                key("none"),
            ),
        ),
    ),
    Recording(
        "Dify's Jina plugin tells queries from documents for a model of Jina's name",
        "http://HOST/v1/",
        (
            Call("POST /v1/embeddings", EMBED, COUNTED, key("secret")),
            Call(
                "POST /v1/embeddings",
                {"model": "jina-embeddings-v3", "input": TEXTS, "task": "retrieval.passage"},
                COUNTED,
                key("secret"),
            ),
            Call(
                "POST /v1/embeddings",
                {"model": "jina-embeddings-v3", "input": [QUERY], "task": "retrieval.query"},
                AS_QUERY,
                key("secret"),
            ),
            Call(
                "POST /v1/embeddings",
                {"model": "jina-clip-v2", "input": [{"text": text} for text in TEXTS]},
                COUNTED,
                key("secret"),
            ),
            Call("POST /v1/rerank", {**RERANK, "top_n": None, "return_documents": False}, RESULTS, key("secret")),
            Call(
                "POST /v1/embeddings",
                EMBED,
                {"detail": Reads.SENTENCE},
                key("another"),
                status=401,
                says="The API key is missing or wrong",
            ),
        ),
        "any_name_with_a_key",
    ),
    Recording(
        "Dify's Cohere plugin takes a text apart, embeds the parts put together, and reranks",
        "http://HOST",
        (
            Call("POST /v1/tokenize", {"text": TEXTS[1], "model": EMBEDDING}, {"token_strings/*": str}, key("none")),
            Call(
                "POST /v1/embed",
                {"texts": TEXTS, "model": EMBEDDING, "input_type": "search_document"},
                {
                    "embeddings/*": Reads.DOCUMENT,
                    "id": str,
                    "response_type": "embeddings_floats",
                    "meta/billed_units/input_tokens": int,
                },
                key("none"),
            ),
            Call(
                "POST /v1/embed",
                {"texts": [QUERY], "model": EMBEDDING, "input_type": "search_query"},
                {"embeddings/*": Reads.QUERY, "meta/billed_units/input_tokens": int},
                key("none"),
            ),
            Call("POST /v1/rerank", {**RERANK, "top_n": 2, "return_documents": True}, WITH_OBJECTS, key("none")),
        ),
    ),
    Recording(
        "Dify's Voyage plugin tells queries from documents, and reads texts with the scores",
        "http://HOST/v1/",
        (
            Call("POST /v1/embeddings", {**EMBED, "input_type": "document"}, COUNTED, key("secret")),
            Call(
                "POST /v1/embeddings",
                {"model": EMBEDDING, "input": [QUERY], "input_type": "query"},
                AS_QUERY,
                key("secret"),
            ),
            Call(
                "POST /v1/rerank",
                {**RERANK, "model": "rerank-2", "top_k": 2, "return_documents": True},
                ROWS | {"data/*/document": Reads.TEXT},
                key("secret"),
            ),
        ),
        "any_name_with_a_key",
    ),
    Recording(
        "Dify's LocalAI plugin embeds a text with a key of its own, and shows what is wrong",
        "http://HOST/v1",
        (
            Call("POST /v1/embeddings", {"model": EMBEDDING, "input": TEXTS[1]}, COUNTED, key("123")),
            Call(
                "POST /v1/embeddings",
                {"model": "bert", "input": "ping"},
                {"error/message": Reads.SENTENCE, "error/code": "model_not_found"},
                key("123"),
                status=404,
                says="There is no model 'bert'",
            ),
        ),
    ),
    Recording(
        "Dify's GPUStack plugin embeds at a path of its own",
        "http://HOST",
        (
            Call("POST /v1-openai/embeddings", {"input": "ping", "model": EMBEDDING}, COUNTED | {"model": str}),
            Call("POST /v1-openai/embeddings", {**EMBED, "encoding_format": "float", "user": "0b2f"}, COUNTED),
            Call("POST /v1/rerank", {**RERANK, "top_n": 3}, RESULTS, key("none")),
        ),
    ),
)

BEFORE_QUERY = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"

OPEN_WEBUI = (
    Recording(
        "Open WebUI embeds as with OpenAI, the user's name in headers, after a base URL with a slash",
        "http://HOST/v1/",
        (
            Call("POST /v1//embeddings", {"input": TEXTS, "model": EMBEDDING}, OPENAI, {"Authorization": "Bearer "}),
            Call(
                "POST /v1//embeddings",
                {"input": TEXTS, "model": EMBEDDING},
                OPENAI,
                {**key("none"), "X-OpenWebUI-User-Name": "Ada", "X-OpenWebUI-User-Role": "user"},
            ),
        ),
    ),
    Recording(
        "Open WebUI tells queries from documents with its prefixes in the field input_type",
        "http://HOST/v1",
        (
            Call("POST /v1/embeddings", {**EMBED, "input_type": "document"}, OPENAI, key("none")),
            Call("POST /v1/embeddings", {**EMBED, "input_type": "query"}, {"data/*/embedding": Reads.QUERY}),
        ),
    ),
    Recording(
        "Open WebUI puts an instruction before queries",
        "http://HOST/v1",
        (
            Call(
                "POST /v1/embeddings",
                {"input": [BEFORE_QUERY + QUERY], "model": EMBEDDING},
                {"data/*/embedding": Reads.QUERY},
                key("none"),
                meant=[QUERY],
            ),
        ),
    ),
    Recording(
        "Open WebUI embeds as with Ollama",
        "http://HOST",
        (
            Call("POST /api/embed", {**EMBED, "truncate": True}, OLLAMA, {"Authorization": "Bearer "}),
            Call("POST /api/embed", {**EMBED, "truncate": True, "input_type": "query"}, {"embeddings/*": Reads.QUERY}),
            Call(
                "POST /api/embed",
                {**EMBED, "model": "nomic"},
                {"error": Reads.SENTENCE},
                status=404,
                says="There is no model 'nomic'",
            ),
        ),
    ),
    Recording(
        "Open WebUI embeds as with Azure, the model in the path and the key in a header of its own",
        "http://HOST",
        (
            Call(
                "POST /openai/deployments/demo-embedding/embeddings?api-version=2024-02-01",
                {"input": TEXTS},
                OPENAI,
                {"api-key": "secret"},
            ),
            Call(
                "POST //openai/deployments/text-embedding-3-small/embeddings?api-version=",
                {"input": TEXTS, "input_type": "query"},
                {"data/*/embedding": Reads.QUERY},
                {"api-key": "secret"},
            ),
        ),
        "any_name_with_a_key",
    ),
    Recording(
        "Open WebUI's external reranker gets a score for each document",
        "http://HOST/v1/rerank",
        (Call("POST /v1/rerank", {**RERANK, "top_n": 3}, RESULTS, key("none")),),
    ),
)

RAGFLOW_OPENAI = {**EMBED, "encoding_format": "float", "drop_params": True}
RAGFLOW = (
    *(
        Recording(
            f"RAGFlow embeds as with OpenAI, vLLM and GPUStack, after the base URL {typed}",
            typed,
            (
                Call("GET /v1/models", None, {"data/*/id": str, "data/*/max_model_len": int}, key("none")),
                Call(f"POST {path}", RAGFLOW_OPENAI, COUNTED, key("none")),
            ),
        )
        for typed, path in (
            ("http://HOST", "/v1/embeddings"),
            ("http://HOST/v1", "/v1/embeddings"),
            ("http://HOST/v1/", "/v1/v1/embeddings"),
        )
    ),
    Recording(
        "RAGFlow embeds as with LocalAI, LM Studio and Xinference, in base64",
        "http://HOST/v1",
        (
            Call("GET /v1/models", None, {"data/*/id": str, "data/*/model_type": str, "data/*/context_length": int}),
            Call("POST /v1/embeddings", {**EMBED, "encoding_format": "base64"}, IN_BASE64, key("empty")),
            Call("POST /v1/embeddings", {**EMBED, "encoding_format": "base64"}, IN_BASE64, key("lm-studio")),
        ),
    ),
    Recording(
        "RAGFlow embeds as with TEI, a query as a bare text",
        "http://HOST",
        (Call("POST /embed", {"inputs": TEXTS}, TEI), Call("POST /embed", {"inputs": QUERY}, TEI)),
    ),
    Recording(
        "RAGFlow finds and embeds as with Ollama, queries at the older path",
        "http://HOST/",
        (
            Call("GET /api/tags", None, {"models/*/name": str, "models/*/model": str}),
            Call(
                "POST /api/show",
                {"model": EMBEDDING},
                {"capabilities/*": "embedding", "details/family": "qwen3", "model_info/qwen3.context_length": int},
            ),
            Call("POST /api/embed", {**EMBED, "options": {"use_mmap": True}, "keep_alive": -1}, OLLAMA),
            Call(
                "POST /api/embeddings",
                {"model": EMBEDDING, "prompt": QUERY, "options": {"use_mmap": True}, "keep_alive": -1},
                {"embedding": Reads.DOCUMENT},
            ),
        ),
    ),
    Recording(
        "RAGFlow reranks as with OpenAI's relatives and LocalAI, at the root whatever was typed",
        "http://HOST/v1",
        (
            Call("POST /rerank", {**RERANK, "top_n": 3}, RESULTS | {"usage/total_tokens": int}, key("none")),
            Call("POST /v1/rerank", {**RERANK, "top_n": 3}, RESULTS, key("none")),
        ),
    ),
    Recording(
        "RAGFlow reranks as with Xinference, its truths written as words",
        "http://HOST/v1/rerank",
        (
            Call(
                "POST /v1/rerank",
                {**RERANK, "return_documents": "true", "return_len": "true"},
                WITH_OBJECTS,
                key("none"),
            ),
        ),
    ),
    Recording(
        "RAGFlow reranks as with vLLM and GPUStack, with and without /v1 at the base URL's end",
        "http://HOST/v1",
        (
            Call("POST /v1/rerank", {**RERANK, "top_n": 3, "return_documents": False}, RESULTS, key("none")),
            Call("POST /v1/v1/rerank", {**RERANK, "top_n": 3, "return_documents": False}, RESULTS, key("none")),
        ),
    ),
    Recording(
        "RAGFlow reranks as with TEI",
        "HOST",
        (
            Call("POST /rerank", {"query": QUERY, "texts": TEXTS, "raw_scores": False, "truncate": True}, TEI_ROWS),
            Call(
                "POST /rerank",
                {"query": QUERY, "texts": [], "raw_scores": False, "truncate": True},
                {"error": Reads.SENTENCE, "error_type": "Validation"},
                status=422,
                says="no documents",
            ),
        ),
    ),
)

ANYTHING_LLM = (
    Recording(
        "AnythingLLM's generic OpenAI provider embeds, in either encoding of OpenAI's client",
        "http://HOST/v1",
        (
            Call("POST /v1/embeddings", EMBED, OPENAI, key("none")),
            Call("POST /v1/embeddings", {**EMBED, "encoding_format": "base64"}, IN_BASE64, key("null")),
        ),
    ),
    Recording(
        "AnythingLLM lists the models and embeds as with LocalAI and LiteLLM",
        "http://HOST/v1/",
        (
            Call("GET /v1/models", None, {"data/*/id": str, "data/*/object": "model"}, key("none")),
            Call("GET /v1//models", None, {"data/*/id": str}, key("none")),
            Call("POST /v1/embeddings", {**EMBED, "encoding_format": "base64"}, IN_BASE64, key("none")),
        ),
    ),
    Recording(
        "AnythingLLM looks whether LM Studio lives, at either path, and embeds text by text",
        "http://HOST/v1",
        (
            Call("HEAD /v1"),
            Call("HEAD /v1/embeddings/models"),
            Call("POST /v1/embeddings", {"model": EMBEDDING, "input": TEXTS[2]}, OPENAI),
        ),
    ),
    Recording(
        "AnythingLLM looks whether Ollama lives, lists its models and embeds",
        "http://HOST",
        (
            Call("GET /"),
            Call("HEAD /"),
            Call("GET /api/tags", None, {"models/*/name": str}, key("none")),
            Call("POST /api/embed", {**EMBED, "options": {"num_ctx": 8192}}, OLLAMA),
        ),
    ),
    Recording(
        "AnythingLLM looks without a key whether Ollama lives, and whoever embeds at that path needs one",
        "http://HOST",
        (
            Call("GET /"),
            Call("POST /api/embed", {**EMBED, "options": {"num_ctx": 8192}}, OLLAMA, key("secret")),
            Call("POST /", {"inputs": TEXTS}, {"error": Reads.SENTENCE}, status=401, says="The API key is missing"),
        ),
        "any_name_with_a_key",
    ),
)

LANGCHAIN_OPTIONS = (
    *("mirostat", "mirostat_eta", "mirostat_tau", "num_ctx", "num_gpu", "num_thread", "repeat_last_n"),
    *("repeat_penalty", "temperature", "stop", "tfs_z", "top_k", "top_p"),
)
CL100K = [[58_187, 279, 19_692, 369, 459, 6_596, 13], [32, 2_068, 430, 5_039, 9_364, 13]]

LIBRECHAT = (
    Recording(
        "LibreChat's rag_api sends token ids and shows which setting makes texts of them",
        "http://HOST/v1",
        (
            Call(
                "POST /v1/embeddings",
                {"input": CL100K, "model": EMBEDDING, "encoding_format": "base64"},
                {"error/message": Reads.SENTENCE},
                key("none"),
                status=400,
                says="RAG_CHECK_EMBEDDING_CTX_LENGTH=False",
            ),
            Call("POST /v1/embeddings", {**EMBED, "encoding_format": "base64"}, IN_BASE64, key("none")),
        ),
    ),
    Recording(
        "LibreChat's rag_api embeds as with Ollama, each option null",
        "http://HOST",
        (
            Call(
                "POST /api/embed",
                {
                    **EMBED,
                    "options": dict.fromkeys(LANGCHAIN_OPTIONS),
                    "keep_alive": None,
                },
                OLLAMA,
            ),
        ),
    ),
    Recording(
        "LibreChat's rag_api embeds as with TEI, at its root",
        "http://HOST",
        (Call("POST /", {"inputs": TEXTS}, TEI),),
    ),
    Recording(
        "LibreChat's web search reranks as with Jina, under a name that nobody can set",
        "http://HOST/v1/rerank",
        (
            Call(
                "POST /v1/rerank",
                {
                    "model": "jina-reranker-v2-base-multilingual",
                    "query": QUERY,
                    "top_n": 2,
                    "documents": TEXTS,
                    "return_documents": True,
                },
                WITH_OBJECTS,
                key("secret"),
            ),
        ),
        "any_name_with_a_key",
    ),
    Recording(
        "LibreChat's web search reranks as with Voyage",
        "http://HOST/v1/rerank",
        (
            Call(
                "POST /v1/rerank",
                {**RERANK, "model": "rerank-2.5", "top_k": 2, "return_documents": False, "truncation": False},
                ROWS,
                key("secret"),
            ),
        ),
        "any_name_with_a_key",
    ),
)

CONTINUE = (
    Recording(
        "Continue embeds as with OpenAI, through its own code and through OpenAI's client",
        "http://HOST/v1",
        (
            Call("POST /v1/embeddings", EMBED, OPENAI, {**key("secret"), "api-key": "secret"}),
            Call("POST /v1/embeddings", {**EMBED, "encoding_format": "base64"}, IN_BASE64, key("secret")),
        ),
        "any_name_with_a_key",
    ),
    Recording(
        "Continue asks vLLM for its model, embeds and reranks, without a key",
        "http://HOST/v1/",
        (
            Call("GET /v1/models", None, {"data/*/id": str, "data/*/max_model_len": int}, key("undefined")),
            Call("POST /v1/embeddings", EMBED, OPENAI, {**key("undefined"), "api-key": ""}),
            Call("POST /v1/rerank", RERANK, RESULTS, {**key(""), "x-api-key": ""}),
        ),
    ),
    Recording(
        "Continue finds and embeds as with Ollama",
        "http://HOST",
        (
            Call("GET /api/tags", None, {"models/*/name": str}),
            Call("POST /api/show", {"name": EMBEDDING}, {"capabilities": list}),
            Call("POST /api/embed", EMBED, OLLAMA),
        ),
    ),
    Recording(
        "Continue embeds and reranks as with TEI",
        "http://HOST",
        (
            Call("GET /info", None, {"model_id": EMBEDDING, "max_client_batch_size": int}),
            Call("POST /embed", {"inputs": TEXTS}, TEI),
            Call(
                "POST /rerank",
                {
                    "query": QUERY,
                    "return_text": False,
                    "raw_scores": False,
                    "texts": TEXTS,
                    "truncation_direction": "Right",
                    "truncate": True,
                },
                TEI_ROWS,
            ),
            Call(
                "POST /embed",
                {"inputs": []},
                {"error": Reads.SENTENCE, "error_type": str},
                status=422,
                says="'inputs' is an empty list",
            ),
        ),
    ),
    Recording(
        "Continue embeds and reranks as with Cohere",
        "http://HOST/v1",
        (
            Call(
                "POST /v1/embed",
                {
                    "texts": TEXTS,
                    "model": EMBEDDING,
                    "input_type": "search_document",
                    "embedding_types": ["float"],
                    "truncate": "END",
                },
                {"embeddings/float/*": Reads.DOCUMENT},
                key("none"),
            ),
            Call("POST /v1/rerank", RERANK, RESULTS, key("none")),
        ),
    ),
    Recording(
        "Continue embeds as with Voyage",
        "http://HOST/v1",
        (Call("POST /v1/embeddings", EMBED, OPENAI, {**key("none"), "api-key": "none"}),),
    ),
)

AICHAT = (
    Recording(
        "aichat embeds and reranks, and shows what is wrong",
        "http://HOST/v1",
        (
            Call("POST /v1/embeddings", {"input": TEXTS, "model": EMBEDDING}, OPENAI),
            Call("POST /v1/rerank", {**RERANK, "top_n": 2}, RESULTS),
            Call(
                "POST /v1/rerank",
                {**RERANK, "model": "bge", "top_n": 2},
                {"error/message": Reads.SENTENCE},
                status=404,
                says="There is no model 'bge'",
            ),
        ),
    ),
    Recording(
        "aichat embeds and reranks after a base URL with a slash",
        "http://HOST/v1/",
        (
            Call("POST /v1//embeddings", {"input": [QUERY], "model": EMBEDDING}, OPENAI, key("none")),
            Call("POST /v1//rerank", {**RERANK, "top_n": 2}, RESULTS, key("none")),
        ),
    ),
    Recording(
        "aichat's client of the name voyageai reranks",
        "http://HOST/v1",
        (Call("POST /v1/rerank", {**RERANK, "top_k": 2}, ROWS, key("none")),),
    ),
)

# Its package needs more than a test should install; all but one of its embedding functions call the clients of others.
CHROMA = (
    Recording(
        "ChromaDB's OpenAIEmbeddingFunction and OllamaEmbeddingFunction embed documents",
        "http://HOST/v1, http://HOST",
        (
            Call("POST /v1/embeddings", {**EMBED, "encoding_format": "base64"}, IN_BASE64, key("none")),
            Call("POST /api/embed", EMBED, OLLAMA),
        ),
    ),
    Recording(
        "ChromaDB's HuggingFaceEmbeddingServer embeds documents at the URL that is typed",
        "http://HOST/embed",
        (Call("POST /embed", {"inputs": TEXTS}, TEI),),
    ),
    Recording(
        "ChromaDB's CohereEmbeddingFunction embeds documents where CO_API_URL says",
        "http://HOST",
        (
            Call(
                "POST /v1/embed",
                {"texts": TEXTS, "model": EMBEDDING, "input_type": "search_document"},
                {"embeddings/*": Reads.DOCUMENT, "response_type": "embeddings_floats", "id": str, "texts/*": str},
                key("none"),
            ),
        ),
    ),
)

# The database itself calls the server, from a module in Go.
WEAVIATE = (
    Recording(
        "Weaviate's text2vec-openai embeds objects and queries alike, with what its clients set as baseURL",
        "http://HOST",
        (
            Call("POST /v1/embeddings", EMBED, OPENAI, key("none")),
            Call(
                "POST /v1/embeddings",
                {**EMBED, "dimensions": 64},
                {"data/*/embedding": list, "usage/prompt_tokens": int},
                key("none"),
            ),
        ),
    ),
    Recording(
        "Weaviate's text2vec-ollama embeds objects and queries alike, with what its clients set as apiEndpoint",
        "http://HOST",
        (Call("POST /api/embed", EMBED, OLLAMA),),
    ),
)

RECORDINGS = (*DIFY, *OPEN_WEBUI, *RAGFLOW, *ANYTHING_LLM, *LIBRECHAT, *CONTINUE, *AICHAT, *CHROMA, *WEAVIATE)
