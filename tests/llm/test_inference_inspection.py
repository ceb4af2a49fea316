"""What is shown of the inside of a model is what it computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.inference.inspection import attention_weights, logit_lens, logit_lens_from, residual_stream
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.layer_kinds import layer_kind
from minigrad import no_grad
from tests.llm.gpts import CONTEXT, FLOAT64_SUMS, SEEDS, configs, random_gpt, token_ids

LENGTHS = st.integers(1, CONTEXT)


def model_and_ids(config: GPTConfig, seed: int, length: int) -> tuple[GPT, np.ndarray]:
    return random_gpt(config, seed), token_ids(np.random.default_rng(seed), length)


@given(configs(), SEEDS, LENGTHS)
def test_the_last_layer_says_exactly_what_the_model_says(config: GPTConfig, seed: int, length: int) -> None:
    model, ids = model_and_ids(config, seed, length)
    with no_grad():
        hidden = model.hidden(ids[None])  # (1, T, C)
        expected = model.logits(hidden[:, -1]).data[0]  # (V,)
    lens = logit_lens(model, ids)
    assert lens.shape == (config.layers + 1, config.vocab_size)
    np.testing.assert_array_equal(lens[-1], expected)


@given(configs(), SEEDS, LENGTHS, st.data())
def test_the_lens_of_many_tokens_is_that_of_each(
    config: GPTConfig, seed: int, length: int, data: st.DataObject
) -> None:
    model, ids = model_and_ids(config, seed, length)
    first = data.draw(st.integers(0, length - 1))
    rows = list(logit_lens_from(model, ids, first))
    assert len(rows) == config.layers + 1 and rows[0].shape == (length - first, config.vocab_size)
    for position in range(first, length):
        lens = [row[position - first] for row in rows]
        np.testing.assert_allclose(lens, logit_lens(model, ids, position), **FLOAT64_SUMS)


@given(configs(layers=2), SEEDS, LENGTHS)
def test_the_residual_stream_is_what_each_block_reads_and_writes(config: GPTConfig, seed: int, length: int) -> None:
    model, ids = model_and_ids(config, seed, length)
    stream = residual_stream(model, ids)
    assert [x.shape for x in stream] == [(length, config.dim)] * (config.layers + 1)
    end = stream[-1] if config.norm_position == "post" else model.norm(stream[-1]).data
    with no_grad():
        np.testing.assert_allclose(end, model.hidden(ids[None]).data[0], **FLOAT64_SUMS)
    # A model without the last layer ends where the stream of this one was before that layer.
    del model.blocks.__dict__["1"]
    shorter = residual_stream(model, ids)
    assert len(shorter) == 2
    np.testing.assert_allclose(shorter, stream[:2], **FLOAT64_SUMS)


@given(configs(), SEEDS, LENGTHS)
def test_attention_weights_are_those_of_the_definition(config: GPTConfig, seed: int, length: int) -> None:
    model, ids = model_and_ids(config, seed, length)
    stream = residual_stream(model, ids)
    for layer in range(config.layers):
        weights = attention_weights(model, ids, layer)
        np.testing.assert_allclose(weights, defined_weights(model, stream[layer], layer), **FLOAT64_SUMS)


def defined_weights(model: GPT, x: np.ndarray, layer: int) -> np.ndarray:
    """The weights (H, T, T) by formulas, from the residual stream (T, C) before the layer."""
    config, attention = model.config, model.blocks[layer].attention
    T, H, K, D = len(x), config.heads, config.key_heads, config.head_size
    with no_grad():
        before = config.norm_position in ("pre", "both")
        normed = model.blocks[layer].norm1(x).data if before else x
        qkv = attention.qkv(normed).data  # (T, (H + 2 K) D)
        q, k = qkv[:, : H * D], qkv[:, H * D : (H + K) * D]
        if config.qk_norm and config.qk_norm_all:
            q, k = attention.query_norm(q).data, attention.key_norm(k).data
        q, k = q.reshape(T, H, D), k.reshape(T, K, D)
        if config.qk_norm and not config.qk_norm_all:
            q, k = attention.query_norm(q).data, attention.key_norm(k).data
    kind = layer_kind(config, layer)
    table = model._rotary_tables[kind]
    if table is not None:
        cos, sin = table(slice(0, T), x)  # (T, n) each
        q, k = rotated(q, cos, sin, config.rope_interleaved), rotated(k, cos, sin, config.rope_interleaved)
    k = np.repeat(k, H // K, axis=1)  # (T, H, D)
    scores = np.einsum("thd,shd->hts", q, k) * attention.scale  # (H, T, T)
    if config.attention_soft_cap is not None:
        scores = config.attention_soft_cap * np.tanh(scores / config.attention_soft_cap)
    distance = np.arange(T)[:, None] - np.arange(T)  # (T, T): of the query t and the key s
    if config.positions == "alibi":
        scores -= slopes(H)[:, None, None] * distance
    visible = (distance >= 0) & (distance < (kind.window or T))
    weights = np.exp(np.where(visible, scores, -np.inf) - np.max(np.where(visible, scores, -np.inf), -1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def rotated(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, interleaved: bool) -> np.ndarray:
    """The first 2 n elements of x (T, H, D) as n points of the plane, each turned."""
    n, y = cos.shape[1], x.copy()
    first, second = (slice(0, 2 * n, 2), slice(1, 2 * n, 2)) if interleaved else (slice(0, n), slice(n, 2 * n))
    a, b, cos, sin = x[..., first], x[..., second], cos[:, None], sin[:, None]
    y[..., first], y[..., second] = a * cos - b * sin, a * sin + b * cos
    return y


def slopes(heads: int) -> np.ndarray:
    """ALiBi (arXiv 2108.12409): for a power of 2, a geometric series; for other numbers, every second of the next."""
    power = 2 ** int(np.log2(heads))
    first = 2.0 ** (-8 / power * np.arange(1, power + 1))
    more = 2.0 ** (-8 / (2 * power) * np.arange(1, 2 * power + 1, 2))
    return np.concatenate([first, more])[:heads]


@given(configs(), SEEDS)
def test_looking_changes_nothing_in_the_model(config: GPTConfig, seed: int) -> None:
    model, ids = model_and_ids(config, seed, 5)
    names = [name for name, _ in model.named_parameters()]
    paths = [block._name for block in model.blocks]
    model.train()
    with no_grad():
        before = model(ids[None]).data
        attention_weights(model, ids, 0), residual_stream(model, ids), logit_lens(model, ids)
        assert model.training and [block._name for block in model.blocks] == paths
        assert [name for name, _ in model.named_parameters()] == names
        np.testing.assert_array_equal(model(ids[None]).data, before)


@pytest.mark.parametrize(("ids", "layer", "message"), [([], 0, "no text"), ([1], 1, "0 to 0, got 1"), ([1], -1, "-1")])
def test_what_cannot_be_looked_at_is_said_in_one_sentence(ids: Any, layer: int, message: str) -> None:
    model = random_gpt(GPTConfig(vocab_size=13, context=8, layers=1, heads=1, dim=4), 0)
    with pytest.raises(ValueError, match=message):
        attention_weights(model, ids, layer)
