"""What tests of split models share: drawn configurations that can be split, and one process to compare with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minigrad
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.shards import shard
from minigrad.backend import Array
from tests.llm.gpts import VOCAB, configs, token_ids

# float64: sums in another order. Relative to the largest element of each gradient, because elements that are the
# difference of large terms have the rounding errors of these.
EXACT = 1e-12


@st.composite
def splits(draw: st.DrawFn, **fixed: Any) -> tuple[GPTConfig, int]:
    """A configuration, and a number of ranks over which it can be split."""
    config, size = draw(configs(**fixed)), draw(st.sampled_from([2, 3, 4]))
    heads = size * draw(st.sampled_from([1, 1, 2]))
    divisors = [K for K in range(1, heads + 1) if heads % K == 0 and (K % size == 0 or size % K == 0)]
    width = draw(st.integers(size, 2 * size))  # need not be a multiple
    dense = None if config.dense_mlp_dim is None else size
    config = replace(
        config, heads=heads, kv_heads=draw(st.sampled_from(divisors)), dim=heads * 4, mlp_dim=width, dense_mlp_dim=dense
    )
    return replace(config, dropout=fixed.get("dropout", draw(st.sampled_from([0.0, 0.3])))), size


def trained_weights(config: GPTConfig, seed: int) -> dict[str, np.ndarray]:
    """Random values in all parameters of the whole model, also in those that are 0 or 1 at first."""
    rng = np.random.default_rng(seed)
    model = GPT(config, rng=seed, dtype=np.float64)
    return {name: p.data + rng.normal(0, 0.3, p.shape) for name, p in model.named_parameters()}


def batch(seed: int, rows: int, T: int) -> dict[str, Array]:
    """Ids and targets, of which some do not count."""
    rng = np.random.default_rng(seed)
    targets = token_ids(rng, rows, T)
    targets[rng.random((rows, T)) < 0.3] = -100
    return {"ids": token_ids(rng, rows, T), "targets": targets}


def loss_and_gradients(model: GPT, **arguments: Any) -> tuple[float, dict[str, np.ndarray]]:
    minigrad.seed(3, step=4)
    loss = model.loss(**arguments)
    loss.backward()
    return loss.item(), {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}


def assert_part(config: GPTConfig, name: str, part: np.ndarray, whole: np.ndarray, rank: int, size: int) -> None:
    held = shard(config, name, whole.shape, rank, size)
    assert held is not None, name
    np.testing.assert_allclose(part, held.part(whole), rtol=0, atol=EXACT * max(1, abs(whole).max()), err_msg=name)


__all__ = ["EXACT", "VOCAB", "assert_part", "batch", "loss_and_gradients", "splits", "trained_weights"]
