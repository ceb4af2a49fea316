"""One layer with LoRA: all ways to compute it give the same, whatever rank and alpha are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm.model.adapters.attach import Switch
from llm.model.adapters.lora import Update, add_updates, scale_of
from llm.model.adapters.merge import merge_layer
from minigrad import Tensor
from minigrad.fused.dropout import dropout
from minigrad.nn import Linear
from minigrad.random import stream_state

SEEDS, SIZES = st.integers(0, 2**32 - 1), st.integers(1, 4)
IN, OUT = 3, 2


def adapted(
    seed: int, rank: int, alpha: int, *, dora: bool = False, dropout_rate: float = 0.0
) -> tuple[Linear, np.ndarray]:
    """A layer with drawn factors A and B for all of its rows, and the rows x (2, IN) that it reads."""
    rng = np.random.default_rng(seed)
    layer = Linear(IN, OUT, rng=rng, dtype=np.float64)
    factors = rng.standard_normal((rank, IN)), rng.standard_normal((OUT, rank))
    lengths = rng.uniform(1, 2, OUT) if dora else None
    update = Update("layer", slice(0, OUT), scale_of(rank, alpha, rslora=False), factors, np.float64, lengths)
    add_updates(layer, [update], dropout_rate, Switch())
    return layer, rng.standard_normal((2, IN))


@given(SEEDS, SIZES, SIZES)
def test_a_merged_layer_gives_what_the_adapted_one_gave(seed: int, rank: int, alpha: int) -> None:
    layer, x = adapted(seed, rank, alpha)
    before = layer(Tensor(x)).data
    merge_layer(layer)
    assert type(layer) is Linear
    np.testing.assert_allclose(layer(Tensor(x)).data, before, rtol=1e-10, atol=1e-12)  # sums of a few terms, float64


@given(SEEDS, SIZES, SIZES)
def test_a_single_token_is_adapted_as_in_training(seed: int, rank: int, alpha: int) -> None:
    layer, x = adapted(seed, rank, alpha)
    np.testing.assert_allclose(layer.forward_array(x), layer(Tensor(x)).data, rtol=1e-10, atol=1e-12)


@given(SEEDS, SIZES, SIZES, st.booleans())
def test_dropout_is_for_what_an_update_adds_to_the_weight(seed: int, rank: int, alpha: int, dora: bool) -> None:
    layer, x = adapted(seed, rank, alpha, dora=dora, dropout_rate=0.5)
    merged = adapted(seed, rank, alpha, dora=dora)[0]
    merge_layer(merged)
    key = stream_state()
    y = layer.train()(Tensor(x)).data
    weight = layer.weight.data
    expected = x @ weight.T + dropout(x, 0.5, key).data @ (merged.weight.data - weight).T + merged.bias.data
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)  # sums of a few terms, float64
