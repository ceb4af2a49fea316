"""The MLP with some of its hidden units: each rank has some rows of `up`, and the same columns of `down`."""

from __future__ import annotations

from typing import Any

from llm.model.config import GPTConfig
from llm.model.mlp import MLP
from llm.parallel.shards import split_evenly
from llm.parallel.tensor.group import TensorGroup
from minigrad.backend import Array
from minigrad.tensor import Tensor


class NarrowMLP(MLP):
    """The hidden units of this rank, and what they give to the output: a part of a sum over the ranks."""

    def __init__(self, config: GPTConfig, width: int, dtype: Any, group: TensorGroup):
        """`width`: of the whole hidden layer."""
        super().__init__(config, len(split_evenly(width, group.rank, group.size)), dtype)
        self.group = group
        if group.rank > 0:
            self.down.bias = None  # the outputs are added up, and a bias must be added once


class SplitMLP(NarrowMLP):
    """x (..., C) -> (..., C), as `MLP`."""

    def forward(self, x: Tensor) -> Tensor:
        return self.group.leave(super().forward(self.group.enter(x)))

    def decode(self, x: Array) -> Array:
        return self.group.ranks.all_reduce(super().decode(x))
