"""Nothing is ever half-loaded: whatever is wrong with a folder, it is loaded as it was meant, or refused with a
sentence that says what is wrong.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from llm.hub import load
from llm.hub.errors import HubError
from llm.hub.families import FAMILIES
from llm.hub.fields import Fields
from llm.hub.save import describe, their_tensors
from llm.hub.source import NEVER
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
    "mixtral": {**LLAMA, "experts": 3, "tied_head": False},
    "qwen3_moe": {**LLAMA, "experts": 3, "qk_norm": True, "tied_head": False},
}
SIZES: dict[str, Any] = {"vocab_size": 11, "context": 12, "layers": 2, "heads": 2, "dim": 16, "mlp_dim": 8}


def write_model(folder: Path, family: str) -> dict[str, Any]:
    """A small model of the family. Returns the content of its config.json."""
    table = FAMILIES[family]
    data = describe(GPTConfig(**SIZES, **SHAPES.get(family, LLAMA)), table, "float32")
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
    names = sorted({*fields, *FAMILIES[family].defaults, *NEVER} - {"model_type"})
    changed = dict(fields)
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2)):
        changed[name] = data.draw(VALUES)
    write_config(folder, changed)
    refusal(folder)
