"""The scores of attention for a block of queries and keys, and which pairs of them are hidden.

Shapes: B batch, H query heads, K key-value heads, G = H / K query heads for each key head, T queries, S keys, D head
dimension. A block is given by three slices: b of the batch, i of the queries, j of the keys. In shapes, the same
letters stand for their lengths. The G query heads that share a key head are stacked as the R = G i rows of one matrix,
so that one matrix product with the key head serves all of them.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.fused.curves import soft_cap_in_place
from minigrad.fused.dropout import keep_mask, keep_scale
from minigrad.precision import current_precision
from minigrad.random import Key

ALL = slice(None)


class AttentionOptions(NamedTuple):
    """The options of `attention`, explained there. `scale` is filled in, and with dropout also `key`."""

    causal: bool
    window: int | None
    scale: float
    dropout: float
    key: Key | None
    soft_cap: float | None = None


class Blockwise(Protocol):
    """A bias or a mask that broadcasts to (B, H, T, S), and of which only one block at a time is computed."""

    def block(self, b: slice, i: slice, j: slice) -> Array:
        """The block of these sequences, queries and keys. It broadcasts to (b, H, i, j)."""
        ...


def is_blockwise(x: Any) -> TypeGuard[Blockwise]:
    return hasattr(x, "block")


def visible_pairs(
    xp: ModuleType, queries: slice, keys: slice, offset: int, *, causal: bool, window: int | None
) -> Array:
    """Which of the keys are visible to each of the queries: boolean (queries, keys).

    Query i is at the position of key i + offset.
    """
    # How far each key is ahead of each query; negative for keys before it.
    ahead = xp.arange(keys.start, keys.stop) - xp.arange(queries.start, queries.stop)[:, None] - offset
    visible = xp.ones(ahead.shape, dtype=bool)
    if causal:
        visible &= ahead <= 0  # a query sees itself and what is before it
    if window is not None:
        visible &= abs(ahead) < window
    return visible


class AttentionInputs:
    """The inputs of one call on arrays, with the query heads in groups: q (B, K, G, T, D), k and v (B, K, S, D).

    `bias` and `mask`: None, arrays that broadcast to (B, H, T, S), or `Blockwise`.
    """

    def __init__(
        self,
        q: Array,
        k: Array,
        v: Array,
        bias: Array | Blockwise | None,
        mask: Array | Blockwise | None,
        options: AttentionOptions,
    ):
        (B, H, T, D), (K, S) = q.shape, k.shape[1:3]
        self.xp, self.dtype, self.options = array_module(q), q.dtype, options
        self.shape = B, K, H // K, T, S, D
        self.offset = S - T  # query i is at the position of key i + offset: the last query is at the last key
        self.q, self.k, self.v = q.reshape(B, K, H // K, T, D), k, v
        self.bias, self.mask = bias, mask
        self.matmul = current_precision().matmul  # for both passes

    def scores(self, scaled_q: Array, b: slice, i: slice, j: slice) -> tuple[Array, Array | None]:
        """Scores of a block (b, K, R, j), where pairs hidden by the mask are -inf, and the slope of the soft cap.

        `scaled_q`: (b, K, R, D). The slope (b, K, R, j) is d score / d (scale q·k), or None without a cap.
        """
        (K, G), cap = self.shape[1:3], self.options.soft_cap
        scores = self.matmul(scaled_q, self.k[b, :, j].swapaxes(-1, -2))  # (b, K, R, j)
        slope = None if cap is None else soft_cap_in_place(scores, cap)
        by_head = split_group(scores, G)  # (b, K, G, i, j), a view: adding to it adds to the scores
        if self.bias is not None:
            by_head += split_heads(block_of(self.bias, b, i, j), K)
        if self.mask is not None:
            by_head += self.additive_mask(split_heads(block_of(self.mask, b, i, j), K))
        return scores, slope

    def saves_weights(self, max_ratio: int) -> bool:
        """Whether the forward pass saves the weights: if there are at most `max_ratio` D keys, and no soft cap.

        With a soft cap, the backward pass computes the scores again in any case, to get the slope of the cap.
        """
        keys, head_dim = self.shape[4:]
        return keys <= max_ratio * head_dim and self.options.soft_cap is None

    def additive_mask(self, visible: Array) -> Array:
        """An array that hides pairs when it is added to their scores: 0 where visible, -inf elsewhere."""
        return np.where(visible, 0.0, -np.inf).astype(self.dtype)  # exp(-inf) = 0

    def dropout_factors(self, b: slice, i: slice, j: slice) -> Array:
        """The factors of dropout for the weights of a block: (b, K, R, j), each 0 or 1 / (1 - p)."""
        (p, key), (B, K, G, T, S, _) = (self.options.dropout, self.options.key), self.shape
        assert key is not None, "attention takes the next key where none is given"
        # Dropout depends on the number of an element. So this is a block of the mask of the definition, which has all
        # weights (B, H, T, S) at once.
        keep = split_heads(keep_mask(key, (B, K * G, T, S), p, self.xp, (b, ALL, i, j)), K)  # (b, K, G, i, j)
        return merge_group(keep.astype(self.dtype) * self.dtype.type(keep_scale(p)))


# --- shapes -----------------------------------------------------------------------------------------------------------


def merge_group(a: Array) -> Array:
    """(b, K, G, i, n) -> (b, K, R, n), R = G i: the query heads of a group as rows of one matrix."""
    b, K, G, i, n = a.shape
    return a.reshape(b, K, G * i, n)  # a view only if G and i lie next to each other in memory, else a copy


def split_group(a: Array, G: int) -> Array:
    """(b, K, R, n) -> (b, K, G, i, n), a view: the inverse of `merge_group`."""
    b, K, R, n = a.shape
    return a.reshape(b, K, G, R // G, n)


def split_heads(a: Array, K: int) -> Array:
    """An array that broadcasts to (b, H, i, j), in a shape that broadcasts to (b, K, G, i, j)."""
    b, H, i, j = a.shape
    return a.reshape(b, *((1, 1) if H == 1 else (K, H // K)), i, j)  # H is 1 if the array is the same for all heads


def block_of(a: Any, b: slice = ALL, i: slice = ALL, j: slice = ALL) -> Array:
    """A block of a bias or mask, with four axes; all of it by default. It broadcasts to (b, H, i, j)."""
    if is_blockwise(a):
        return a.block(b, i, j)
    array = a.reshape((1,) * (4 - a.ndim) + a.shape)  # four axes: missing ones in front have length 1
    # Axes of length 1 stay, because they will be broadcast.
    return array[tuple(ALL if n == 1 else s for n, s in zip(array.shape, (b, ALL, i, j)))]
