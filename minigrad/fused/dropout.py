"""Dropout (Srivastava et al. 2014) with a counter-based generator: whether element i is kept is a function of (key, i)
alone.

So the same mask comes from the same seed, step and place, on any device, for any block of an array on its own; nothing
is saved for the backward pass. Counter-based generators: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
(2011). The function here spreads the number over 32 bits by a product with the golden ratio (Knuth's multiplicative
hashing) and then mixes them with `lowbias32` (C. Wellons, "Prospecting for hash functions", 2018), without its last
step, which changes only the lower 16 bits. Half of the key goes in between the two, the other half before the last
product, so that masks of two keys are no rearrangements of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.backend import array_module
from minigrad.fused.rows import blocks
from minigrad.random import Key, next_key
from minigrad.tensor import Tensor, record, tensor


def dropout(x: Any, p: float, key: Key | None = None) -> Tensor:
    """x, any shape, with each element zeroed with probability p and the others multiplied by 1 / (1 − p), which keeps
    the mean.

    `key`: (seed, step, place); None takes the next one of this thread's stream (minigrad.random). For a given key this
    is a linear map and its own transpose, so the gradient is the same dropout of the gradient, to any order.
    """
    x = tensor(x)
    if p == 0:
        return x
    key = next_key() if key is None else key
    y = x.data * keep_mask(key, x.shape, p, array_module(x.data))
    y *= keep_scale(p)
    return record(y, (x,), lambda g, out: (dropout(g, p, key),))


def dropout_reference(x: Any, p: float, key: Key | None = None) -> Tensor:
    x, key = tensor(x), next_key() if key is None else key
    keep = keep_mask(key, x.shape, p, array_module(x.data))
    return x * (keep.astype(x.dtype) * keep_scale(p))


def keep_scale(p: float) -> float:
    """What a kept element is multiplied by."""
    return 1 / (1 - p) if p < 1 else 0.0


def keep_mask(key: Key, shape: Sequence[int], p: float, xp: ModuleType = np, block: Sequence[slice] = ()) -> Any:
    """Boolean array of `shape`: True, with probability 1 − p, where an element is kept.

    `block`: a slice for each axis, to get only that part of the mask: keep_mask(key, shape, p, xp, block) equals
    keep_mask(key, shape, p, xp)[block]. Elements are numbered modulo 2³², after which the mask repeats.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"the probability of dropping is a number from 0 to 1, p is {p}")
    index = _numbers(shape, block or [slice(None)] * len(shape), xp)
    keep = xp.empty(index.shape, bool)
    flat_index, flat_keep = index.reshape(-1), keep.reshape(-1)
    words, below = _words(key), round((1 - p) * 2**32)
    if below == 0:
        flat_keep[...] = False
        return keep
    for s in blocks(flat_index):
        np.less_equal(_hash(flat_index[s], *words), np.uint32(below - 1), out=flat_keep[s])  # 2**32 itself is no uint32
    return keep


def _numbers(shape: Sequence[int], block: Sequence[slice], xp: ModuleType) -> Any:
    """The row-major numbers, uint32, of the elements of `block` in an array of `shape`."""
    index = xp.zeros((), np.uint32)
    for n, part in zip(shape, block, strict=True):
        index = index[..., None] * np.uint32(n % 2**32) + xp.arange(*part.indices(n), dtype=np.uint32)
    return index


def _hash(index: Any, word0: int, word1: int) -> Any:
    """32 random bits for each number, uint32; the upper 16 are the good ones."""
    x = index * np.uint32(0x9E3779B1)
    x ^= np.uint32(word0)
    t = x >> 16
    x ^= t
    x *= np.uint32(0x7FEB352D)
    np.right_shift(x, 15, out=t)
    x ^= t
    x ^= np.uint32(word1)
    x *= np.uint32(0x846CA68B)
    return x


def _words(key: Key) -> tuple[int, int]:
    """The key as two 32-bit words, by the splitmix64 mixing of each of its integers (Steele, Lea, Flood 2014)."""
    z = 0
    for part in key:
        z = (z + int(part) + 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        z ^= z >> 31
    return z >> 32, z % 2**32
