"""Which document of which source stands at each place of a mixture.

A mixture of N documents takes exactly counts[s] of them from source s. The places are shuffled: place k gets the
number permute(k), and the numbers of source s are a range of counts[s] numbers. The documents of a source come in
passes: each of them once, in random order, before any comes again, in another order. All of it is computed from the
seed (permutation.py), so it takes no memory, and is the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from llm.data.permutation import ROUNDS, permute

BLOCK = 1 << 16  # places that are computed at once


def apportion(weights: Sequence[float], total: int) -> list[int]:
    """Counts in proportion to the weights, which add up to `total`: rounded down, then one more for the largest rests.

    So a count differs from its exact share by less than one.
    """
    exact = np.array(weights, float) / sum(weights) * total
    counts = np.floor(exact).astype(np.int64)
    rests = np.argsort(counts - exact, kind="stable")  # of equal rests, the first source comes first
    counts[rests[: total - counts.sum()]] += 1
    return counts.tolist()


def scaled(weights: Sequence[float]) -> list[float]:
    """The same proportions, exactly, with the largest between 1/2 and 1: so their sum cannot overflow."""
    _, exponent = math.frexp(max(weights))
    return [math.ldexp(weight, -exponent) for weight in weights]


def largest_total(weights: Sequence[float], sizes: Sequence[int]) -> int:
    """The most documents of which no source must give more than it has: none comes twice."""
    # A count is its share, rounded down or up. A share of at most a whole number is not rounded above it.
    most = min(size / weight for size, weight in zip(sizes, weights, strict=True) if weight) * sum(weights)
    return max(1, int(most * (1 + 1e-12)))


def draw(counts: Sequence[int], sizes: Sequence[int], seed: int) -> Iterator[tuple[int, int]]:
    """For each place: the number of a source, and the number of a document in it. `sizes`: documents of each source."""
    total, ends, drawn = sum(counts), np.cumsum(counts), [0] * len(counts)
    for begin in range(0, total, BLOCK):
        places = np.arange(begin, min(begin + BLOCK, total))
        sources = np.searchsorted(ends, permute(places, total, keys_of(seed)), side="right")
        rows = np.empty_like(places)
        for source in np.unique(sources).tolist():
            mine = sources == source
            turns = drawn[source] + np.arange(np.count_nonzero(mine))
            rows[mine] = rows_of(turns, sizes[source], seed, source)
            drawn[source] += len(turns)
        yield from zip(sources.tolist(), rows.tolist())


def rows_of(turns: np.ndarray, size: int, seed: int, source: int) -> np.ndarray:
    """Which document of a source comes at its turns 0, 1, 2 ..., of which the first `size` are its first pass."""
    passes, turns = np.divmod(turns, size)
    rows = np.empty_like(turns)
    for number in np.unique(passes).tolist():
        mine = passes == number
        rows[mine] = permute(turns[mine], size, keys_of(seed, source, number))
    return rows


def keys_of(seed: int, *numbers: int) -> np.ndarray:
    return np.random.SeedSequence([seed, *numbers]).generate_state(ROUNDS, np.uint64)
