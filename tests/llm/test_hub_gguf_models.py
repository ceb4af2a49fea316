"""The metadata of GGUF files mean what they mean in llama.cpp, or the file is refused by the field and its value."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm.hub.errors import HubError
from llm.hub.gguf_models import ARCHITECTURES, NEVER, read_metadata
from llm.hub.save_gguf import lost, nearest_architecture, save_gguf
from llm.hub.stored import Stored
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.layer_kinds import layer_kind
from llm.model.rope_scaling import RopeScaling

pytest.importorskip("gguf")

FIELDS: dict[str, Any] = {
    "context_length": 64, "embedding_length": 24, "block_count": 6, "feed_forward_length": 32,
    "attention.head_count": 4, "attention.key_length": 8, "attention.value_length": 8,
    "attention.layer_norm_rms_epsilon": 1e-6, "attention.layer_norm_epsilon": 1e-5,
}  # fmt: skip
TENSORS = {"token_embd.weight": Stored.from_array(np.zeros((5, 24), np.float32))}


def read(architecture: str, **fields: Any) -> GPTConfig:
    """The configuration that a file describes; dots in names of fields are written __."""
    own = FIELDS | {name.replace("__", "."): value for name, value in fields.items()}
    metadata = {f"{architecture}.{name}": value for name, value in own.items() if value is not None}
    return read_metadata({"general.architecture": architecture, **metadata}, TENSORS, "FILE")


@pytest.mark.parametrize("name", [*NEVER, "attention.value_length"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_would_change_the_model_is_refused_by_name(architecture: str, name: str) -> None:
    other = not NEVER.get(name) if isinstance(NEVER.get(name), bool) else 3
    with pytest.raises(HubError, match=rf"FILE: {name}={other} is not supported"):
        read(architecture, **{name: other})
    read(architecture, **({name: NEVER[name]} if name in NEVER else {}))


def windows_of(config: GPTConfig) -> list[int | None]:
    return [layer_kind(config, layer).window for layer in range(config.layers)]


@pytest.mark.parametrize(
    ("architecture", "fields", "expected"),
    [
        ("qwen2", {}, [None] * 6),
        ("qwen2", {"attention__sliding_window": 3}, [3] * 6),
        ("gemma2", {}, [4096, None] * 3),
        ("gemma2", {"attention__sliding_window": 0}, [None] * 6),
        ("gemma3", {"attention__sliding_window": 3}, [3] * 5 + [None]),
        ("gemma3", {"attention__sliding_window": 3, "attention__sliding_window_pattern": 2}, [3, None] * 3),
        ("gemma3", {"attention__sliding_window": 3, "attention__sliding_window_pattern": 1}, [None] * 6),
        (
            "gemma3",
            {"attention__sliding_window": 3, "attention__sliding_window_pattern": [True, False] * 3},
            [3, None] * 3,
        ),
        ("olmo2", {"attention__sliding_window": 3}, [3, 3, 3, None, 3, 3]),
    ],
)
def test_layers_have_the_windows_of_llama_cpp(
    architecture: str, fields: dict[str, Any], expected: list[int | None]
) -> None:
    assert windows_of(read(architecture, **fields)) == expected


def test_a_pattern_that_does_not_fit_the_layers_is_refused() -> None:
    with pytest.raises(HubError, match=r"attention.sliding_window_pattern=\[True\] is not supported"):
        read("gemma3", attention__sliding_window=3, attention__sliding_window_pattern=[True])


@pytest.mark.parametrize(("architecture", "local"), [("olmo2", 5e5), ("gemma3", 1e4)])
def test_layers_with_a_window_rotate_without_scaling(architecture: str, local: float) -> None:
    scaling = {"rope__freq_base": 5e5, "rope__scaling__type": "linear", "rope__scaling__factor": 8.0}
    config = read(architecture, attention__sliding_window=3, **scaling)
    kinds = [layer_kind(config, layer) for layer in range(6)]
    expected = [(local, None) if k.window else (5e5, RopeScaling("linear", 8.0)) for k in kinds]
    assert [(k.rope_base, k.rope_scaling) for k in kinds] == expected
    own = read(architecture, attention__sliding_window=3, rope__freq_base_swa=77.0)
    assert layer_kind(own, 0).rope_base == 77.0


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"rope__scaling__factor": 4.0}, RopeScaling("linear", 4.0)),  # a factor without a type is linear
        ({"rope__scale_linear": 4.0}, RopeScaling("linear", 4.0)),
        ({"rope__scaling__factor": 4.0, "rope__scaling__type": "none"}, None),
        ({"rope__scaling__factor": 0.0}, None),
    ],
)
def test_a_factor_of_rope_is_read(fields: dict[str, Any], expected: RopeScaling | None) -> None:
    assert read("llama", **fields).rope_scaling == expected


def test_the_fields_of_yarn_are_read() -> None:
    fields = {"rope__scaling__type": "yarn", "rope__scaling__factor": 4.0, "rope__scaling__attn_factor": 0.5}
    more = {"rope__scaling__yarn_beta_fast": 16.0, "rope__scaling__yarn_beta_slow": 2.0}
    found = read("qwen2", **fields, **more, rope__scaling__original_context_length=16).rope_scaling
    factor = 0.5 * (0.1 * math.log(4) + 1)
    assert found == RopeScaling("yarn", 4.0, 16, beta_fast=16.0, beta_slow=2.0, attention_factor=factor)


def test_gemma_2_has_its_caps_if_the_file_does_not_say_them() -> None:
    config = read("gemma2")
    assert (config.attention_soft_cap, config.soft_cap) == (50.0, 30.0)
    assert read("gemma3", final_logit_softcapping=0.0).soft_cap is None


@pytest.mark.parametrize(("architecture", "layers"), [("gemma2", 46), ("gemma3", 62)])
def test_the_largest_gemmas_have_another_scale_of_scores(architecture: str, layers: int) -> None:
    assert read(architecture, block_count=layers).attention_scale == pytest.approx((24 / 4) ** -0.5)
    assert read(architecture).attention_scale is None


def test_heads_whose_rows_are_interleaved_are_rotated_whole(tmp_path: Path) -> None:
    """llama.cpp has no other Llamas; a Phi-3 can rotate a part of each head."""
    with pytest.raises(HubError, match="rope.dimension_count=4 is not supported"):
        read("llama", rope__dimension_count=4)
    config = GPTConfig(
        11, 8, 1, 2, dim=16, mlp_dim=8, positions="rope", norm="rmsnorm", mlp="swiglu", bias=False, rope_dim=4
    )
    assert nearest_architecture(GPT(config)) == "phi3"
    save_gguf(GPT(config), None, tmp_path / "model.gguf")


def test_heads_of_odd_width_are_no_obstacle(tmp_path: Path) -> None:
    model = GPT(GPTConfig(11, 8, 1, 2, dim=10))
    assert lost(model, "llama") and nearest_architecture(model) == "gpt2"
    save_gguf(model, None, tmp_path / "model.gguf")
