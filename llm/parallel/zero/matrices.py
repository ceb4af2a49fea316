"""Muon for matrices that are divided among the ranks of a tensor group.

A part of a matrix has another polar factor than the whole. So the ranks give each other their parts, each computes the
polar factor of the whole, and keeps its part of it. Heads of attention need no messages: each is whole on its rank.
"""

from __future__ import annotations

from llm.parallel.model_part import ModelPart
from llm.parallel.shards import shard
from minigrad.backend import Array, array_module
from minigrad.optim import Muon


class SplitMuon(Muon):
    part: ModelPart | None  # see zero/norm.py

    def direction(self, name: str, u: Array) -> Array:
        if self.part is None or u.ndim > 2:  # several matrices in one parameter: heads
            return super().direction(name, u)
        config, shape, ranks = self.part.config, self.part.shapes[name], self.part.mesh.tensor
        held = [shard(config, name, shape, rank, ranks.size) for rank in range(ranks.size)]
        own = held[ranks.rank]
        if own is None or own.shape(shape) == shape:  # all of it is here
            return super().direction(name, u)
        whole = array_module(u).empty(shape, u.dtype)
        shapes = [each.shape(shape) for each in held if each is not None]
        for each, part in zip(held, ranks.all_gather(u, shapes)):
            if each is not None:
                each.write(part, whole)
        return own.part(super().direction(name, whole))
