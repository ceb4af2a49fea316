"""An optimizer for a shard of the parameters (ZeRO 1). Each rank has the moments of its shard, and updates this.

    gradient    sums of all ranks, of the shard at least    data/reduction.py
    moments     of the shard
    update      of the shard; then the shards of the parameters are sent to all ranks

A saved state knows nothing of shards: rank 0 gathers it, and each rank takes its shard of what is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from llm.parallel.communicators.communicator import Communicator
from llm.parallel.data.reduction import gather_shards, overlap
from llm.parallel.zero.norm import OfRank, norm_over
from minigrad.backend import Array


class Sharded(OfRank):
    """An optimizer for the ranks of `ranks`, each of which has all parameters. All ranks must call the same methods."""

    def __init__(self, params: Iterable, *, ranks: Communicator, **settings: Any):
        self.ranks = ranks
        super().__init__(params, **settings)

    def _first_moment(self, group: Any) -> Array:
        return np.zeros_like(group.flat.data[self._shard(group)])

    def _shard(self, group: Any) -> slice:
        return group.flat.shards(self.ranks.size)[self.ranks.rank]

    def _of_shard(self, group: Any, elements: slice) -> tuple[slice, slice]:
        """Those of the elements that are in the shard: where in the whole array, and where in the shard."""
        shard = self._shard(group)
        part = overlap(elements, shard)
        return part, slice(part.start - shard.start, part.stop - shard.start)

    def _data(self, group: Any, elements: slice) -> Array:
        """Those of the elements that are in the shard."""
        return group.flat.data[self._of_shard(group, elements)[0]]

    def _gradient(self, group: Any, elements: slice) -> Array:
        """The gradient of those of the elements that are in the shard."""
        return group.flat.grad[self._of_shard(group, elements)[0]]

    # --- a step -------------------------------------------------------------------------------------------------------

    def _arrays(self, group: Any, elements: slice) -> list[Array]:
        own = self._of_shard(group, elements)[1]
        moments = (moment[own] for moment in group.moments)
        return [self._data(group, elements), self._gradient(group, elements), *moments]

    def share_update(self) -> None:
        for group in self.groups:
            gather_shards(group.flat.data, group.flat.shards(self.ranks.size), self.ranks)

    def gradients(self) -> list[Array]:
        """Those of the shard."""
        found = []
        for group in self.groups:
            group.flat.sync_views()
            found += [self._gradient(group, elements) for _, elements in group.flat.runs()]
        return found

    def whole_norm(self, norm: Array) -> Array:
        return super().whole_norm(norm_over(self.ranks, norm))

    # --- saving and loading -------------------------------------------------------------------------------------------

    @contextmanager
    def whole_moments(self, *, changed: bool) -> Iterator[None]:
        """Inside, moments are those of all shards, as one process has them: to be saved, on rank 0. On the others, they
        are zeros that take no memory. Afterwards each rank keeps its shard.
        """
        before = [group.moments for group in self.groups]
        for group in self.groups:
            group.moments = [self._whole(group, moment, gather=not changed) for moment in group.moments]
        try:
            yield
            if changed:
                before = [[m[self._shard(group)].copy() for m in group.moments] for group in self.groups]
        finally:
            for group, own in zip(self.groups, before):
                group.moments = own

    def _whole(self, group: Any, own: Array, *, gather: bool) -> Array:
        if not gather:
            return np.zeros(group.flat.size, own.dtype)
        return gather_to_first(own, group.flat.shards(self.ranks.size), self.ranks)


def gather_to_first(own: Array, slices: Sequence[slice], ranks: Communicator) -> Array:
    """The flat array, on rank 0, of which each rank has its slice. On the others, nothing."""
    size = slices[-1].stop
    whole = np.empty(size, own.dtype) if ranks.rank == 0 else np.broadcast_to(np.zeros((), own.dtype), size)
    nothing = own[:0]
    gives = [own if to == 0 else nothing for to in range(ranks.size)]
    gets = [(each.stop - each.start,) if ranks.rank == 0 else (0,) for each in slices]
    for where, array in zip(slices, ranks.all_to_all(gives, gets)):
        if ranks.rank == 0:
            whole[where] = array
    return whole
