"""The main job on real text, until a trained demo model is bundled: convert, embed, rerank.

Builds two tiny checkpoints with random weights and the real vocabulary, converts them with
`qsift convert`, and runs both stages over the files named on the command line.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from checkpoints import Checkpoint, write_checkpoint
from qsift.convert import convert

from qsift import Embedder, Reranker


def paragraphs(paths: list[Path]) -> list[tuple[str, str]]:
    """Returns (place, text) of every paragraph in the files."""
    found = []
    for path in paths:
        line = 1
        for block in path.read_text("utf-8", errors="replace").split("\n\n"):
            if len(block.split()) > 3:
                found.append((f"{path}:{line + len(block) - len(block.lstrip())}", block.strip()))
            line += block.count("\n") + 2
    return found


def main() -> None:
    """Runs the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--query", required=True)
    arguments = parser.parse_args()
    texts = paragraphs(arguments.files)
    if not texts:
        sys.exit("Error: the files hold no paragraphs of more than three words.")
    with tempfile.TemporaryDirectory() as folder:
        models = []
        for task in ("embed", "rerank"):
            checkpoint = write_checkpoint(Path(folder) / f"random-{task}", Checkpoint(task=task, vocab="real"))
            models += convert(checkpoint, folder, quants="q8_0")
            print(f"converted {checkpoint.name} to {models[-1].name} ({models[-1].stat().st_size / 1e6:.1f} MB)")
        start = time.perf_counter()
        with Embedder.load(models[0]) as embedder:
            vectors = embedder.encode_document([text for _, text in texts])
            near = embedder.similarity(embedder.encode_query(arguments.query), vectors)[0]
        candidates = (-near).argsort()[:20]
        with Reranker.load(models[1]) as reranker:
            hits = reranker.rank(arguments.query, [texts[i][1] for i in candidates], top_k=5)
        seconds = time.perf_counter() - start
    print(f"embedded {len(texts)} paragraphs, reranked {len(candidates)}, {seconds:.1f} s\n\n{arguments.query}")
    print("  cosine  P(yes)  where")
    for hit in hits:
        index = candidates[hit.corpus_id]
        words = " ".join(hit.text.split())
        print(f"  {near[index]:6.3f}  {hit.score:6.3f}  {texts[index][0]:24}  {words[:60]}")
    print(
        "\nTHE WEIGHTS ARE RANDOM: the order above means nothing. It shows that conversion, embedding and reranking "
        "run on this machine; for meaning, convert a released checkpoint."
    )


if __name__ == "__main__":
    main()
