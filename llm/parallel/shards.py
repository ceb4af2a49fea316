"""How each parameter is split over the ranks of a tensor group: a table, by the name of the parameter.

Names and values are those of the whole model. Each rank holds some ranges of each parameter along one of its axes:

    qkv, 4 query heads and 2 key-value heads, 2 ranks       rank 0: q0 q1 k0 v0      rank 1: q2 q3 k1 v1

The table serves all that must know the whole: initial weights, checkpoints, the norm of the gradient, the plan.

With K < ranks key-value heads, several ranks hold a copy of the same head. And what is not split, each rank holds. The
first of them owns it: in a sum over all numbers of a model, such as the norm of the gradient, it counts once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import accumulate, pairwise

import numpy as np

from llm.model.config import GPTConfig
from minigrad.backend import Array


@dataclass(frozen=True)
class Shard:
    """What one rank holds of a parameter: these ranges of the whole along `axis`, one after the other."""

    ranges: tuple[range, ...]
    axis: int = 0
    owned: tuple[bool, ...] = ()  # for each range, whether no rank before this one holds it; (): none does

    def part(self, whole: Array) -> Array:
        """What this rank holds of the whole: a view of it, if that is one range."""
        parts = [whole[self._index(r)] for r in self.ranges]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=self.axis)

    def write(self, part: Array, whole: Array) -> None:
        """Put what this rank holds in its place in the whole."""
        for r, values in zip(self.ranges, self.split(part), strict=True):
            whole[self._index(r)] = values

    def split(self, part: Array) -> list[Array]:
        """The ranges of what this rank holds, as views."""
        ends = np.cumsum([len(r) for r in self.ranges])[:-1].tolist()  # CuPy takes no array
        return np.split(part, ends, axis=self.axis)

    def owned_elements(self, whole: Sequence[int]) -> list[slice]:
        """Where, in the flat array that this rank holds, the elements are that it owns. `whole`: a shape.

        Over all ranks, each element of the parameter is in one of these slices.
        """
        if all(self.owned):
            return [slice(0, math.prod(self.shape(whole)))]
        assert self.axis == 0, "only rows are held by several ranks"
        ends = [math.prod(whole[1:]) * rows for rows in accumulate(map(len, self.ranges), initial=0)]
        return [slice(*each) for each, is_owned in zip(pairwise(ends), self.owned, strict=True) if is_owned]

    def shape(self, whole: Sequence[int]) -> tuple[int, ...]:
        """The shape of what this rank holds, from that of the whole."""
        return (*whole[: self.axis], sum(map(len, self.ranges)), *whole[self.axis + 1 :])

    def _index(self, r: range) -> tuple[slice, ...]:
        return (slice(None),) * self.axis + (slice(r.start, r.stop),)


def shard(config: GPTConfig, name: str, shape: Sequence[int], rank: int, size: int) -> Shard | None:
    """What rank `rank` of `size` holds of the parameter `name` of this shape. None: nothing."""
    place, (queries, keys, is_first) = (rank, size), split_heads(config, rank, size)
    H, K, D = config.heads, config.key_heads, config.head_size

    def replicated() -> Shard:
        return Shard((range(shape[0]),), owned=(rank == 0,))

    def on_first() -> Shard | None:  # added to a sum over the ranks: so one of them has it
        return Shard((range(shape[0]),)) if rank == 0 else None

    def rows(blocks: int = 1, axis: int = 0) -> Shard:
        """The same part of each of several blocks."""
        n = shape[axis] // blocks
        part = split_evenly(n, *place)
        return Shard(tuple(_moved(part, n * block) for block in range(blocks)), axis)

    def qkv_rows() -> Shard:  # the query heads, then the key heads, then the value heads
        parts = queries, _moved(keys, H), _moved(keys, H + K)
        return Shard(tuple(_times(part, D) for part in parts), owned=(True, is_first, is_first))

    def query_columns() -> Shard:
        return Shard((_times(queries, D),), axis=1)

    def mlp(make: Callable[[], Shard | None]) -> Callable[[], Shard | None]:
        if ".experts." not in name or not whole_experts(config, size):
            return make
        expert = int(name.split(".experts.")[1].split(".")[0])
        is_here = expert in split_evenly(config.experts or 0, *place)
        return lambda: Shard((range(shape[0]),)) if is_here else None

    def query_norm() -> Shard:
        return Shard((_times(queries, D),)) if config.qk_norm_all else replicated()

    def key_norm() -> Shard:
        return Shard((_times(keys, D),), owned=(is_first,)) if config.qk_norm_all else replicated()

    # fmt: off
    table: tuple[tuple[str, Callable[[], Shard | None]], ...] = (
        ("embedding.weight",                rows),  # of the vocabulary
        ("head.*",                          rows),
        ("*.attention.qkv.*",               qkv_rows),
        ("*.attention.out.weight",          query_columns),
        ("*.attention.out.bias",            on_first),
        ("*.attention.query_norm.weight",   query_norm),
        ("*.attention.key_norm.weight",     key_norm),
        ("*.mlp.*up.*",                     mlp(lambda: rows(2 if config.gated else 1))),  # the gate first, if any
        ("*.mlp.*down.weight",              mlp(lambda: rows(axis=1))),
        ("*.mlp.*down.bias",                mlp(on_first)),
        ("*",                               replicated),
    )
    # fmt: on
    return next(make for pattern, make in table if fnmatch(name, pattern))()


def split_evenly(n: int, rank: int, size: int) -> range:
    """The part of rank `rank`, if n things are given to `size` ranks: the first ones get one more than the others."""
    each, more = divmod(n, size)
    start = rank * each + min(rank, more)
    return range(start, start + each + (rank < more))


def split_heads(config: GPTConfig, rank: int, size: int) -> tuple[range, range, bool]:
    """The query heads and key-value heads of a rank, and whether no rank before it has these key-value heads too."""
    queries, K = split_evenly(config.heads, rank, size), config.key_heads
    if size <= K:
        return queries, split_evenly(K, rank, size), True
    sharing = size // K  # ranks that share a key-value head
    return queries, range(rank // sharing, rank // sharing + 1), rank % sharing == 0


def whole_experts(config: GPTConfig, size: int) -> bool:
    """Whether each rank has some experts. Otherwise, all ranks have some hidden units of each expert."""
    return config.experts is not None and config.experts % size == 0


def check_split(config: GPTConfig, size: int) -> None:
    """Raise ValueError if the model cannot be split over so many ranks."""
    for what, number in (("query heads", config.heads), ("key-value heads", config.key_heads)):
        if number % size and not (what[0] == "k" and size % number == 0):
            possible = "a number that divides them" + (", or a multiple of it" if what[0] == "k" else "")
            raise ValueError(f"{number} {what} cannot be split over {size} ranks; use {possible}")
    widths = {config.mlp_width(layer) for layer in range(config.layers)}
    for what, number in (("an MLP", min(widths)), ("a vocabulary", config.vocab_size)):
        if number < size:
            raise ValueError(f"{what} of {number} cannot be split over {size} ranks; use at most {number}")


def _moved(part: range, by: int) -> range:
    return range(part.start + by, part.stop + by)


def _times(part: range, width: int) -> range:
    return range(part.start * width, part.stop * width)
