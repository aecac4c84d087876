"""The README's table of sizes is what the code computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from qsift.engine.memory import cache_bytes
from qsift.models.specs import SPECS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_table_of_sizes_is_what_the_code_computes() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "model_sizes.py", "--table"]
    table = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    assert table.count("\n| qwen3-") == 6
    assert table in README, f"The README's table is another. Put this one there:\n{table}"


def test_what_a_long_text_costs_is_what_the_code_computes() -> None:
    for name, told in (("0.6b", "0.11 MB a token for 0.6B"), ("4b", "0.15 MB for 4B and 8B"), ("8b", "0.15 MB for")):
        spec = SPECS[f"qwen3-embedding-{name}"]
        assert told in README
        assert f"{cache_bytes(spec, 32768) / 32768 / 1e6:.2f} MB" in told
