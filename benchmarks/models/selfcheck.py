"""Makes src/qsift/engine/selfcheck.gguf, the tiny model of the AMX self-check: `python -m models.selfcheck`.

Two blocks whose weights are of all the types that ggml has AMX kernels for, random, seeded, over
a vocabulary of bytes. Run it again after a change; the result is the same bytes.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from .checkpoints import Checkpoint, Shape, write_checkpoint
from qsift.convert import convert
from qsift.engine.selfcheck import MODEL
from qsift.models import Shape as ModelShape
from qsift.models import quants

SHAPE = Shape(2, 256, 256, 2, 1, 64, 1024)
TYPES = {
    "attn_q": ("Q8_0", "Q4_0"),
    "attn_k": ("Q4_K", "Q8_0"),
    "attn_v": ("Q6_K", "Q5_K"),
    "attn_output": ("Q8_0", "Q4_0"),
    "ffn_gate": ("Q5_K", "Q4_K"),
    "ffn_up": ("IQ4_XS", "Q6_K"),
    "ffn_down": ("Q4_K", "IQ4_XS"),
}


class Mixed(quants.Scheme):
    """Every matrix of a block in a type of its own."""

    def type_of(self, name: str, shape: tuple[int, ...], model: ModelShape, *, weighted: bool = False) -> str:
        """Returns the type that TYPES names."""
        match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
        if match and match[2] in TYPES:
            return TYPES[match[2]][int(match[1])]
        return super().type_of(name, shape, model, weighted=weighted)


def main() -> None:
    """Writes the model."""
    quants.SCHEMES["q8_0"] = Mixed(7, "Q8_0", "Q8_0")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(Path(folder) / "selfcheck", Checkpoint(shape=SHAPE))
        convert(checkpoint, MODEL, quants="q8_0", force=True)
    print(MODEL, MODEL.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
