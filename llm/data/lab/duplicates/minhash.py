"""Signatures of many texts at once, and the keys of their bands.

Letters in shapes: D texts, S shingles, H = bands x rows hash functions.

A hash function is x -> (x ^ a) * b modulo 2^32, of shingles that are hashes already. Unsigned integers of NumPy wrap
around, which is this modulus, on purpose. The usual (a x + b) mod (2^61 - 1) overflows 64 bits and is then no longer
the function that was meant; and none of these linear functions is good for numbers that are not hashed before.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from llm.data.lab.duplicates.plan import Plan
from llm.data.lab.duplicates.shingles import mixed, shingle_blocks
from llm.data.lab.duplicates.textbook import ORDER

LARGEST = np.uint32(2**32 - 1)


def signatures(texts: Sequence[str], plan: Plan) -> np.ndarray:
    """The least value of each hash function on the shingles of each text: (D, H) uint32."""
    least = np.full((plan.hashes, len(texts)), LARGEST)
    for first, shingles, counts in shingle_blocks(texts, plan.words):
        block = least[:, first : first + len(counts)]
        np.minimum(block, minima((shingles >> np.uint64(32)).astype(np.uint32), counts, plan), out=block)
    return np.ascontiguousarray(least.T)


def minima(shingles: np.ndarray, counts: np.ndarray, plan: Plan) -> np.ndarray:
    """The same for one block of shingles (S,) uint32, of which each text has `counts`: (H, D)."""
    starts = np.cumsum(counts) - counts
    least = np.empty((plan.hashes, len(counts)), np.uint32)
    values = np.empty_like(shingles)
    for (a, b), row in zip(functions(plan), least):
        np.bitwise_xor(shingles, a, out=values)
        np.multiply(values, b, out=values)
        np.minimum.reduceat(values, starts, out=row)
    return least


@lru_cache
def functions(plan: Plan) -> np.ndarray:
    """The numbers a and b of each hash function: (H, 2) uint32."""
    return np.array(plan.functions(), np.uint32)


def band_keys(signatures: np.ndarray, plan: Plan) -> np.ndarray:
    """A hash of each band: (bands, D) uint64. Where two texts have the same key, they agree in that band."""
    bands = signatures.reshape(-1, plan.bands, plan.rows).astype(np.uint64)
    keys = np.zeros(bands.shape[:2], np.uint64)
    for row in range(plan.rows):
        keys = mixed(keys * np.uint64(ORDER) + bands[:, :, row])
    return np.ascontiguousarray(keys.T)


def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """An estimate of the Jaccard similarity s of texts, from signatures (..., H). Standard error: sqrt(s (1-s) / H)."""
    return (a == b).mean(-1)
