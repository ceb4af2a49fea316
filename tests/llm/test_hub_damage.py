"""Nothing is ever half-loaded: a folder with any fault is loaded as it was meant, or refused with a sentence that says
what is wrong.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from llm.hub import load, save
from llm.hub.errors import HubError
from llm.hub.families import FAMILIES
from llm.hub.fields import Fields
from llm.hub.save import config_json, their_tensors
from llm.hub.source import ALWAYS, STATE_SPACE
from llm.model.config import GPTConfig
from llm.model.gpt import GPT

LLAMA: dict[str, Any] = {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False}
GEMMA: dict[str, Any] = {**LLAMA, "mlp": "geglu_tanh", "embedding_scale": 4.0}
# What each family asks for, beside the sizes.
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "apertus": {**LLAMA, "mlp": "relu_squared", "qk_norm": True},
    "olmo2": {**LLAMA, "norm_position": "output", "qk_norm": True, "qk_norm_all": True},
    "gemma": GEMMA,
    "gemma2": {**GEMMA, "norm_position": "both"},
    "gemma3_text": {**GEMMA, "norm_position": "both", "qk_norm": True, "window": 4, "window_rope_base": 1e4},
    "qwen2": {**LLAMA, "qkv_bias": True, "out_bias": False},
    "qwen3": {**LLAMA, "qk_norm": True},
    "starcoder2": {"positions": "rope"},
    "gpt_neox": {"positions": "rope", "parallel": True, "mlp": "gelu", "tied_head": False},
    "gptj": {"positions": "rope", "parallel": True, "tied_head": False},
    "phi": {"positions": "rope", "parallel": True, "tied_head": False},
    "mixtral": {**LLAMA, "experts": 3, "tied_head": False},
    "qwen3_moe": {**LLAMA, "experts": 3, "qk_norm": True, "tied_head": False},
}
SIZES: dict[str, Any] = {"vocab_size": 11, "context": 12, "layers": 2, "heads": 2, "dim": 16, "mlp_dim": 8}


def write_model(folder: Path, family: str) -> dict[str, Any]:
    """A small model of the family. Returns the content of its config.json."""
    table = FAMILIES[family]
    data = config_json(GPTConfig(**SIZES, **SHAPES.get(family, LLAMA)), table, "float32")
    config = table.read(Fields(data, table.defaults))  # what is nearest to that, in this family
    save_file(their_tensors(GPT(config, rng=0), table.tensors(config)), folder / "model.safetensors", {"format": "pt"})
    return data


def write_config(folder: Path, data: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(data))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder of a small model, and its fields with all defaults of the family filled in."""
    with tempfile.TemporaryDirectory() as folder:
        data = write_model(Path(folder), family)
        write_config(Path(folder), data)
        yield Path(folder), data


def refusal(folder: Path) -> str:
    """The sentence with which the folder is refused; "" if it is loaded. Other exceptions fail the test."""
    try:
        load(folder)
    except HubError as error:
        text = str(error)
        assert "\n" not in text and not text.endswith(".") and len(text) < 900, text
        assert str(folder) in text, text
        return text
    return ""


def test_each_family_is_loaded(model: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = model
    assert refusal(folder) == ""


NUMBERS = [0, 1, 2, 3, 7, 16, -1, 10**5, 2**31, 10**12, 2**63, 10**400, 0.0, 0.5, -2.5, 1e308, 1e-300]
VALUES = st.one_of(
    st.sampled_from([None, True, False, "", "gelu", "silu", "default", "é\n" * 300, [], [0], [0, 1], [None, "a"], {}]),
    st.sampled_from(NUMBERS),
    st.dictionaries(
        st.sampled_from(["rope_type", "type", "rope_theta", "factor", "full_attention", "sliding_attention"]),
        st.sampled_from([None, "yarn", "llama3", "longrope", "linear", 2.0, -1, [1.0], {"rope_type": "yarn"}]),
    ),
    st.integers(),
    st.text(max_size=5),
)


@settings(max_examples=3 * settings().max_examples)
@given(st.data())
def test_any_value_of_any_field_gives_a_model_or_a_sentence(
    model: tuple[Path, dict[str, Any]], family: str, data: st.DataObject
) -> None:
    folder, fields = model
    names = sorted({*fields, *FAMILIES[family].defaults, *ALWAYS} - {"model_type"})
    changed = dict(fields)
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2)):
        changed[name] = data.draw(VALUES)
    write_config(folder, changed)
    refusal(folder)


# --- config.json ------------------------------------------------------------------------------------------------------


def set_fields(folder: Path, fields: dict[str, Any], **changed: Any) -> str:
    """The sentence with which the folder is refused after a change."""
    write_config(folder, fields | changed)
    try:
        return refusal(folder)
    finally:
        write_config(folder, fields)


def test_a_family_that_is_not_known_lists_those_that_are(model: tuple[Path, dict[str, Any]]) -> None:
    text = set_fields(*model, model_type="no_such_family")
    assert "'no_such_family'" in text
    assert re.findall(r"[a-z0-9_]+", text.partition("known are ")[2]) == list(FAMILIES)


@pytest.mark.parametrize("name", STATE_SPACE)
def test_state_space_models_are_refused_by_name(model: tuple[Path, dict[str, Any]], name: str) -> None:
    text = set_fields(*model, model_type=name)
    assert "is a state-space model" in text and name in text


