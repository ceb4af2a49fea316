"""The residual stream: a block adds to it, and what is already there passes through unchanged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.model.block import Block
from llm.model.config import GPTConfig
from llm.model.masks import LayerSettings
from minigrad import Tensor
from tests.llm.gpts import SEEDS, random_gpt

T, STREAM = 3, (1, 3, 4)
NORMS = st.sampled_from(["layernorm", "rmsnorm"])


def silent_block(norm: Any, seed: int, norm_position: Any = "pre") -> Block:
    """A block with drawn weights whose two sublayers give 0."""
    config = GPTConfig(vocab_size=2, context=T, layers=1, heads=2, dim=4, norm=norm, norm_position=norm_position)
    block = random_gpt(config, seed).blocks[0]
    for p in (*block.attention.out.parameters(), *block.mlp.down.parameters()):
        p.data[...] = 0
    return block


def gradient_through(block: Block, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The gradient of the input x, if that of the output is g."""
    stream = Tensor(x, requires_grad=True)
    block(stream, LayerSettings()).backward(g)
    assert stream.grad is not None
    return stream.grad.data


@given(NORMS, SEEDS)
def test_a_block_that_adds_0_passes_x_on(norm: str, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal(STREAM)
    np.testing.assert_array_equal(silent_block(norm, seed)(Tensor(x), LayerSettings()).data, x)


@given(NORMS, SEEDS)
def test_a_block_that_adds_0_passes_the_gradient_on(norm: str, seed: int) -> None:
    x, g = np.random.default_rng(seed).standard_normal((2, *STREAM))
    np.testing.assert_array_equal(gradient_through(silent_block(norm, seed), x, g), g)


@pytest.mark.control
@given(NORMS, SEEDS)
def test_a_block_that_normalises_the_stream_changes_both(norm: str, seed: int) -> None:
    x, g = np.random.default_rng(seed).standard_normal((2, *STREAM))
    block = silent_block(norm, seed, norm_position="post")
    assert not np.allclose(block(Tensor(x), LayerSettings()).data, x)
    assert not np.allclose(gradient_through(block, x, g), g)
