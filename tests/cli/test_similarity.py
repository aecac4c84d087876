"""`qsift similarity`, `dedup` and `cluster` over arguments, files and JSON lines, with the bundled model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qsift import Embedder

TEXTS = [
    "Bake the bread for an hour.",
    "A program that shows pictures.",
    "Bake the bread for one hour.",
    "",
    "量子计算的基本原理",
    "A program to show pictures.",
    "Bake the bread for an hour.",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS), "utf-8")
    return path


def qsift(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qsift", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == code and "Traceback" not in result.stderr, result.stderr
    return result


def rows(*arguments: object) -> list[dict]:
    return [json.loads(line) for line in qsift(*arguments, "--format", "jsonl", "--quiet").stdout.splitlines()]


def test_similarity_prints_the_cosines_of_the_library(file: Path) -> None:
    found = rows("similarity", "demo-embedding", "image viewer", "--file", file, "--query", "--dim", 64)
    with Embedder.load("demo-embedding") as embedder:
        query = embedder.encode_query("image viewer", truncate_dim=64)
        cosines = embedder.similarity(query, embedder.encode_document(TEXTS, truncate_dim=64))[0]
    assert [(row["index"], row["text"]) for row in found] == [*enumerate(TEXTS)]
    assert np.array_equal([row["similarity"] for row in found], cosines.tolist())
    table = qsift("similarity", "demo-embedding", "a text", "a text", "a \x1b[2J\nb").stdout.splitlines()
    assert [line.split() for line in table[:2]] == [["index", "similarity", "text"], ["0", "1.0000", "a", "text"]]
    assert len(table) == 3 and "\x1b" not in table[2]


def test_dedup_keeps_the_first_of_its_like_and_says_what_it_left_out(file: Path, tmp_path: Path) -> None:
    result = qsift("dedup", "demo-embedding", "--file", file, "--threshold", "0.9")
    assert result.stdout.split("\n") == [TEXTS[0], TEXTS[1], "", TEXTS[4], ""]
    assert result.stderr == "3 of 7 texts are near duplicates.\n"
    left_out = rows("dedup", "demo-embedding", "--file", file, "--threshold", "0.9", "--duplicates")
    assert [(row["index"], row["duplicate_of"], row["text"]) for row in left_out] == [
        (2, 0, TEXTS[2]),
        (5, 1, TEXTS[5]),
        (6, 0, TEXTS[6]),
    ]
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(json.dumps({"body": f"{text}\nand more"}) + "\n" for text in (*TEXTS[:2], TEXTS[0])))
    result = qsift("dedup", "demo-embedding", "--jsonl", lines, "--field", "body", "--threshold", "1")
    assert [json.loads(line)["index"] for line in result.stdout.splitlines()] == [0, 1]


def test_cluster_prints_groups_with_their_centres_first(file: Path) -> None:
    found = rows("cluster", "demo-embedding", "--file", file)
    assert [(row["group"], row["index"]) for row in found] == [(0, 0), (0, 6), (0, 2), (1, 1), (1, 5)]
    assert all(row["text"] == TEXTS[row["index"]] and row["similarity"] > 0.9 for row in found)
    result = qsift("cluster", "demo-embedding", "--file", file, "--min-community-size", "3")
    assert len(result.stdout.splitlines()) == 4 and result.stderr == "Groups: 1, with 3 of 7 texts.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["similarity", "demo-embedding", "a"], 2, "There is no text"),
        (["similarity", "demo-embedding", "a", "b", "--instruction", "Find it"], 2, "Add --query"),
        (["dedup", "demo-embedding", "a", "--threshold", "95"], 2, "95.0 is not in the range -1<=x<=1"),
        (["cluster", "demo-embedding", "a", "--threshold", "nan"], 2, "threshold"),
        (["cluster", "demo-reranker", "a"], 1, "This is a reranker"),
    ],
)
def test_mistakes_get_a_sentence(arguments: list[str], code: int, message: str) -> None:
    result = qsift(*arguments, code=code)
    assert result.stdout == "" and message in result.stderr
