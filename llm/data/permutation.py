"""A shuffle that is computed, not stored: a function that maps index i to its new place.

`numpy.random.permutation` needs 8 bytes for each item, which may be more memory than there is for a large corpus. Here
a Feistel network, as in block ciphers, shuffles the numbers of 2k bits: each round replaces (left, right) by (right,
left XOR hash(right, key)). A round can be undone, so no two numbers go to the same place. To shuffle range(count) for
any count, a result that is not below count is shuffled again, until it is ("cycle walking"; Black and Rogaway, "Ciphers
with arbitrary finite domains", 2002). The order is the same on every machine and in every version of NumPy.
"""

from __future__ import annotations

import numpy as np

ROUNDS = 6  # each has one key. Four rounds are enough for large ranges, but small ones need more to look random


def mix(x: np.ndarray) -> np.ndarray:
    """A hash of each uint64 whose bits look random (the finalizer of SplitMix64: Steele, Lea and Flood, 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def permute(indices: np.ndarray, count: int, keys: np.ndarray) -> np.ndarray:
    """Where the shuffle of range(count) given by `keys`, (ROUNDS,) uint64, puts `indices`, each in range(count).

    Returns int64 of the same shape. The results of all indices are exactly range(count), in another order.
    """
    half_bits = max(1, -(-(count - 1).bit_length() // 2))  # 4 ** half_bits >= count, and less than 4 * count
    shuffled = _feistel(indices.astype(np.uint64), half_bits, keys)
    while (outside := shuffled >= count).any():  # each round sends at least a quarter of them inside, on average
        shuffled[outside] = _feistel(shuffled[outside], half_bits, keys)
    return shuffled.astype(np.int64)


def _feistel(x: np.ndarray, half_bits: int, keys: np.ndarray) -> np.ndarray:
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = x >> shift, x & mask
    for key in keys:
        left, right = right, left ^ (mix(right + key) & mask)
    return (left << shift) | right
