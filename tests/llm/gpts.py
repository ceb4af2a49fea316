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


@st.composite
def configs(draw: st.DrawFn, **fixed: Any) -> GPTConfig:
    """Any combination of choices; `fixed` fields are not drawn. No dropout unless it is fixed."""
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
    """A model in evaluation mode whose parameters are all away from their initial values."""
    model, rng = GPT(config, rng=seed, dtype=dtype), np.random.default_rng(seed)
    for p in model.parameters():
        p.data += rng.normal(0, 0.3, p.shape).astype(p.dtype)
    model.eval()
    return model


def token_ids(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, VOCAB, shape)
