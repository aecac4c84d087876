"""Questions over a folder with LangChain: retrieve, rerank, answer.

    python examples/langchain_rag.py "how long do I bake bread?" ["…"] [--folder examples/notes]

Runs offline with the bundled demo pair. In the place of a language model stands a quoter: it makes nothing up,
it quotes the best passage and says where it stands. Put any chat model there. Needs qsift[langchain].
"""

from __future__ import annotations

import argparse
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore

from qsift import Embedder, Splitter, find_documents
from qsift.integrations.langchain import QsiftEmbeddings, QsiftRerank

PROMPT = ChatPromptTemplate.from_template("Answer from these passages alone.\n\n{context}\n\nQuestion: {question}")


def passages(folder: Path, embedder: Embedder) -> list[Document]:
    """Returns the passages of all files of a folder, with their places."""
    splitter = Splitter(embedder.token_count, max_tokens=96)
    return [
        Document(page_content=passage.text, metadata={"source": f"{Path(passage.source).name}:{passage.line}"})
        for document in find_documents([str(folder)], on_skip=print)
        for passage in splitter.split(document)
    ]


def quoter() -> Runnable:
    """Returns the stand-in for a language model: it quotes the first passage of its prompt."""

    def quote(prompt: PromptValue) -> AIMessage:
        first = prompt.to_string().split("\n\n")[1]
        return AIMessage(content=first)

    return RunnableLambda(quote)


def chain(folder: Path, embedder: Embedder) -> Runnable:
    """Returns the chain from a question to its answer."""
    store = InMemoryVectorStore.from_documents(passages(folder, embedder), QsiftEmbeddings(embedder))
    retriever = store.as_retriever(search_kwargs={"k": 8})
    compressor = QsiftRerank(model="demo-reranker", top_n=2)

    def context(question: str) -> str:
        kept = compressor.compress_documents(retriever.invoke(question), question)
        return "\n\n".join(
            f"[{d.metadata['source']}, {d.metadata['relevance_score']:.2f}] {' '.join(d.page_content.split())}"
            for d in kept
        )

    asked = {"context": RunnableLambda(context), "question": RunnablePassthrough()}
    return asked | PROMPT | quoter() | StrOutputParser()


def main() -> None:
    """Answers the questions of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="+")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "notes")
    options = parser.parse_args()
    with Embedder.load("demo-embedding") as embedder:
        answering = chain(options.folder, embedder)
        for question in options.questions:
            print(answering.invoke(question))


if __name__ == "__main__":
    main()
