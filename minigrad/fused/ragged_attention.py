"""Ragged attention: the queries of several texts of different lengths, some with one new token and some with more.

The keys of each text are an array of their own, so no text pays for the length of another one. Of texts with one query
each, the two products are computed text by text, and everything between them for all of them at once. Such texts share
even the products if they have the same length and their keys lie side by side.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import numpy as np

from minigrad.backend import Array, array_module, device_of, to_device
from minigrad.fused.attention import attention, single_query_attention
from minigrad.fused.attention_blocks import exp_in_place
from minigrad.fused.curves import soft_cap_in_place


class Ragged(NamedTuple):
    """The keys of several texts, or their values. The last ones belong to the queries."""

    arrays: list[Array]  # each (R, K, S, D), those of R texts; R and S differ from array to array
    rows: list[slice]  # which rows of q belong to each array; consecutive
    queries: list[int]  # how many of these rows are queries of one text, T


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
        return _one_query_each(q, keys, values, scale, window, bias, soft_cap)
    y = array_module(q).empty(q.shape, q.dtype)
    for k, v, rows, T in zip(keys.arrays, values.arrays, keys.rows, keys.queries, strict=True):
        if T > 1:
            row_bias = None if bias is None else bias[rows]
            y[rows] = _several_queries(q[rows], k, v, scale, window, row_bias, soft_cap)
    if one:
        index = np.concatenate([np.arange(keys.rows[i].start, keys.rows[i].stop) for i in one])
        index = to_device(index, device_of(q))
        row_bias = None if bias is None else bias[index]
        y[index] = _one_query_each(q[index], select(keys, one), select(values, one), scale, window, row_bias, soft_cap)
    return y


def select(ragged: Ragged, which: list[int]) -> Ragged:
    """Some of the arrays. Only their queries are in q then."""
    sizes = [ragged.rows[i].stop - ragged.rows[i].start for i in which]
    rows = [slice(stop - size, stop) for size, stop in zip(sizes, accumulate(sizes), strict=True)]
    return Ragged([ragged.arrays[i] for i in which], rows, [ragged.queries[i] for i in which])


def _several_queries(
    q: Array, k: Array, v: Array, scale: float, window: int | None, bias: Array | None, soft_cap: float | None
) -> Array:
    """`ragged_attention` of the texts of one array: q (R * T, H, 1, D), k and v (R, K, S, D)."""
    (N, H, _, D), (R, _, S, _) = q.shape, k.shape
    queries = q.reshape(R, N // R, H, D).swapaxes(1, 2)  # (R, H, T, D)
    if bias is not None:
        bias = bias[..., :S].reshape(R, N // R, H, S).swapaxes(1, 2)  # (R, H, T, S)
    y = attention(queries, k, v, scale=scale, window=window, bias=bias, soft_cap=soft_cap).data  # (R, H, T, D)
    return y.swapaxes(1, 2).reshape(N, H, 1, D)


def _one_query_each(
    q: Array, keys: Ragged, values: Ragged, scale: float, window: int | None, bias: Array | None, soft_cap: float | None
) -> Array:
    """`ragged_attention` of texts with one query each, q (B, H, 1, D)."""
    (B, H, _, D), K, lengths = q.shape, keys.arrays[0].shape[1], [k.shape[2] for k in keys.arrays]
    longest = max(lengths)
    bias = None if bias is None else bias[..., :longest]
    if len(lengths) == 1:
        return single_query_attention(q, keys.arrays[0], values.arrays[0], scale, window, bias, soft_cap)
    q = (q * scale).reshape(B, K, H // K, D)
    p = array_module(q).zeros((B, K, H // K, longest), q.dtype)
    for b, k, S in zip(keys.rows, keys.arrays, lengths, strict=True):
        np.matmul(q[b], k.swapaxes(2, 3), out=p[b, ..., :S])
    if soft_cap is not None:
        soft_cap_in_place(p, soft_cap)
    if bias is not None:
        by_head = p.reshape(B, H, 1, longest)  # a view: adding to it adds to p
        by_head += bias
    for b, S in zip(keys.rows, lengths, strict=True):
        if longest > S:
            p[b, ..., S:] = -np.inf  # there are no keys; exp makes it 0
        if window is not None:
            p[b, ..., : max(S - window, 0)] = -np.inf
    total = exp_in_place(p, p.max(axis=-1, keepdims=True))  # (B, K, G, 1)
    y = array_module(q).empty(q.shape, q.dtype)
    for b, v, S in zip(keys.rows, values.arrays, lengths, strict=True):
        np.matmul(p[b, ..., :S], v, out=y[b])
    y /= total  # softmax is p / total; y has fewer numbers than p to divide
    return y.reshape(B, H, 1, D)
