"""Ragged attention: the queries of several texts of different lengths, some with one new token and some with more.

The keys of each text are an array of their own, so no text pays for the length of another one. Of texts with one query
each, the two products are computed text by text, and everything between them for all of them at once. Such texts share
even the products if they have the same length and their keys lie side by side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.fused.attention import attention, single_query_attention
from minigrad.fused.attention_blocks import exp_in_place
from minigrad.fused.curves import soft_cap_in_place


class Ragged(NamedTuple):
    """The keys of several texts, or their values. The last ones belong to the queries."""

    arrays: list[Array]  # each (R, K, S, D), those of R texts; R and S differ from array to array
    queries: list[int]  # how many each text of an array has, T


def ragged_attention_reference(
    q: Array,
    keys: Ragged,
    values: Ragged,
    scale: float,
    window: int | None = None,
    bias: Array | None = None,
    soft_cap: float | None = None,
) -> Array:
    """The definition of `ragged_attention`: one query after the other."""
    rows: list[Array] = []
    for k, v, T in zip(keys.arrays, values.arrays, keys.queries, strict=True):
        for text in range(len(k)):
            for last in range(k.shape[2] - T + 1, k.shape[2] + 1):  # each query sees the keys up to its own
                n, seen = len(rows), np.s_[text, None, :, :last]
                row_bias = None if bias is None else bias[n, None, ..., :last]
                row = single_query_attention(q[n, None], k[seen], v[seen], scale, window, row_bias, soft_cap)
                rows.append(row)  # (1, H, 1, D)
    return array_module(q).concatenate(rows)


def ragged_attention(
    q: Array,
    keys: Ragged,
    values: Ragged,
    scale: float,
    window: int | None = None,
    bias: Array | None = None,
    soft_cap: float | None = None,
) -> Array:
    """The queries of one text after those of the other, q (N, H, 1, D) -> (N, H, 1, D). Needs `no_grad()`.

    Each query attends to the keys of its text up to its own, or only to the last `window` of them. `bias`: (N, H, 1,
    the largest S), added to the scores.
    """
    one = [i for i, T in enumerate(keys.queries) if T == 1]
    if len(one) == len(keys.queries):
        return _one_query_each(q, keys.arrays, values.arrays, scale, window, bias, soft_cap)
    y, rows = array_module(q).empty(q.shape, q.dtype), _rows_of_arrays(keys)
    parts = [([i], _several_queries) for i in range(len(rows)) if i not in one]
    parts += [(one, _one_query_each)] if one else []
    for part, attend in parts:
        index = np.concatenate([np.arange(rows[i].start, rows[i].stop) for i in part])
        part_keys, part_values = ([x.arrays[i] for i in part] for x in (keys, values))
        part_bias = None if bias is None else bias[index]
        y[index] = attend(q[index], part_keys, part_values, scale, window, part_bias, soft_cap)
    return y


def _rows_of_arrays(keys: Ragged) -> list[slice]:
    """Which rows of q belong to each array."""
    stops = np.cumsum([len(k) * T for k, T in zip(keys.arrays, keys.queries, strict=True)]).tolist()
    return [slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]


def _several_queries(
    q: Array,
    keys: list[Array],
    values: list[Array],
    scale: float,
    window: int | None,
    bias: Array | None,
    soft_cap: float | None,
) -> Array:
    """`ragged_attention` of the texts of one array, q (R * T, H, 1, D)."""
    (k,), (v,), (N, H, _, D) = keys, values, q.shape
    R, _, S, _ = k.shape
    queries = q.reshape(R, N // R, H, D).swapaxes(1, 2)  # (R, H, T, D)
    if bias is not None:
        bias = bias[..., :S].reshape(R, N // R, H, S).swapaxes(1, 2)  # (R, H, T, S)
    y = attention(queries, k, v, scale=scale, window=window, bias=bias, soft_cap=soft_cap).data  # (R, H, T, D)
    return y.swapaxes(1, 2).reshape(N, H, 1, D)


def _one_query_each(
    q: Array,
    keys: list[Array],
    values: list[Array],
    scale: float,
    window: int | None,
    bias: Array | None,
    soft_cap: float | None,
) -> Array:
    """`ragged_attention` of texts with one query each, q (B, H, 1, D)."""
    if len(keys) == 1:
        bias = None if bias is None else bias[..., : keys[0].shape[2]]
        return single_query_attention(q, keys[0], values[0], scale, window, bias, soft_cap)
    (B, H, _, D), K, lengths = q.shape, keys[0].shape[1], [k.shape[2] for k in keys]
    q = (q * scale).reshape(B, K, H // K, D)
    p = array_module(q).zeros((B, K, H // K, max(lengths)), q.dtype)
    rows = _rows_of_arrays(Ragged(keys, [1] * len(keys)))
    for b, k, S in zip(rows, keys, lengths, strict=True):
        np.matmul(q[b], k.swapaxes(2, 3), out=p[b, ..., :S])
    if soft_cap is not None:
        soft_cap_in_place(p, soft_cap)
    if bias is not None:
        by_head = p.reshape(B, H, 1, -1)  # a view: adding to it adds to p
        by_head += bias[..., : max(lengths)]
    for b, S in zip(rows, lengths, strict=True):
        p[b, ..., S:] = -np.inf  # there are no keys; exp makes it 0
        if window is not None:
            p[b, ..., : max(S - window, 0)] = -np.inf
    total = exp_in_place(p, p.max(axis=-1, keepdims=True))  # (B, K, G, 1)
    y = array_module(q).empty(q.shape, q.dtype)
    for b, v, S in zip(rows, values, lengths, strict=True):
        np.matmul(p[b, ..., :S], v, out=y[b])
    y /= total  # softmax is p / total; y has fewer numbers than p to divide
    return y.reshape(B, H, 1, D)
