"""The random 0.6B checkpoint as ONNX Runtime and OpenVINO read it: made once, and kept beside it.

    python benchmarks/models/graphs.py CHECKPOINT FORMAT      (as `converted` runs it, in a process of its own)

The graph is transformers' own, traced once with attention written out; it takes padded ids and their mask and
gives the hidden state of every token.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

FORMATS = {
    "onnx int8": "model.onnx",  # weights by channel, activations when it runs
    "openvino fp16": "model.xml",  # computed in bfloat16 where the CPU can
    "openvino int8": "model.xml",  # weights by channel
}


def converted(checkpoint: Path, format: str) -> Path:
    """Returns the checkpoint's model in one of FORMATS, converted now if it is not there.

    Raises:
        subprocess.CalledProcessError: the conversion failed; its own words are on stderr.
    """
    place = _place(checkpoint, format)
    if not place.exists():
        subprocess.run([sys.executable, __file__, str(checkpoint), format], check=True, stdout=subprocess.DEVNULL)
    return place / FORMATS[format]


def _place(checkpoint: Path, format: str) -> Path:
    return checkpoint.with_name(f"{checkpoint.name}-{format.replace(' ', '-')}")


def _graph(checkpoint: Path) -> tuple[Any, tuple[Any, Any]]:
    """Returns the model as a torch module of ids and mask, and an example of its inputs."""
    import torch
    from transformers import AutoModel

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager").eval()

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            found = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
            return found.last_hidden_state

    torch.set_grad_enabled(False)
    ids = torch.arange(2 * 9).reshape(2, 9) + 100
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return Hidden(), (ids, mask)


def _write_onnx(checkpoint: Path, scratch: Path) -> None:
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    plain = scratch / "plain"
    plain.mkdir()
    module, example = _graph(checkpoint)
    axes = {0: "batch", 1: "tokens"}
    torch.onnx.export(
        module,
        example,
        str(plain / "model.onnx"),  # a Path would be written whole, and past 2 GB that fails
        dynamo=False,
        opset_version=17,
        input_names=["input_ids", "attention_mask"],
        output_names=["last_hidden_state"],
        dynamic_axes=dict.fromkeys(["input_ids", "attention_mask", "last_hidden_state"], axes),
    )
    quantize_dynamic(
        plain / "model.onnx",
        scratch / "model.onnx",
        per_channel=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
    )
    shutil.rmtree(plain)


def _write_openvino(checkpoint: Path, scratch: Path, *, int8: bool) -> None:
    import openvino

    module, example = _graph(checkpoint)
    model = openvino.convert_model(module, example_input=example)
    if int8:
        import nncf

        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    openvino.save_model(model, scratch / "model.xml", compress_to_fp16=not int8)


def main() -> None:
    """Converts one checkpoint into one format."""
    checkpoint, format = Path(sys.argv[1]), sys.argv[2]
    place = _place(checkpoint, format)
    scratch = place.with_name(f"{place.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    if format == "onnx int8":
        _write_onnx(checkpoint, scratch)
    else:
        _write_openvino(checkpoint, scratch, int8=format == "openvino int8")
    scratch.rename(place)


if __name__ == "__main__":
    main()
