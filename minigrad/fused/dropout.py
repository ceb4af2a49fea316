"""Dropout (Srivastava et al. 2014) with a counter-based generator: whether element i is kept depends on (key, i) alone.

    y[i] = x[i] keep[i] / (1 − p)          keep[i] = hash(key, i) < (1 − p) 2³²

So the same key gives the same mask on every device, and a block of a mask can be computed without the rest. Nothing has
to be saved for the backward pass. Counter-based generators: Salmon et al., "Parallel random numbers: as easy as 1, 2,
3" (2011).

The hash multiplies i by 2³² over the golden ratio (Knuth's multiplicative hashing), and then mixes the bits by
`lowbias32` (C. Wellons, "Prospecting for hash functions", 2018). The last step of that is left out, because it changes
only the lower 16 bits. One half of the key goes in before the mixing, and the other half before its last product, so
that the masks of two keys are not rearrangements of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, ensure_array
from minigrad.fused.rows import blocks
from minigrad.ops.arguments import as_number
from minigrad.random import Key, next_key, placement_of
from minigrad.tensor import Tensor, as_tensor, record


def dropout_reference(x: Any, p: float, key: Key | None = None) -> Tensor:
    """The definition of `dropout`."""
    x, key = as_tensor(x), next_key() if key is None else key
    keep = keep_mask(key, x.shape, p, array_module(x.data))
    return x * Tensor(keep.astype(x.dtype)) * keep_scale(p)


def dropout(x: Any, p: float, key: Key | None = None) -> Tensor:
    """x, any shape, with each element zeroed with probability p. The others are divided by 1 − p.

    So the expected value of each element stays the same.

    `key`: three integers (seed, step, count); None takes the next one of this thread's stream, with its placement
    (minigrad.random).
    """
    x, p = as_tensor(x), as_number(p, "the dropout probability")
    if p == 0:
        return x
    key = next_key() if key is None else key
    y = ensure_array(x.data * keep_mask(key, x.shape, p, array_module(x.data)))
    y *= keep_scale(p)  # in place: no array for the mask as float
    # For a given key this is a diagonal matrix, its own transpose: the gradient is the same dropout, to any order.
    return record(y, (x,), lambda g, out: (dropout(g, p, key),))


def keep_scale(p: float) -> float:
    """What a kept element is multiplied by."""
    # A Python number, because a NumPy scalar would promote float32.
    return float(1 / (1 - p)) if p < 1 else 0.0  # p = 1 drops every element, so the factor does not matter


def keep_mask(key: Key, shape: Sequence[int], p: float, xp: ModuleType = np, block: Sequence[slice] = ()) -> Array:
    """Boolean array of `shape`: True, with probability 1 − p, where an element is kept.

    `block`: a slice for each axis, to get only that part of the mask. keep_mask(key, shape, p, xp, block) equals
    keep_mask(key, shape, p, xp)[block]. If the key has a placement, `shape` is that of a part of a larger array, and
    the result is this part of its mask. Elements are numbered modulo 2³², after which the mask repeats.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"the probability of dropping is a number from 0 to 1, p is {p}")
    positions = [range(*s.indices(n)) for s, n in zip(block or [slice(None)] * len(shape), shape, strict=True)]
    numbers, whole_shape, positions = _in_whole_array(key, shape, positions)
    index = _element_numbers(whole_shape, positions, xp)
    keep = xp.empty(index.shape, bool)
    flat_index, flat_keep = index.reshape(-1), keep.reshape(-1)  # views
    words, threshold = _key_words(numbers), round((1 - p) * 2**32)
    if threshold == 0:
        flat_keep[...] = False
        return keep
    for s in blocks(flat_index):
        # hash <= threshold - 1, not hash < threshold, because a threshold of 2**32 (p = 0) does not fit into uint32.
        np.less_equal(_hash(flat_index[s], *words), np.uint32(threshold - 1), out=flat_keep[s])
    return keep


def _in_whole_array(key: Key, shape: Sequence[int], positions: list[range]) -> tuple[list[int], list[int], list[range]]:
    """The numbers of the key; and of the array in which the key's placement puts an array of `shape`, the shape, and
    where `positions` are in it.
    """
    numbers, shape, positions = list(key[:3]), list(shape), list(positions)
    for axis, start, stop, total in placement_of(key):
        n = shape[axis] if axis < len(shape) else 0
        # An element of the placement may be several of the array: of rows (2 B, T), each row of the batch has two.
        times, rest = divmod(n, max(1, stop - start))
        if rest or not times:  # the array is not of this kind, such as the tokens of an expert
            numbers += [axis, start]  # so that at least two parts do not drop the same elements
            continue
        r, first = positions[axis], start * times
        positions[axis], shape[axis] = range(r.start + first, r.stop + first, r.step), total * times
    return numbers, shape, positions


def _element_numbers(shape: Sequence[int], positions: Sequence[range], xp: ModuleType) -> Array:
    """The row-major numbers, uint32, of the elements at these positions along each axis of an array of `shape`."""
    index = xp.zeros((), np.uint32)
    # One axis after another: element (i, j, k) of an array (I, J, K) has the number (i J + j) K + k.
    for n, r in zip(shape, positions, strict=True):
        index = index[..., None] * np.uint32(n % 2**32) + xp.arange(r.start, r.stop, r.step, dtype=np.uint32)
    return index


def _hash(index: Array, word0: int, word1: int) -> Array:
    """32 random bits for each number, uint32. The upper 16 bits are mixed best; a threshold depends on these most."""
    # A product changes the bits above a bit that differs, a shift and xor (^) those below. Together they mix all bits.
    x = index * np.uint32(0x9E3779B1)  # 2³² over the golden ratio
    x ^= np.uint32(word0)  # the first half of the key
    t = x >> 16  # here lowbias32 begins
    x ^= t
    x *= np.uint32(0x7FEB352D)
    np.right_shift(x, 15, out=t)
    x ^= t
    x ^= np.uint32(word1)  # the second half of the key
    x *= np.uint32(0x846CA68B)
    return x


def _key_words(key: Sequence[int]) -> tuple[int, int]:
    """The key as two 32-bit words: its integers mixed by splitmix64, one after another (Steele, Lea, Flood 2014)."""
    # % 2**64 keeps 64 bits, as unsigned integers of C do by themselves: Python's integers do not overflow.
    z = 0
    for number in key:
        z = (z + int(number) + 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        z ^= z >> 31
    return z >> 32, z % 2**32
