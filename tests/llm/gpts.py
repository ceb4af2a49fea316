"""Small GPTs for tests: drawn configurations, and weights large enough that mistakes show in the logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
from hypothesis import strategies as st

from llm.model.config import Activation, GPTConfig, Norm, NormPosition, Positions
from llm.model.gpt import GPT
from llm.model.rope_scaling import RopeScaling

VOCAB = 13
CONTEXT = 24
SEEDS = st.integers(0, 2**32 - 1)
# Logits and gradients in float64 that differ only by the order of sums: a few units of 1e-16, times the sizes of
# activations, which are at most some hundreds in these models.
FLOAT64_SUMS: dict[str, float] = {"rtol": 1e-10, "atol": 1e-10}


@st.composite
def configs(draw: st.DrawFn, **fixed: Any) -> GPTConfig:
    """Any combination of choices. `fixed` fields are not drawn; there is no dropout unless it is fixed."""
    kv_heads, group = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    heads, layers = kv_heads * group, draw(st.integers(1, 2))
    # fmt: off
    drawn: dict[str, Any] = {
        "vocab_size": VOCAB, "context": CONTEXT, "layers": layers,
        "heads": heads, "kv_heads": kv_heads, "dim": heads * 2 * draw(st.integers(2, 3)),
        "head_dim": draw(st.sampled_from([None, 2, 6])), "mlp_dim": draw(st.sampled_from([None, 5])),
        "positions": draw(st.sampled_from(get_args(Positions))), "rope_interleaved": draw(st.booleans()),
        "norm": draw(st.sampled_from(get_args(Norm))), "norm_position": draw(st.sampled_from(get_args(NormPosition))),
        "mlp": draw(st.sampled_from(get_args(Activation))), "bias": draw(st.booleans()), "qk_norm": draw(st.booleans()),
        "window": draw(st.sampled_from([None, 1, 3])), "tied_head": draw(st.booleans()),
        "soft_cap": draw(st.sampled_from([None, 5.0])),
    }
    # fmt: on
    if draw(st.booleans()):  # half of the models make only the choices above
        drawn |= draw(further_choices(layers))
    return possible(drawn | fixed)


@st.composite
def further_choices(draw: st.DrawFn, layers: int) -> dict[str, Any]:
    """Values for some of the fields that single families of models have."""
    some_layers = st.one_of(st.none(), st.sets(st.integers(0, layers - 1)).map(tuple))
    values: dict[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(("qkv_bias", "out_bias", "mlp_bias", "norm_bias"), st.sampled_from([None, True, False])),
        **dict.fromkeys(("head_bias", "parallel", "shared_norm", "embedding_norm", "qk_norm_all"), st.booleans()),
        "embedding_scale": st.sampled_from([1.0, 2.5]),
        "attention_scale": st.sampled_from([None, 0.3]),
        "attention_scale_by_layer": st.booleans(),
        "attention_soft_cap": st.sampled_from([None, 2.0]),
        "rope_dim": st.sampled_from([None, 2]),
        "rope_scaling": st.one_of(st.none(), st.sampled_from(SCALINGS)),
        "rope_layers": some_layers,
        "window_layers": some_layers,
        "window_rope_base": st.sampled_from([None, 100.0]),
    }
    names = draw(st.sets(st.sampled_from(sorted(values))))
    drawn = {name: draw(values[name]) for name in sorted(names)}
    return drawn | draw(mixtures(layers)) if draw(st.booleans()) else drawn


@st.composite
def mixtures(draw: st.DrawFn, layers: int) -> dict[str, Any]:
    """Values for the fields of a mixture of experts."""
    experts = draw(st.integers(1, 4))
    return {
        "experts": experts,
        "experts_per_token": draw(st.integers(1, experts)),
        "normalize_experts": draw(st.booleans()),
        "balance_loss": draw(st.sampled_from([0.0, 0.5])),
        "balance_by_layer": draw(st.booleans()),
        "dense_layers": tuple(draw(st.sets(st.integers(0, layers - 1)))),
        "dense_mlp_dim": draw(st.sampled_from([None, 3])),
    }


# Of the two kinds whose angles depend on the length of the text, only within the original context: beyond it, one text
# changes the angles of the others in its batch, as in transformers.
SCALINGS = [
    RopeScaling("linear", factor=2.0),
    RopeScaling("llama3", factor=4.0, original_context=8),
    RopeScaling("yarn", factor=4.0, original_context=8, attention_factor=1.1),
    RopeScaling("dynamic", factor=2.0, original_context=1000),
]


def possible(drawn: dict[str, Any]) -> GPTConfig:
    """The configuration, without the choices that do not go together with others."""
    if drawn["norm_position"] != "pre":
        drawn |= {"parallel": False}
    if not drawn.get("parallel"):
        drawn |= {"shared_norm": False}
    if drawn["tied_head"]:
        drawn |= {"head_bias": False}
    dynamic = (scaling := drawn.get("rope_scaling")) is not None and scaling.kind == "dynamic"
    if dynamic and 2 in (drawn.get("rope_dim"), drawn["head_dim"]):  # this kind needs two pairs
        drawn |= {"rope_scaling": None}
    return GPTConfig(**drawn)


def without_jumps(config: GPTConfig) -> GPTConfig:
    """The configuration with every token computed by all experts.

    Which experts are the best is decided by comparison: where two are nearly equal, a tiny change of the input changes
    the output by much. In float64, the drawn weights are never so near. In float32, or between the two inputs of a
    finite difference, they can be.
    """
    return config if config.experts is None else replace(config, experts_per_token=config.experts)


def random_gpt(config: GPTConfig, seed: int, dtype: Any = np.float64) -> GPT:
    """A model in evaluation mode with random values in all parameters, also in those that are 0 or 1 at first."""
    model, rng = GPT(config, rng=seed, dtype=dtype), np.random.default_rng(seed)
    for p in model.parameters():
        p.data += rng.normal(0, 0.3, p.shape).astype(p.dtype)
    model.eval()
    return model


def token_ids(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, VOCAB, shape)
