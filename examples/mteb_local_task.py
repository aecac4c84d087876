"""An MTEB task over data of one's own: both models of the pair, nDCG@10 and MAP.

    python examples/mteb_local_task.py [--folder examples/notes]

The queries are the titles of the notes, and a title's note is its answer. Runs offline with the bundled demo
pair. Needs qsift[mteb].
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import mteb
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata

from qsift.integrations.mteb import QsiftCrossEncoder, QsiftEncoder


class NotesTask(AbsTaskRetrieval):
    """Find the note that a title belongs to; every note is a candidate."""

    metadata = TaskMetadata(
        name="Notes",
        type="Reranking",
        description="Titles and notes of a folder.",
        prompt={"query": "Given a title, find the note that it belongs to"},
        dataset={"path": "local", "revision": "1"},
        main_score="ndcg_at_10",
        eval_langs=["eng-Latn"],
        category="t2t",
        modalities=["text"],
        bibtex_citation="",
    )

    def __init__(self, folder: Path, **arguments: Any) -> None:
        """Takes the folder whose Markdown files start with a title."""
        super().__init__(**arguments)
        self._folder = folder

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Reads the files; MTEB calls it."""
        notes = {}
        for path in sorted(self._folder.glob("*.md")):
            title, _, text = path.read_text("utf-8").partition("\n")
            notes[path.name] = (title.strip("# "), text.strip())
        split = RetrievalSplitData(
            corpus=Dataset.from_list([{"id": name, "title": "", "text": text} for name, (_, text) in notes.items()]),
            queries=Dataset.from_list([{"id": name, "text": title} for name, (title, _) in notes.items()]),
            relevant_docs={name: {name: 1} for name in notes},
            top_ranked={name: list(notes) for name in notes},
        )
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


def main() -> None:
    """Evaluates both models and prints their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "notes")
    options = parser.parse_args()
    for model in (QsiftEncoder("demo-embedding"), QsiftCrossEncoder("demo-reranker")):
        result = mteb.evaluate(model, NotesTask(options.folder), cache=None, co2_tracker=False, show_progress_bar=False)
        scores = result.task_results[0].scores["test"][0]
        print(f"{model.mteb_model_meta.name}: nDCG@10 {scores['ndcg_at_10']:.3f}, MAP {scores['map_at_1000']:.3f}")


if __name__ == "__main__":
    main()
