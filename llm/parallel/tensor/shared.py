"""Parameters that several ranks hold, and of which each rank finds a part of the gradient.

A weight of QK-norm is used by all heads, but each rank has some of them only. `copy` of the parameter adds up what the
ranks find, so that each has the whole gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from llm.parallel.communicators.communicator import Communicator
from llm.parallel.tensor.operators import copy, reduce
from minigrad.fused.linear import linear
from minigrad.fused.norm import layer_norm, rms_norm
from minigrad.nn import LayerNorm, Linear, RMSNorm
from minigrad.ops import concatenate
from minigrad.tensor import Tensor

Share = Callable[[Tensor], Tensor]  # a parameter, to the Tensor to compute with


class SharedRows(Linear):
    """A linear layer whose rows from number `start` on are held by all ranks of `group`."""

    def __init__(self, plain: Linear, start: int, group: Communicator):
        self.weight, self.bias, self.start, self.group = plain.weight, plain.bias, start, group

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        assert activation is None, "queries, keys and values have none"
        return linear(x, self._share(self.weight), None if self.bias is None else self._share(self.bias))

    def _share(self, rows: Tensor) -> Tensor:
        return concatenate([rows[: self.start], copy(rows[self.start :], self.group)])


class SharedLayerNorm(LayerNorm):
    def __init__(self, plain: LayerNorm, share: Share):
        self.weight, self.bias, self.eps, self._share = plain.weight, plain.bias, plain.eps, share

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self._share(self.bias)
        return layer_norm(x, self._share(self.weight), bias, self.eps)


class SharedRMSNorm(RMSNorm):
    def __init__(self, plain: RMSNorm, share: Share):
        self.weight, self.eps, self._share = plain.weight, plain.eps, share

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self._share(self.weight), self.eps)


def shared_norm(plain: LayerNorm | RMSNorm, share: Share) -> LayerNorm | RMSNorm:
    return SharedLayerNorm(plain, share) if isinstance(plain, LayerNorm) else SharedRMSNorm(plain, share)


class SplitRMSNorm(RMSNorm):
    """RMSNorm of rows (..., width) of which each rank has a part, as (..., dim). `copies`: ranks that hold the same."""

    def __init__(self, dim: int, width: int, eps: float, dtype: Any, ranks: Communicator, sharers: Communicator):
        super().__init__(dim, eps=eps, dtype=dtype)
        self.width, self._ranks, self._sharers = width, ranks, sharers

    def forward(self, x: Tensor) -> Tensor:
        squares = (x * x).sum(axis=-1, keepdims=True) / self._sharers.size  # what is held twice counts once
        # The sum over the ranks, which each rank uses for a part of y: first `reduce`, then `copy`.
        mean = copy(reduce(squares, self._ranks), self._ranks) / self.width  # (..., 1)
        return x / (mean + self.eps) ** 0.5 * copy(self.weight, self._sharers)

    def forward_array(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError("single tokens go through `forward` too: see Block.can_decode")
