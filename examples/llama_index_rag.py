"""Questions over a folder with LlamaIndex: retrieve, rerank, answer.

    python examples/llama_index_rag.py "how long do I bake bread?" ["…"] [--folder examples/notes]

Runs offline with the bundled demo pair. In the place of a language model stands a quoter: it makes nothing up,
it quotes the passages that it is given. Put any other LLM there. Needs qsift[llama-index].
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.llms import CustomLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer

from qsift.integrations.llama_index import QsiftEmbedding, QsiftRerank

PROMPT = PromptTemplate("Answer from these passages alone.\n---\n{context_str}\n---\nQuestion: {query_str}")


class Quoter(CustomLLM):
    """The stand-in for a language model: it quotes the passages of its prompt."""

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex wants to know of a model."""
        return LLMMetadata(model_name="quoter", context_window=8192, num_output=1024)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Returns what stands between the lines of the prompt."""
        return CompletionResponse(text=prompt.split("\n---\n")[1].strip())

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Yields the same, at once."""
        yield self.complete(prompt)


def engine(folder: Path) -> RetrieverQueryEngine:
    """Returns what answers questions over the files of a folder."""
    documents = SimpleDirectoryReader(str(folder), required_exts=[".md", ".txt"]).load_data()
    for document in documents:  # the file's name and no more of what is known of it belongs into the text
        document.metadata = {"file": document.metadata["file_name"]}
    index = VectorStoreIndex.from_documents(
        documents,
        embed_model=QsiftEmbedding(model_name="demo-embedding"),
        transformations=[SentenceSplitter(chunk_size=96, chunk_overlap=0)],
    )
    synthesizer = get_response_synthesizer(llm=Quoter(), text_qa_template=PROMPT)
    reranker = QsiftRerank(model="demo-reranker", top_n=1)
    return RetrieverQueryEngine(index.as_retriever(similarity_top_k=8), synthesizer, node_postprocessors=[reranker])


def main() -> None:
    """Answers the questions of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="+")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "notes")
    options = parser.parse_args()
    answering = engine(options.folder)
    for question in options.questions:
        answer = answering.query(question)
        print(answer)
        for node in answer.source_nodes:
            print(f"[{node.metadata['file']}, {node.score:.2f}]")


if __name__ == "__main__":
    main()
