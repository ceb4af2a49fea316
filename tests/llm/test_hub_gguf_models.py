"""The metadata of GGUF files mean what they mean in llama.cpp, or the file is refused by the field and its value."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm.hub.errors import HubError
from llm.hub.gguf_models import ARCHITECTURES, NEVER, gguf_config, gguf_tensors
from llm.hub.gguf_writing import write_gguf
from llm.hub.load import load
from llm.hub.save_gguf import lost, metadata_of, nearest_architecture, save_gguf
from llm.hub.stored import Stored
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.layer_kinds import layer_kind
from llm.model.rope_scaling import RopeScaling
from minigrad import no_grad
from tests.llm.gpts import VOCAB, random_gpt, token_ids

pytest.importorskip("gguf")


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


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
    return gguf_config({"general.architecture": architecture, **metadata}, TENSORS, "FILE")


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


@pytest.mark.parametrize("architecture", ["llama", "qwen3moe"])
@pytest.mark.parametrize(("kind", "tolerance"), [("F32", 0.0), ("F16", 0.02), ("Q8_0", 0.3)])
def test_the_experts_of_a_layer_are_in_one_tensor(
    architecture: str, kind: str, tolerance: float, tmp_path: Path
) -> None:
    config = GPTConfig(
        VOCAB, 32, 2, 4, kv_heads=2, dim=32, mlp_dim=64, positions="rope", norm="rmsnorm", mlp="swiglu", bias=False,
        tied_head=False, experts=3, qk_norm=architecture == "qwen3moe",
    )  # fmt: skip
    model, path = random_gpt(config, 0, np.float32), tmp_path / "model.gguf"
    tensors = tensors_with_experts(model, architecture)
    sizes = {"expert_count": 3, "expert_used_count": 2, "expert_feed_forward_length": 64}
    metadata = metadata_of(config, architecture) | {f"{architecture}.{name}": size for name, size in sizes.items()}
    kinds = {name: kind for name, array in tensors.items() if array.ndim > 1}
    write_gguf(path, {"general.architecture": architecture, **metadata}, tensors, kinds)
    ids = token_ids(np.random.default_rng(0), 2, 20)
    with no_grad():
        expected, widened, stored = (m(ids).data for m in (model, load(path)[0], load(path, weights="stored")[0]))
    assert relative_error(widened, expected) <= tolerance
    assert relative_error(stored, widened) < 1e-5


def tensors_with_experts(model: GPT, architecture: str) -> dict[str, np.ndarray]:
    """The tensors of a file as the converter of llama.cpp makes it: the matrices of all experts stacked."""
    parts = gguf_tensors(model.config, architecture)
    tensors: dict[str, np.ndarray] = {}
    matrices: dict[str, dict[int, np.ndarray]] = {}
    for name, parameter in model.named_parameters():
        if ".experts." not in name:
            tensors |= parts[name].split(parameter.data)
            continue
        some: Any = getattr(parts[name], "parts", [parts[name]])
        for part, rows in zip(some, np.split(parameter.data, len(some))):
            matrices.setdefault(part.name, {})[part.number] = rows
    return tensors | {name: np.stack([found[e] for e in sorted(found)]) for name, found in matrices.items()}
