"""Adapters that are refused, in which words, and that a refusal writes nothing."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import TINY, Shape, write_adapter, write_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from independent import change_json, change_tensors, gguf_arrays
from test_refusals import ODD

from qsift.convert import check_checkpoint, convert
from qsift.errors import ConversionError

WIDTH, RANK = TINY.hidden_size, 4  # of the adapters that write_adapter writes
Q = "base_model.model.layers.1.self_attn.q_proj"
Damage = Callable[[Path], object]


def config(**values: Any) -> Damage:
    return lambda place: change_json(place / "adapter" / "adapter_config.json", lambda c: c.update(values))


def weights(change: Callable[[Any], object]) -> Damage:
    return lambda place: change_tensors(place / "adapter" / "adapter_model.safetensors", change)


def add(name: str, *shape: int, value: float = 0.0) -> Damage:
    data = np.full(shape, value, np.float32).tobytes()
    return weights(lambda t: t.update({name: ("F32", list(shape), data)}))


def text(name: str, content: str) -> Damage:
    return lambda place: (place / "adapter" / name).write_text(content)


def both(*damages: Damage) -> Damage:
    return lambda place: [damage(place) for damage in damages]


def base(**layout: Any) -> Damage:
    def write(place: Path) -> None:
        shutil.rmtree(place / "base")
        write_checkpoint(place / "base", **layout)

    return write


def remove(name: str) -> Damage:
    return lambda place: (place / name).unlink()


def pickled(place: Path) -> None:
    (place / "adapter" / "adapter_model.safetensors").rename(place / "adapter" / "adapter_model.bin")


LENGTHS = [
    (f"base_model.model.layers.{n}.self_attn.{m}.lora_magnitude_vector", WIDTH)
    for n in range(3)
    for m in ("q_proj", "o_proj")
]
EMBEDDING = "base_model.model.embed_tokens"

REFUSED: dict[str, tuple[Damage, str]] = {
    "no adapter": (remove("adapter/adapter_config.json"), "it is no adapter, and --base is for adapters"),
    "no folder": (lambda place: shutil.rmtree(place / "adapter"), "no folder .*adapter"),
    "a base that is an adapter": (
        lambda place: shutil.copy(place / "adapter" / "adapter_config.json", place / "base"),
        "--base names, is an adapter itself",
    ),
    "a base that is not there": (lambda place: shutil.rmtree(place / "base"), "There is no such folder"),
    "no weights": (remove("adapter/adapter_model.safetensors"), r"adapter_model\.safetensors is missing"),
    "a pickle": (pickled, r"pickle files \(adapter_model\.bin\)"),
    "weights that are cut short": (text("adapter_model.safetensors", "x"), "was cut short"),
    "settings that are no JSON": (text("adapter_config.json", "{"), r"adapter_config\.json is not JSON"),
    "settings that are a list": (text("adapter_config.json", "[]"), r"adapter_config\.json holds a list"),
    "another method": (config(peft_type="IA3"), "the type 'IA3'; 'LORA' is merged here"),
    "no method": (text("adapter_config.json", "{}"), "the type None"),
    "tokens that were trained alone": (config(trainable_token_indices=[1]), r"trainable_token_indices to \[1\]"),
    "layers that are repeated": (config(layer_replication=[[0, 2], [1, 3]]), "layer_replication"),
    "a change of the base at the start": (config(init_lora_weights="pissa_niter_4"), "PEFT changes the base before"),
    "a rank of nothing": (config(r=0), r"r in adapter_config\.json is 0; a whole number from 1 is needed"),
    "a rank as text": (config(r="4"), r"r in adapter_config\.json is '4'"),
    "an endless alpha": (config(lora_alpha=float("inf")), "lora_alpha in .* is inf; a number"),
    "no targets": (config(target_modules=None), "target_modules in .* is None; a list of names"),
    "a broken expression": (config(target_modules="(q_proj"), r"target_modules in .* is '\(q_proj'"),
    "a broken pattern": (config(rank_pattern={"[": 2}), r"rank_pattern in .* is \{'\[': 2\}"),
    "patterns that are a list": (config(alpha_pattern=["q_proj"]), "alpha_pattern in .* an object of patterns"),
    "layers as text": (config(layers_to_transform=["1"]), "layers_to_transform in"),
    "truth as a number": (config(use_rslora=1), "use_rslora in .* is 1; true or false"),
    "another rank than the settings say": (
        config(r=8),
        r"12 matrices .* another rank .*lora_A.weight is \(4, 64\), not \(8, 64\)",
    ),
    "half a pair": (
        weights(lambda t: t.pop(f"{Q}.lora_B.weight")),
        r"lack a part.*layers\.1\.self_attn\.q_proj \(lora_A\)",
    ),
    "a whole weight and a pair": (add(f"{Q}.weight", WIDTH, WIDTH), "or have one too many: layers.1.self_attn.q_proj"),
    "a module without its pair": (
        weights(lambda t: [t.pop(f"{Q}.lora_{half}.weight") for half in "AB"]),
        "names 1 modules for which the adapter holds nothing: layers.1.self_attn.q_proj",
    ),
    "nothing": (both(config(target_modules=[]), weights(lambda t: t.clear())), "holds nothing: none at all"),
    "a module that was not to be trained": (config(target_modules=["q_proj"]), "does not name 3 modules .*o_proj"),
    "a module that was to be trained whole": (config(modules_to_save=["lm_norm", "norm"]), "holds nothing: .*norm"),
    "a module of another model": (
        add("base_model.model.encoder.query.lora_A.weight", 4, WIDTH),
        "no place in this base",
    ),
    "a bias": (add(f"{Q}.bias", WIDTH), "no place in this base, or are of a kind that is not merged"),
    "a norm by low rank": (add("base_model.model.norm.lora_A.weight", RANK, WIDTH), "no place in this base"),
    "a name twice": (
        weights(
            lambda t: t.update(
                {"base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight": t[f"{Q}.lora_A.weight"]}
            )
        ),
        "no place in this base",
    ),
    "a score whose width is another": (add("base_model.model.score.weight", 1, 32), r"is \(1, 32\), not \(1, 64\)"),
    "a base of another width": (
        base(shape=Shape(hidden_size=32)),
        r"6 tensors .* do not fit .*\(64, 4\), not \(32, 4\).*trained on 'someone/base'",
    ),
    "a base with fewer layers": (
        base(shape=Shape(num_hidden_layers=2)),
        r"4 tensors .* no place .*trained on 'someone/base'",
    ),
    "a base with more layers": (base(shape=Shape(num_hidden_layers=4)), "names 2 modules"),
    "more tokens than the base": (add(f"{EMBEDDING}.weight", 300, WIDTH), r"is \(300, 64\), not \(294, 64\)"),
    "lengths without DoRA": (add(*LENGTHS[0]), "one too many"),
    "DoRA without lengths": (both(config(use_dora=True), *(add(*one) for one in LENGTHS[1:])), "lack a part"),
    "DoRA of the embedding": (
        both(
            config(use_dora=True, target_modules=["q_proj", "o_proj", "embed_tokens"]),
            *(add(*one) for one in LENGTHS),
            add(f"{EMBEDDING}.lora_embedding_A", RANK, 294),
            add(f"{EMBEDDING}.lora_embedding_B", WIDTH, RANK),
            add(f"{EMBEDDING}.lora_magnitude_vector", WIDTH),
        ),
        "1 embedding was trained with DoRA",
    ),
    "NaN in a half": (add(f"{Q}.lora_A.weight", RANK, WIDTH, value=float("nan")), "1 tensors .* hold NaN or Inf"),
    "NaN in a whole weight": (
        add("base_model.model.norm.weight", WIDTH, value=float("nan")),
        "output_norm.weight: there are NaN",
    ),
    "a change that is too large": (
        both(add(f"{Q}.lora_A.weight", RANK, WIDTH, value=3e38), add(f"{Q}.lora_B.weight", WIDTH, RANK, value=3e38)),
        r"blk\.1\.attn_q\.weight: there are NaN or Inf",
    ),
    "double precision": (
        weights(lambda t: t.update({f"{Q}.lora_A.weight": ("F64", [RANK, WIDTH], bytes(8 * RANK * WIDTH))})),
        "are F64",
    ),
    "a damaged base": (
        lambda place: change_tensors(place / "base" / "model.safetensors", lambda t: t.pop("norm.weight")),
        "1 tensors are missing: norm.weight",
    ),
}


@pytest.mark.parametrize(("damage", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_an_adapter_is_refused_in_a_sentence_and_nothing_is_written(tmp_path: Path, damage: Damage, words: str) -> None:
    write_checkpoint(tmp_path / "base")
    write_adapter(tmp_path / "adapter")
    damage(tmp_path)
    with pytest.raises(ConversionError, match=f"(?s){words}") as refusal:
        convert(tmp_path / "adapter", tmp_path / "out", base=tmp_path / "base")
    assert all(problem.endswith(".") and problem.count("\n") == 0 for problem in refusal.value.problems)
    assert not (tmp_path / "out").exists()


def test_all_problems_of_adapter_and_base_come_in_one_message(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "base", evidence=False)
    write_adapter(tmp_path / "adapter", target_modules=["q_proj", "o_proj", "v_proj"])
    (tmp_path / "base" / "tokenizer.json").unlink()
    add(f"{Q}.bias", WIDTH)(tmp_path)
    weights(lambda t: t.pop(f"{Q}.lora_B.weight"))(tmp_path)
    with pytest.raises(ConversionError) as refusal:
        convert(tmp_path / "adapter", tmp_path / "out", base=tmp_path / "base")
    for words in (
        "tokenizer.json is missing",
        "--task",
        "no place",
        "lack a part",
        "names 3 modules",
        "was trained on",
    ):
        assert sum(words in problem for problem in refusal.value.problems) == 1, words
    assert len(refusal.value.problems) == 6


def test_an_adapter_without_its_base_is_told_how_to_convert_it(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    for refused in (convert, check_checkpoint):
        with pytest.raises(ConversionError, match=r"is a LoRA adapter .*trained on 'someone/base'.*--base CHECKPOINT"):
            refused(adapter)
    # transformers loads such a folder as the adapter too, whatever else lies there.
    write_checkpoint(adapter)
    with pytest.raises(ConversionError, match="If it holds a whole model, remove adapter_config"):
        convert(adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "warned"), [("base", False), ("Base", False), ("something-else", True)])
def test_a_base_of_another_name_that_fits_is_merged_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, warned: bool
) -> None:
    write_checkpoint(tmp_path / name)
    write_adapter(tmp_path / "adapter")
    with caplog.at_level(logging.WARNING, "qsift.convert"):
        assert convert(tmp_path / "adapter", tmp_path / "out", base=tmp_path / name)
    assert ("trained on 'someone/base' and is merged into" in caplog.text) == warned


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_odd_value_in_the_settings_escapes_as_another_error(tmp_path_factory: Any, data: st.DataObject) -> None:
    place = tmp_path_factory.getbasetemp() / "adapter-fuzz"
    if not place.exists():
        write_checkpoint(place / "base")
        write_adapter(place / "adapter", rank_pattern={"x": 3}, alpha_pattern={"y": 1}, modules_to_save=["score"])
    file = place / "adapter" / "adapter_config.json"
    original = json.loads(file.read_text())
    fields = [*original, "use_dora", "layers_to_transform", "layers_pattern", "exclude_modules", "init_lora_weights"]
    odd = [*ODD, "(", {"(": 1}, {"x": []}]
    file.write_text(json.dumps(original | {data.draw(st.sampled_from(fields)): data.draw(st.sampled_from(odd))}))
    try:
        (path,) = convert(place / "adapter", place / "out", base=place / "base", quants="f32", force=True)
        assert gguf_arrays(path)
    except ConversionError as error:
        assert error.problems
    finally:
        file.write_text(json.dumps(original))
