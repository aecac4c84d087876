"""A LoRA adapter that PEFT saved is merged at conversion: the file is that of the checkpoint that PEFT merges."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from checkpoints import K_QUANT, write_adapter, write_checkpoint, write_evidence
from independent import change_json, gguf_arrays, gguf_keys
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from texts import SENTENCES
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from qsift import Embedder
from qsift.convert import convert
from qsift.errors import ConversionError
from qsift.models import ModelFile

EMBED, LM, CLASSIFIER = AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


class Trained(NamedTuple):
    """An adapter, its base, and the checkpoint that PEFT makes of both."""

    adapter: Path
    base: Path
    merged: Path


def train(place: Path, kind: Any, layout: dict[str, Any], dtype: torch.dtype = torch.float32, **lora: Any) -> Trained:
    """Saves an adapter with random weights and what PEFT's merge makes of it."""
    trained = Trained(place / "adapter", place / "base", place / "merged")
    write_checkpoint(trained.base, **{"dtype": "f32", **layout})
    torch.manual_seed(1)
    labels = {"num_labels": 1} if kind is CLASSIFIER else {}
    model = get_peft_model(kind.from_pretrained(trained.base, dtype=dtype, **labels), LoraConfig(**{"r": 4, **lora}))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(trained.adapter)
    loaded = kind.from_pretrained(untied(trained.base, place / "untied", dtype, kind), dtype=dtype, **labels)
    PeftModel.from_pretrained(loaded, trained.adapter).merge_and_unload().save_pretrained(trained.merged)
    shutil.copy(trained.base / "tokenizer.json", trained.merged)
    return trained


def untied(base: Path, place: Path, dtype: torch.dtype, kind: Any) -> Path:
    """Returns a copy of a language model whose head is a matrix of its own, as it is while an adapter is trained.

    PEFT merges what it trained on a tied embedding into the head too, where it was not during the training.
    """
    if kind is not LM:
        return base
    model = kind.from_pretrained(base, dtype=dtype)
    model.lm_head.weight = torch.nn.Parameter(model.get_input_embeddings().weight.clone())
    model.config.tie_word_embeddings = False
    model.save_pretrained(place)
    return place


def difference(ours: Path, theirs: Path) -> float:
    """Returns the largest difference of two files' weights, in shares of each tensor's largest weight."""
    mine, other = gguf_arrays(ours), gguf_arrays(theirs)
    assert {name: kind for name, (kind, _) in mine.items()} == {name: kind for name, (kind, _) in other.items()}
    return max(np.abs(mine[name][1] - values).max() / np.abs(values).max() for name, (_, values) in other.items())


RERANK = {"task": "rerank"}
CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "names": (EMBED, {}, {"target_modules": ATTENTION, "lora_alpha": 16}),
    "a base with model. and an adapter without": (EMBED, {"prefix": True}, {"target_modules": ["up_proj"]}),
    "a base without model. and an adapter with": (LM, {}, {"target_modules": ["q_proj", "down_proj"]}),
    "shards": (EMBED, {"shards": 3}, {"target_modules": ATTENTION}),
    "rsLoRA": (EMBED, {}, {"target_modules": ATTENTION, "use_rslora": True, "r": 8}),
    "patterns of ranks and alphas": (
        EMBED,
        {},
        {
            "target_modules": [*ATTENTION, "up_proj"],
            "rank_pattern": {"layers.1.self_attn.q_proj": 7, "k_proj": 2, r"layers\.[02]\.mlp\.up_proj": 3},
            "alpha_pattern": {"^layers.1.self_attn.q_proj": 3, "v_proj": 1.5},
        },
    ),
    "a regular expression": (EMBED, {}, {"target_modules": r".*\.(1|2)\.(self_attn\.(q|k)_proj|mlp\.gate_proj)"}),
    "all linear": (LM, RERANK, {"target_modules": "all-linear"}),
    "some layers": (LM, {}, {"target_modules": ATTENTION, "layers_to_transform": [0, 2]}),
    "one layer by its pattern": (
        LM,
        {},
        {"target_modules": ATTENTION, "layers_to_transform": 1, "layers_pattern": "layers"},
    ),
    "excluded modules": (EMBED, {}, {"target_modules": ATTENTION, "exclude_modules": ["0.self_attn.q_proj"]}),
    "excluded by an expression": (EMBED, {}, {"target_modules": ATTENTION, "exclude_modules": r".*1.*v_proj"}),
    "fan in, fan out": (EMBED, {}, {"target_modules": ATTENTION, "fan_in_fan_out": True}),
    "biases, of which there are none": (EMBED, {}, {"target_modules": ATTENTION, "bias": "all"}),
    "DoRA": (EMBED, {}, {"target_modules": "all-linear", "use_dora": True}),
    "DoRA and rsLoRA": (LM, RERANK, {"target_modules": ATTENTION, "use_dora": True, "use_rslora": True}),
    "an embedding": (EMBED, {}, {"target_modules": ["q_proj", "embed_tokens"]}),
    "norms and the embedding whole": (EMBED, {}, {"target_modules": ATTENTION, "modules_to_save": ["norm", "tokens"]}),
    "an MLP whole": (EMBED, {}, {"target_modules": ATTENTION, "modules_to_save": ["layers.1.mlp"]}),
    "a head of its own": (LM, RERANK | {"tied": False}, {"target_modules": ["o_proj", "lm_head"]}),
    "a tied head by low rank": (LM, RERANK, {"target_modules": ["q_proj", "lm_head"]}),
    "a tied embedding by low rank": (LM, RERANK, {"target_modules": ["q_proj", "embed_tokens"]}),
    "a tied embedding whole": (LM, RERANK, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}),
    "head and embedding whole": (
        LM,
        RERANK,
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    ),
    "a classifier": (CLASSIFIER, {"evidence": False}, {"target_modules": "all-linear", "task_type": "SEQ_CLS"}),
}


