"""The only way from the benchmarks to tests/checkpoints.py, which writes random checkpoints without torch."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))

from checkpoints import ADDED as ADDED
from checkpoints import PATTERN as PATTERN
from checkpoints import SHAPE_0_6B as SHAPE_0_6B
from checkpoints import TINY as TINY
from checkpoints import Checkpoint as Checkpoint
from checkpoints import Shape as Shape
from checkpoints import tokenizer_json as tokenizer_json
from checkpoints import write_checkpoint as write_checkpoint
from checkpoints import write_evidence as write_evidence
