"""Small Transformers for tests: drawn configurations, drawn weights, and batches of pairs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.transformer import IGNORED, Transformer
from tests.llm.gpts import VOCAB

WORDS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}


@st.composite
def configs(draw: st.DrawFn, **fixed: Any) -> GPTConfig:
    """Any combination of the choices that an encoder and a decoder have."""
    heads = draw(st.integers(1, 3))
    drawn: dict[str, Any] = {
        "vocab_size": VOCAB, "context": 16, "layers": draw(st.integers(1, 2)), "heads": heads,
        "dim": heads * draw(st.integers(4, 6)), "head_dim": draw(st.sampled_from([None, 3])), "mlp_dim": 5,
        "norm": draw(st.sampled_from(["layernorm", "rmsnorm"])), "mlp": draw(st.sampled_from(["relu", "gelu"])),
        "bias": draw(st.booleans()), "positions": "sinusoidal", "norm_position": "post",
    }  # fmt: skip
    return GPTConfig(**drawn | fixed)


def random_transformer(config: GPTConfig, seed: int, dtype: Any = np.float64) -> Transformer:
    """A model in evaluation mode with random values in all parameters, also in those that are 0 or 1 at first."""
    model, rng = Transformer(config, seed, dtype), np.random.default_rng(seed)
    for p in model.parameters():
        p.data += rng.normal(0, 0.3, p.shape).astype(p.dtype)
    model.eval()
    return model


def random_pairs(rng: np.random.Generator, rows: int, vocab: int = VOCAB) -> tuple[np.ndarray, ...]:
    """Sources, the mask of their real tokens, targets, and what follows each of their tokens."""
    S, T = rng.integers(1, 7, 2)
    mask = np.arange(S) < rng.integers(1, S + 1, (rows, 1))
    following = np.where(np.arange(T) < rng.integers(1, T + 1, (rows, 1)), rng.integers(0, vocab, (rows, T)), IGNORED)
    return rng.integers(0, vocab, (rows, S)), mask, rng.integers(0, vocab, (rows, T)), following


def is_noticed(check: Any, config: GPTConfig, *more: Any) -> bool:
    """Whether a property (config, seed, *more) fails for one of some seeds. Without hypothesis, which would shrink."""
    for seed in range(20):
        with suppress(AssertionError):
            check.hypothesis.inner_test(config, seed, *more)
            continue
        return True
    return False
