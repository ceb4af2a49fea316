"""Ragged attention: one query in each row, and keys of texts of different lengths. For decoding in batches.

The keys of each row are an array of their own, so no text pays for the length of another one. The two products are
computed row by row, and everything between them for all rows at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.fused.attention import single_query_attention
from minigrad.fused.attention_blocks import exp_in_place
from minigrad.fused.curves import soft_cap_in_place


def ragged_attention_reference(
    q: Array,
    keys: Sequence[Array],
    values: Sequence[Array],
    scale: float,
    window: int | None = None,
    bias: Array | None = None,
    soft_cap: float | None = None,
) -> Array:
    """The definition of `ragged_attention`: one row after the other."""
    rows = []
    for b, (k, v) in enumerate(zip(keys, values, strict=True)):
        row_bias = None if bias is None else bias[b, None, ..., : k.shape[1]]
        rows.append(single_query_attention(q[b, None], k[None], v[None], scale, window, row_bias, soft_cap))
    return array_module(q).concatenate(rows)


def ragged_attention(
    q: Array,
    keys: Sequence[Array],
    values: Sequence[Array],
    scale: float,
    window: int | None = None,
    bias: Array | None = None,
    soft_cap: float | None = None,
) -> Array:
    """q (B, H, 1, D), and keys and values (K, S, D) with an S for each row -> (B, H, 1, D).

    Each query attends to the keys of its row, or only to the last `window` of them. `bias`: (B, H, 1, the largest S),
    added to the scores.
    """
    (B, H, _, D), K, lengths = q.shape, keys[0].shape[0], [k.shape[1] for k in keys]
    q = (q * scale).reshape(B, K, H // K, D)
    p = array_module(q).zeros((B, K, H // K, max(lengths)), q.dtype)
    for b, S in enumerate(lengths):
        np.matmul(q[b], keys[b].swapaxes(1, 2), out=p[b, :, :, :S])
    if soft_cap is not None:
        soft_cap_in_place(p, soft_cap)
    if bias is not None:
        by_head = p.reshape(B, H, 1, -1)  # a view: adding to it adds to p
        by_head += bias
    for b, S in enumerate(lengths):
        p[b, :, :, S:] = -np.inf  # there are no keys; exp makes it 0
        if window is not None:
            p[b, :, :, : max(S - window, 0)] = -np.inf
    total = exp_in_place(p, p.max(axis=-1, keepdims=True))  # (B, K, G, 1)
    y = array_module(q).empty(q.shape, q.dtype)
    for b, S in enumerate(lengths):
        np.matmul(p[b, :, :, :S], values[b], out=y[b])
    y /= total  # softmax is p / total; y has fewer numbers than p to divide
    return y.reshape(B, H, 1, D)
