"""The OpenAPI document is the truth: generated requests find no 5xx and no answer that it does not name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from serving import Serving

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.parametrize("seed", [1])
def test_no_answer_is_a_surprise(server: Serving, tmp_path: Path, seed: int) -> None:
    tool = Path(sys.executable).with_name("schemathesis")
    limits = ["--checks", CHECKS, "--max-examples", "15", "--seed", str(seed), "--generation-database", "none"]
    result = subprocess.run(
        [tool, "run", f"{server.url}/openapi.json", *limits, "--phases", "examples,coverage,fuzzing", "--no-color"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(re.search(r"(\d+) generated, \1 passed", result.stdout)[1]) > 300, result.stdout  # type: ignore[index]
    assert "Unresolvable" not in result.stdout
