"""Shards of gradients (ZeRO 2): a rank has the sums of its shard, and no flat gradient of the whole model.

The gradient of a parameter has an array of its own, from the moment when it is computed until its bucket is sent. With
several micro-batches, the sums of each are added to the shard. So more is sent than with ZeRO 1, which adds up the
micro-batches first, on each rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from llm.parallel.communicators.communicator import Communicator
from llm.parallel.data.reduction import Bucket, Reduction, moved
from llm.parallel.zero.optimizer import Sharded
from minigrad.backend import Array
from minigrad.nn.module import Parameter
from minigrad.optim.flat import FlatParameters, WholeParameters


class ShardedFlat(FlatParameters):
    """Flat parameters, and the flat gradient of the shard of one rank: `grad`."""

    def __init__(self, parameters: Sequence[Parameter], ranks: Communicator):
        self.present: set[Parameter] = set()  # parameters that have a gradient
        super().__init__(parameters)
        self.shard = self.shards(ranks.size)[ranks.rank]
        # Of the gradient of all, an array of zeros, nothing was written, so it has taken no memory.
        self.grad = np.zeros_like(self.grad[self.shard])
        self._grad_views = []

    def sync_views(self) -> None:
        for p, data_view in zip(self.parameters, self._data_views):
            if p.data is not data_view:
                data_view[...] = p.data
                p.data = data_view
        for p in self.parameters:
            p.grad_buffer = None  # so backward() gives each gradient an array of its own

    def has_gradient(self, i: int) -> bool:
        return self.parameters[i] in self.present

    def zero_grad(self) -> None:
        self.grad[...] = 0  # sums are added to it
        self.present.clear()


class ShardedWhole(ShardedFlat, WholeParameters):
    """`ShardedFlat` with shards of whole parameters."""


class ShardedGradients(Sharded):
    """`Sharded` that has the gradients of its shard only."""

    def __init__(self, params: Any, *, ranks: Communicator, **settings: Any):
        kind = ShardedWhole if self.make_flat is WholeParameters else ShardedFlat
        self.make_flat = partial(kind, ranks=ranks)  # type: ignore[method-assign]
        super().__init__(params, ranks=ranks, **settings)

    def _gradient(self, group: Any, elements: slice) -> Array:
        return group.flat.grad[self._of_shard(group, elements)[1]]

    def zero_grad(self) -> None:
        super().zero_grad()
        for group in self.groups:
            group.flat.zero_grad()  # type: ignore[attr-defined]  # flats are sharded here


class ShardedReduction(Reduction):
    """Adds the sums of each micro-batch to the shards of `flats`."""

    every_micro_batch = True

    def __init__(self, flats: Sequence[ShardedFlat], group: Communicator, bucket: int):
        super().__init__(flats, group, bucket, keep_shards=True)
        self._flats = flats

    def begin(self) -> None:
        super().begin()
        self._here: set[Parameter] = set()  # parameters that have a gradient on this rank

    def _gradients(self, bucket: Bucket) -> Array:
        """Those of this rank, flat. The parameters have them no longer."""
        taken = [self._take(p).reshape(-1) for p in bucket.parameters]
        return taken[0] if len(taken) == 1 else np.concatenate(taken)

    def _take(self, p: Parameter) -> Array:
        """The gradient; zeros if there is none."""
        if p.grad is None:
            return np.zeros_like(p.data)
        self._here.add(p)
        taken, p.grad = p.grad.data, None
        return taken

    def _keep(self, flat: FlatParameters, own: slice, sums: Array) -> None:
        flat.grad[moved(own, -flat.shard.start)] += sums  # type: ignore[attr-defined]  # flats are sharded here

    def finish(self) -> None:
        self._send_rest()
        present = set(self._present([p in self._here for flat in self.flats for p in flat.parameters]))
        for flat in self._flats:
            flat.present |= present & set(flat.parameters)
