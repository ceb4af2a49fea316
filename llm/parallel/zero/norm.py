"""An optimizer of a rank that has a part of the model: the gradient is clipped by the norm of all of it.

What several ranks have, such as the weight of a norm, counts once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from llm.parallel.communicators.communicator import Communicator
from llm.parallel.data.reduction import overlap
from llm.parallel.model_part import ModelPart
from minigrad.backend import Array
from minigrad.optim import Optimizer


class OfRank(Optimizer):
    """What is added to an optimizer, such as AdamW: class RankAdamW(OfRank, AdamW).

    `part`: what this rank has of the model; None: all.
    """

    def __init__(self, params: Iterable, *, part: ModelPart | None = None, **settings: Any):
        self.part = part if part is not None and part.ranks.size > 1 else None
        super().__init__(params, **settings)
        self._owned = [] if self.part is None else [_owned_elements(group, self.part) for group in self.groups]

    def counted_once(self, grads: list[Array]) -> list[Array]:
        if self.part is None:
            return grads
        found = (
            self._gradient(group, overlap(elements, owned))
            for group, slices in zip(self.groups, self._owned)
            for _, elements in group.flat.runs()
            for owned in slices
        )
        return [g for g in found if g.size]

    def _gradient(self, group: Any, elements: slice) -> Array:
        """The gradient of those of these elements that this rank updates."""
        return group.flat.grad[elements]

    def whole_norm(self, norm: Array) -> Array:
        return norm if self.part is None else norm_over(self.part.ranks, norm)


def _owned_elements(group: Any, part: ModelPart) -> list[slice]:
    """Those of the flat arrays that count here, neighbours in one slice."""
    merged: list[slice] = []
    for name, start in zip(group.names, group.flat.bounds):
        for each in part.owned(name):
            begin, end = start + each.start, start + each.stop
            if merged and merged[-1].stop == begin:
                begin = merged.pop().start
            merged.append(slice(begin, end))
    return merged


def norm_over(ranks: Communicator, norm: Array) -> Array:
    """The norm of a vector of which each rank has a part with this norm; the same bits on all of them."""
    norms = np.concatenate(ranks.all_gather(norm.reshape(1)))
    largest = norms.max()  # divided by it, no square overflows
    return np.sqrt(((norms / largest) ** 2).sum()) * largest if 0 < largest < np.inf else largest