BOUND = 5e-7
"""Of a tensor's largest weight. Found: 1.4e-7, and 2.2e-7 with DoRA; float32 has steps of 1.2e-7."""


@pytest.mark.parametrize(("kind", "layout", "lora"), CASES.values(), ids=CASES.keys())
def test_the_file_is_that_of_pefts_own_merge(tmp_path: Path, kind: Any, layout: dict, lora: dict) -> None:
    trained = train(tmp_path, kind, layout, **lora)
    task = "rerank" if kind is CLASSIFIER else layout.get("task", "embed")
    (ours,) = convert(trained.adapter, tmp_path / "ours", base=trained.base, quants="f32")
    (theirs,) = convert(trained.merged, tmp_path / "theirs", quants="f32", task=task)
    (plain,) = convert(trained.base, tmp_path / "plain", quants="f32", task=task)
    assert difference(ours, theirs) < BOUND
    assert difference(plain, theirs) > 0.1


@pytest.mark.parametrize(
    "lora", [{"target_modules": ["embed_tokens"]}, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}]
)
def test_a_tied_head_that_was_trained_with_the_embedding_is_its_rows(tmp_path: Path, lora: dict) -> None:
    trained = train(tmp_path, LM, RERANK, **lora, ensure_weight_tying=True)
    (path,) = convert(trained.adapter, tmp_path, base=trained.base, quants="f32")
    tokens = json.loads((trained.base / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    weights = {name: values for name, (_, values) in gguf_arrays(path).items()}
    rows = weights["token_embd.weight"][[tokens["yes"], tokens["no"]]]
    np.testing.assert_allclose(weights["cls.output.weight"], rows, atol=BOUND)


def test_names_may_have_peft_s_prefix_and_the_models_or_not(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    files = set()
    for prefix in ("base_model.model.", "base_model.model.model.", "model.", ""):
        adapter = write_adapter(tmp_path / f"adapter-of-{prefix}")
        weights = load_file(adapter / "adapter_model.safetensors")
        renamed = {prefix + name.removeprefix("base_model.model."): tensor for name, tensor in weights.items()}
        save_file(renamed, adapter / "adapter_model.safetensors")
        (path,) = convert(adapter, tmp_path / "out.gguf", base=base, quants="f32", force=True)
        files.add(tuple(values.tobytes() for _, values in gguf_arrays(path).values()))
    assert len(files) == 1


def test_weights_of_16_bits_are_merged_in_32(tmp_path: Path) -> None:
    trained = train(tmp_path, EMBED, {"dtype": "bf16"}, dtype=torch.bfloat16, target_modules=ATTENTION)
    whole = train(tmp_path / "whole", EMBED, {"dtype": "bf16"}, target_modules=ATTENTION)
    quants = {"f32": BOUND, "bf16": 2**-8}
    ours = convert(whole.adapter, tmp_path / "ours", base=whole.base, quants=quants)
    theirs = convert(whole.merged, tmp_path / "theirs", quants=quants, task="embed")
    rounded = convert(trained.merged, tmp_path / "rounded", quants=quants, task="embed")
    for bound, mine, exact, in_bf16 in zip(quants.values(), ours, theirs, rounded, strict=True):
        assert difference(mine, exact) < bound
        assert bound < difference(in_bf16, exact) < 2**-6


@pytest.mark.parametrize("quant", ["q8_0", "q4_k_m"])
def test_every_quant_is_made_of_the_merged_weights(tmp_path: Path, quant: str) -> None:
    trained = train(tmp_path, EMBED, {"shape": K_QUANT}, target_modules="all-linear")
    (ours,) = convert(trained.adapter, tmp_path / "ours", base=trained.base, quants=quant)
    (theirs,) = convert(trained.merged, tmp_path / "theirs", quants=quant, task="embed")
    mine, other = gguf_arrays(ours), gguf_arrays(theirs)
    for name, (kind, values) in other.items():
        assert mine[name][0] == kind
        # A weight that lies between two steps may fall on either side.
        same = np.isclose(mine[name][1], values, rtol=1e-5, atol=1e-6).mean()
        assert same > 0.95, name


def test_an_adapter_of_sentence_transformers_gives_its_vectors(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base", dtype="f32", prefix=True)
    model = SentenceTransformer(str(base), device="cpu", prompts={"query": "Instruct: Find it\nQuery:"})
    torch.manual_seed(1)
    model[0].model = get_peft_model(model[0].model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data += 0.05 * torch.randn_like(parameter)
    model.save(str(tmp_path / "tuned"))
    (path,) = convert(tmp_path / "tuned", tmp_path, base=base, quants="f32")
    plain = SentenceTransformer(str(base), device="cpu").encode(SENTENCES[:4])
    with Embedder.load(path) as embedder:
        ours = embedder.encode_document(SENTENCES[:4]), embedder.encode_query(SENTENCES[:4])
    assert (ours[0] * plain).sum(axis=1).max() < 0.9
    assert (ours[0] * model.encode(SENTENCES[:4])).sum(axis=1).min() > 0.99999
    assert (ours[1] * model.encode_query(SENTENCES[:4])).sum(axis=1).min() > 0.99999


def test_small_files_of_the_adapter_win_and_the_config_is_the_bases(tmp_path: Path) -> None:
    trained = train(tmp_path, EMBED, {}, target_modules=ATTENTION)
    adapter = trained.adapter.rename(tmp_path / "Tuned-1B")
    (trained.base / "README.md").write_text("---\nlicense: mit\n---\n")
    change_json(trained.base / "config.json", lambda c: c.update(_name_or_path="Base-0.6B"))
    (adapter / "config.json").write_text("{}")
    shutil.copy(trained.base / "tokenizer.json", adapter)
    change_json(adapter / "tokenizer.json", lambda t: t["added_tokens"][-1].update(content="<mine>"))
    prompts = {"prompts": {"query": "Instruct: Find it\nQuery:"}}
    (adapter / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    (path,) = convert(adapter, tmp_path, base=trained.base)
    keys = gguf_keys(path)
    assert path.name == "Tuned-1B-Q8_0.gguf" and keys["general.name"] == "Tuned-1B"
    assert "<mine>" in keys["tokenizer.ggml.tokens"]
    assert ModelFile.open(path).manifest.prompts.instruction == "Find it"
    # PEFT's card names the base by its path on the machine of the training, which is nobody's business.
    assert str(tmp_path) in (adapter / "README.md").read_text()
    assert not [key for key, value in keys.items() if str(tmp_path) in str(value)]
    (adapter / "README.md").unlink()
    (path,) = convert(adapter, tmp_path, base=trained.base, force=True)
    assert gguf_keys(path)["general.license"] == "mit"


def test_an_adapter_that_scores_makes_a_reranker_of_an_embedding_model(tmp_path: Path) -> None:
    trained = train(tmp_path, CLASSIFIER, {"task": "embed"}, target_modules="all-linear", task_type="SEQ_CLS")
    (path,) = convert(trained.adapter, tmp_path, base=trained.base)
    assert ModelFile.open(path).task == "rerank"
    write_evidence(trained.adapter, "embed")
    with pytest.raises(ConversionError, match="contradictory"):
        convert(trained.adapter, tmp_path / "out", base=trained.base)