# Fields that mean another model, whatever the family, or in one of them.
OTHERS = [(None, "is_encoder_decoder", True), (None, "quantization_config", {"bits": 4}),
          ("gpt2", "add_cross_attention", True), ("mixtral", "router_jitter_noise", 0.1),
          ("gemma2", "use_bidirectional_attention", True)]  # fmt: skip


@pytest.mark.parametrize(("only", "name", "value"), OTHERS)
def test_what_would_change_the_result_is_refused_by_name_and_value(
    model: tuple[Path, dict[str, Any]], family: str, only: str | None, name: str, value: Any
) -> None:
    if only in (None, family):
        assert f"config.json: {name}={value!r} is not supported" in set_fields(*model, **{name: value})


@pytest.mark.parametrize("name", ["hidden_act", "hidden_activation", "activation_function"])
def test_activations_that_are_not_known_list_those_that_are(model: tuple[Path, dict[str, Any]], name: str) -> None:
    if name in model[1]:
        text = set_fields(*model, **{name: "swoosh"})
        assert f"{name}='swoosh' is not supported" in text and " or " in text


def test_an_unknown_kind_of_rope_is_refused_by_name(model: tuple[Path, dict[str, Any]], family: str) -> None:
    fields = model[1]
    if "rope_scaling" in fields and family != "smollm3":
        text = set_fields(*model, rope_scaling={"rope_type": "spiral", "factor": 2.0})
        assert "rope_type='spiral' is not supported" in text


@settings(max_examples=3 * settings().max_examples)
@given(st.data())
def test_a_damaged_config_gives_a_model_or_a_sentence(model: tuple[Path, dict[str, Any]], data: st.DataObject) -> None:
    folder, fields = model
    good = json.dumps(fields, indent=2).encode()
    damaged = bytearray(good[: data.draw(st.one_of(st.just(len(good)), st.integers(0, len(good))))])
    for place in data.draw(st.lists(st.integers(0, max(len(damaged) - 1, 0)), max_size=4)) if damaged else []:
        damaged[place] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(b'0123456789{}[],:"')))
    try:
        (folder / "config.json").write_bytes(damaged)
        refusal(folder)
    finally:
        write_config(folder, fields)


# --- tensors ----------------------------------------------------------------------------------------------------------


def with_tensors(folder: Path, fields: dict[str, Any], change: Any) -> str:
    """The sentence with which the folder is refused after a change of its tensors."""
    good = load_file(folder / "model.safetensors")
    changed = dict(good)
    change(changed)
    write_config(folder, fields)
    save_file({name: np.ascontiguousarray(array) for name, array in changed.items()}, folder / "model.safetensors")
    try:
        return refusal(folder)
    finally:
        save_file(good, folder / "model.safetensors")


@given(st.data())
def test_a_missing_tensor_is_named(model: tuple[Path, dict[str, Any]], data: st.DataObject) -> None:
    names = sorted(load_file(model[0] / "model.safetensors"))
    gone = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    text = with_tensors(*model, lambda tensors: [tensors.pop(name) for name in gone])
    assert "lacks the tensor" in text and all(name in text for name in gone)


def test_a_surplus_tensor_is_named(model: tuple[Path, dict[str, Any]]) -> None:
    prefix = sorted(load_file(model[0] / "model.safetensors"))[0].partition(".")[0]
    name = f"{prefix}.layers.0.self_attn.sinks"
    text = with_tensors(*model, lambda tensors: tensors.update({name: np.zeros(3, np.float32)}))
    assert f"holds the tensor {name}" in text


@given(st.data())
def test_a_misshapen_tensor_is_named_with_its_shape(model: tuple[Path, dict[str, Any]], data: st.DataObject) -> None:
    tensors = load_file(model[0] / "model.safetensors")
    name = data.draw(st.sampled_from(sorted(tensors)))
    axis = data.draw(st.integers(0, tensors[name].ndim - 1))
    longer = np.concatenate([tensors[name]] * 2, axis=axis)
    other = data.draw(st.sampled_from([longer, tensors[name][None], tensors[name].reshape(-1)]))
    if other.shape != tensors[name].shape:
        text = with_tensors(*model, lambda changed: changed.update({name: other}))
        if name == "model.decoder.embed_positions.weight":  # OPT: without the rows that no text reads
            assert f"the tensor {name} has the shape (" in text
        else:
            assert f"the tensor {name} has the shape {other.shape}, but the configuration asks for " in text


# --- the head ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same", [True, False])
def test_a_head_in_the_file_of_a_tied_model_is_used_if_it_is_another(same: bool, tmp_path: Path) -> None:
    config = GPTConfig(**SIZES, **LLAMA, tied_head=True)
    model = GPT(config, rng=0)
    save(model, None, tmp_path / "model")
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    embedding = tensors["model.embed_tokens.weight"]
    tensors["lm_head.weight"] = embedding.copy() if same else embedding + 1
    save_file(tensors, tmp_path / "model" / "model.safetensors")
    loaded, _ = load(tmp_path / "model")
    assert loaded.config.tied_head == same
    if not same:
        np.testing.assert_array_equal(loaded.head.weight.data, embedding + 1)


# --- what no family can say -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 0.3, 1e30])
def test_a_model_that_no_family_has_is_refused_with_the_nearest_family(scale: float, tmp_path: Path) -> None:
    config = GPTConfig(**SIZES, positions="none", attention_scale=scale)
    with pytest.raises(HubError, match="no family of transformers has such a model; the nearest, "):
        save(GPT(config, rng=0), None, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
