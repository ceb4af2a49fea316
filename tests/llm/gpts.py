"""Small GPTs for tests: drawn configurations, and weights large enough that mistakes show in the logits."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from hypothesis import strategies as st

from llm.model.config import Activation, GPTConfig, Norm, NormPosition, Positions
from llm.model.gpt import GPT

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
    heads = kv_heads * group
    # fmt: off
    drawn: dict[str, Any] = {
        "vocab_size": VOCAB, "context": CONTEXT, "layers": draw(st.integers(1, 2)),
        "heads": heads, "kv_heads": kv_heads, "dim": heads * 2 * draw(st.integers(2, 3)),
        "head_dim": draw(st.sampled_from([None, 2, 6])), "mlp_dim": draw(st.sampled_from([None, 5])),
        "positions": draw(st.sampled_from(get_args(Positions))), "rope_interleaved": draw(st.booleans()),
        "norm": draw(st.sampled_from(get_args(Norm))), "norm_position": draw(st.sampled_from(get_args(NormPosition))),
        "mlp": draw(st.sampled_from(get_args(Activation))), "bias": draw(st.booleans()), "qk_norm": draw(st.booleans()),
        "window": draw(st.sampled_from([None, 1, 3])), "tied_head": draw(st.booleans()),
        "soft_cap": draw(st.sampled_from([None, 5.0])),
    }
    # fmt: on
    return GPTConfig(**drawn | fixed)


def random_gpt(config: GPTConfig, seed: int, dtype: Any = np.float64) -> GPT:
    """A model in evaluation mode with random values in all parameters, also in those that are 0 or 1 at first."""
    model, rng = GPT(config, rng=seed, dtype=dtype), np.random.default_rng(seed)
    for p in model.parameters():
        p.data += rng.normal(0, 0.3, p.shape).astype(p.dtype)
    model.eval()
    return model


def token_ids(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, VOCAB, shape)
