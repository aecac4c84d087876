"""A Haystack pipeline over a folder: embed, retrieve, rerank; saved as YAML and loaded before it is asked.

    python examples/haystack_pipeline.py "how long do I bake bread?" ["…"] [--folder examples/notes]

Runs offline with the bundled demo pair. Needs qsift[haystack].
"""

from __future__ import annotations

import argparse
from pathlib import Path

from haystack import Document, Pipeline
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore

from qsift.integrations.haystack import QsiftDocumentEmbedder, QsiftRanker, QsiftTextEmbedder


def write(folder: Path, store: InMemoryDocumentStore) -> None:
    """Splits and embeds the files of a folder into a store."""
    pipeline = Pipeline()
    pipeline.add_component("splitter", DocumentSplitter(split_by="passage", split_length=1))
    pipeline.add_component("embedder", QsiftDocumentEmbedder("demo-embedding"))
    pipeline.add_component("writer", DocumentWriter(store))
    pipeline.connect("splitter", "embedder")
    pipeline.connect("embedder", "writer")
    files = sorted(path for path in folder.iterdir() if path.suffix in (".md", ".txt"))
    documents = [Document(content=path.read_text("utf-8"), meta={"file": path.name}) for path in files]
    pipeline.run({"splitter": {"documents": documents}})


def searching() -> Pipeline:
    """Returns the pipeline from a question to the best passages."""
    pipeline = Pipeline()
    pipeline.add_component("embedder", QsiftTextEmbedder("demo-embedding"))
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(InMemoryDocumentStore(), top_k=8))
    pipeline.add_component("ranker", QsiftRanker("demo-reranker", top_k=2))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    pipeline.connect("retriever.documents", "ranker.documents")
    return pipeline


def main() -> None:
    """Answers the questions of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="+")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "notes")
    options = parser.parse_args()
    # Haystack makes components of modules that it is told to trust.
    pipeline = Pipeline.loads(searching().dumps(), allowed_modules=["qsift.integrations.haystack"])
    write(options.folder, pipeline.get_component("retriever").document_store)
    for question in options.questions:
        found = pipeline.run({"embedder": {"text": question}, "ranker": {"query": question}})
        for document in found["ranker"]["documents"]:
            print(f"[{document.meta['file']}, {document.score:.2f}] {' '.join(document.content.split())}")


if __name__ == "__main__":
    main()
