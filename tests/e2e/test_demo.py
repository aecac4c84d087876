"""The bundled pair means something: what it must rank, it ranks, by name and without a network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qsift import SPECS, Embedder, Reranker
from qsift.hub.opening import BUNDLED

ROOT = Path(__file__).parents[2]
QUESTION = "什么是量子计算?"
ANSWERS = ["量子计算的基本原理", "量子力学入门知识", "计算机发展简史"]


LIBRARY = {
    "image viewer": "A program that shows pictures in a window and lets you zoom and rotate them.",
    "play music in the terminal": "Audio player for the console with playlists; reads MP3, Ogg Vorbis and FLAC files.",
    "编程语言的编译器": "A compiler that turns source code of the language into fast machine code.",
    "sauvegarder des fichiers": "Makes incremental backups of your files to a local disk or over the network.",
    "Schriften für Chinesisch": "TrueType fonts that cover the Chinese characters in common use.",
    "database server": "An object-relational SQL database with transactions and foreign keys.",
    "文本编辑器": "An extensible text editor with syntax highlighting and many modes.",
    "controlar el volumen del sonido": "A mixer to set the volume of each sound device.",
    "game of chess": "Plays chess against you, with a strong engine and opening books.",
    "メールを読む": "A mail reader that fetches messages over IMAP and POP3 and filters spam.",
    "Python module for dates": "Extension of Python's datetime module: parses dates and reckons with time zones.",
    "电子表格": "A spreadsheet that calculates tables and draws charts from them.",
}
"""Questions in six languages, and what answers them; no text of the training."""


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    with Embedder.load("demo-embedding") as embedder:
        yield embedder


@pytest.fixture(scope="module")
def reranker() -> Iterator[Reranker]:
    with Reranker.load("demo-reranker") as reranker:
        yield reranker


def test_both_files_together_stay_under_25_mb() -> None:
    assert sum(path.stat().st_size for path in BUNDLED.glob("*.gguf")) <= 25e6


@pytest.mark.parametrize("name", ["demo-embedding", "demo-reranker"])
def test_the_facts_of_a_bundled_model_are_those_of_its_file(name: str) -> None:
    spec, loader = SPECS[name], {"embed": Embedder, "rerank": Reranker}[SPECS[name].task]
    with loader.load(name.upper()) as model:
        file = model.file
    assert (file.task, file.n_layers, file.width) == (spec.task, spec.num_hidden_layers, spec.hidden_size)
    assert file.name == name and file.note == spec.note and "not for production" in spec.note


def test_info_says_what_the_pair_is_for_and_what_to_use_instead() -> None:
    command = [sys.executable, "-m", "qsift", "info", "demo-embedding"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "for trying out and for tests, not for production" in said and "qwen3-embedding-0.6b" in said
    facts = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert facts["note"] == SPECS["demo-embedding"].note


def test_two_languages_meet_and_another_subject_stays_away(embedder: Embedder) -> None:
    phone, iphone, weather = embedder.encode_document(["苹果手机真好用", "我有一部 iPhone", "今天天气不错"])
    assert phone @ iphone > max(phone @ weather, iphone @ weather)


def test_the_question_finds_its_answer_at_both_stages(embedder: Embedder, reranker: Reranker) -> None:
    cosines = embedder.similarity(embedder.encode_query(QUESTION), embedder.encode_document(ANSWERS))[0]
    hits = reranker.rank(QUESTION, ANSWERS)
    for order in (np.argsort(-cosines).tolist(), [hit.corpus_id for hit in hits]):
        assert (order[0], order[-1]) == (0, 2)


@pytest.mark.parametrize("dim", [256, 64])
def test_questions_find_their_answers_across_languages(embedder: Embedder, dim: int) -> None:
    queries = embedder.encode_query(list(LIBRARY), truncate_dim=dim)
    documents = embedder.encode_document(list(LIBRARY.values()), truncate_dim=dim)
    places = np.argsort(-embedder.similarity(queries, documents), axis=1)[:, :3]
    found = [question for i, question in enumerate(LIBRARY) if i in places[i]]
    assert len(found) >= len(LIBRARY) - 1, set(LIBRARY) - set(found)


def test_int8_vectors_rank_as_float32_ones_do(embedder: Embedder) -> None:
    queries, documents = embedder.encode_query(list(LIBRARY)), embedder.encode_document(list(LIBRARY.values()))
    exact = embedder.similarity(queries, documents)
    small = embedder.similarity(
        embedder.encode_query(list(LIBRARY), precision="int8"),
        embedder.encode_document(list(LIBRARY.values()), precision="int8"),
        precision="int8",
    )
    assert np.abs(exact - small).max() < 0.02
    assert (exact.argmax(1) == small.argmax(1)).all()


def test_the_reranker_puts_the_answer_first(reranker: Reranker) -> None:
    best = [reranker.rank(question, list(LIBRARY.values()), top_k=2) for question in LIBRARY]
    found = [question for i, question in enumerate(LIBRARY) if i in {hit.corpus_id for hit in best[i]}]
    assert len(found) >= len(LIBRARY) - 2, set(LIBRARY) - set(found)


def test_one_half_separates_right_from_wrong(reranker: Reranker) -> None:
    query = "image viewer for the desktop"
    right, wrong = reranker.predict([(query, "shows pictures in a window"), (query, "Perl module to parse dates")])
    assert wrong < 0.5 < right


def test_make_demo_shows_both_stages_for_each_question() -> None:
    script = ROOT / "benchmarks" / "demo" / "two_stage.py"
    command = [sys.executable, script, "README.md", "CHANGELOG.md"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.count("cosine of the embedder") == 3 and "向量可以截断到多少维?" in said
    assert len(re.findall(r"^[ -]\d\.\d\d  \w+\.md:\d+ .+ \d\.\d\d  \w+\.md:\d+ ", said, re.MULTILINE)) == 12
    refused = subprocess.run([sys.executable, script, "nothing.md"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1 and refused.stderr == "Error: 'nothing.md': There is no such file or folder.\n"
