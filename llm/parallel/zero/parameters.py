"""Shards of parameters (ZeRO 3): a rank holds its shard, and gathers the others block by block.

    forward pass     block 0: gather, compute      block 1: gather, compute, forget block 0     ...
    backward pass    the last block: gather, compute again, gradients      the one before: gather ...

At most one block is whole at any time: when the next one is gathered, the last one is forgotten. In the backward pass
that is possible because blocks are computed again there (activation checkpointing, minigrad/checkpoint.py). What is not
in a block (embedding, head, last norm) stays whole on all ranks.

All ranks must run the same blocks in the same order, each in one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from llm.model.block import Block
from llm.model.gpt import GPT
from llm.parallel.data.reduction import overlap
from llm.parallel.zero.gradients import ShardedGradients, ShardedReduction
from minigrad.backend import Array
from minigrad.nn.module import Parameter
from minigrad.precision import current_precision


class ShardedParameters(ShardedGradients):
    """`ShardedGradients` of which a rank has its shard of the parameters only: `group.flat.data`."""

    def __init__(self, params: Any, *, model: GPT, **settings: Any):
        super().__init__(params, **settings)
        # A group of its own: parameters are gathered while gradients are under way.
        self._gathering = self.ranks.split(0)
        self.blocks = GatheredBlocks(model, self)
        for group in self.groups:
            self._divide(group, group.flat.data)

    def _divide(self, group: Any, whole: Array) -> None:
        """Keep the shard of the flat parameters, and what is not in a block."""
        group.flat.data, group.flat._data_views = whole[self._shard(group)].copy(), []
        for name, p in zip(group.names, group.flat.parameters):
            p.data = nothing_like(p) if is_in_block(name) else p.data.copy()

    def _data(self, group: Any, elements: slice) -> Array:
        return group.flat.data[self._of_shard(group, elements)[1]]

    def share_update(self) -> None:
        self.blocks.forget()
        self.fetch(lambda name: not is_in_block(name))

    def fetch(self, wanted: Callable[[str], bool]) -> list[Parameter]:
        """Gather the parameters whose names are `wanted`, and return them."""
        found: list[Parameter] = []
        for group in self.groups:
            flat, numbers = group.flat, range(len(group.names))
            for is_wanted, run in groupby(numbers, key=lambda i: wanted(group.names[i])):
                if is_wanted:
                    indices = list(run)
                    bounds = flat.bounds[indices[0] : indices[-1] + 2]
                    array = self._gathered(group, slice(bounds[0], bounds[-1]))
                    half = current_precision().factor(array)  # cast once for all products, in a step with --precision
                    for i, (start, stop) in zip(indices, pairwise(bounds)):
                        p, place = flat.parameters[i], slice(start - bounds[0], stop - bounds[0])
                        p.data = array[place].reshape(p.shape)
                        p.half = None if half is array else half[place].reshape(p.shape)
                    found += [flat.parameters[i] for i in indices]
        return found

    def _gathered(self, group: Any, elements: slice) -> Array:
        """These elements of the flat parameters, whole."""
        parts = [overlap(elements, shard) for shard in group.flat.shards(self.ranks.size)]
        shapes = [(part.stop - part.start,) for part in parts]
        return np.concatenate(self._gathering.all_gather(self._data(group, elements), shapes))

    @contextmanager
    def whole_parameters(self, *, changed: bool) -> Iterator[None]:
        self.blocks.forget()
        before = [[p.data for p in group.flat.parameters] for group in self.groups]
        wholes = [self._whole(group, group.flat.data, gather=not changed) for group in self.groups]
        for group, whole in zip(self.groups, wholes):
            for p, view in zip(group.flat.parameters, group.flat.views(whole)):
                p.data = view
        try:
            yield
        finally:
            for group, whole, arrays in zip(self.groups, wholes, before):
                if changed:
                    self._divide(group, whole)
                else:
                    for p, array in zip(group.flat.parameters, arrays):
                        p.data = array


class GatheredBlocks:
    """Lets each block of a model gather its parameters before it computes anything."""

    def __init__(self, model: GPT, optimizer: ShardedParameters):
        self._optimizer = optimizer
        self._block: Block | None = None  # the one that is whole
        self._parameters: list[Parameter] = []
        model.recompute = True
        for layer, block in zip(model.layers, model.blocks):
            for method in ("forward", "decode"):
                setattr(block, method, self._after_gathering(layer, block, getattr(block, method)))

    def _after_gathering(self, layer: int, block: Any, method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*inputs: Any) -> Any:
            if self._block is not block:
                self.forget()
                self._parameters = self._optimizer.fetch(lambda name: name.startswith(f"blocks.{layer}."))
                self._block = block
            return method(*inputs)

        return run

    def forget(self) -> None:
        """No block is whole: before a step, which changes the shards."""
        for p in self._parameters:
            p.data, p.half = nothing_like(p), None
        self._block, self._parameters = None, []


class LockstepReduction(ShardedReduction):
    lockstep = True


def is_in_block(name: str) -> bool:
    return name.startswith("blocks.")


def nothing_like(p: Parameter) -> Array:
    """An array of the shape of p that takes no memory."""
    return np.broadcast_to(np.zeros((), p.dtype), p.shape)
