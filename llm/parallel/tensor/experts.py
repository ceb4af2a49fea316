"""A mixture of experts over ranks. All ranks have the router and know all tokens, so they choose alike.

If the number of experts is a multiple of that of ranks, each rank has some experts (expert parallelism: Lepikhin et al.
2020, GShard, arXiv 2006.16668). It takes some of the tokens, and sends each to the ranks of its experts, which send
back what they have computed. Two all-to-all exchanges, of k rows for each token:

    rank 0    tokens 0 1 2 3  --->  experts 0 1 compute, of all tokens, those that chose them  --->  tokens 0 1 2 3
    rank 1    tokens 4 5 6 7  --->  experts 2 3                                                --->  tokens 4 5 6 7

Otherwise each rank has some hidden units of every expert, as it has of an MLP. Sizes N, k, C: llm/model/experts.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from llm.model.experts import Experts, first_places
from llm.model.mlp import MLP
from llm.parallel.shards import split_evenly, whole_experts
from llm.parallel.tensor.group import TensorGroup
from llm.parallel.tensor.mlp import NarrowMLP
from llm.parallel.tensor.operators import collect, copy, exchange, own, reduce
from minigrad.backend import Array
from minigrad.fused.embedding import embedding
from minigrad.nn import ModuleList
from minigrad.tensor import Tensor


def split_experts(config: GPTConfig, dtype: Any, group: TensorGroup) -> Experts:
    kind = RoutedExperts if whole_experts(config, group.size) else NarrowExperts
    return kind(config, dtype, group)


class RoutedExperts(Experts):
    """Some of the experts."""

    def __init__(self, config: GPTConfig, dtype: Any, group: TensorGroup):
        super().__init__(config, dtype)
        self.ranks, count = group.ranks, config.experts or 0
        self.first = split_evenly(count, group.rank, group.size).start
        mlps = (MLP(config, dtype=dtype) for _ in range(count // group.size))
        self.experts = ModuleList(mlps, first=self.first)

    def _weighted_sum(self, rows: Tensor, chosen: Array, weights: Tensor) -> Tensor:
        tokens, total = split_evenly(len(chosen), self.ranks.rank, self.ranks.size), len(chosen)
        own_rows, own_weights = (own(each, self.ranks, 0) for each in (rows, weights))
        y = super()._weighted_sum(own_rows, chosen[tokens.start : tokens.stop], own_weights)
        return collect(y, self.ranks, 0, total)  # (N, C)

    def _compute_groups(self, rows: Tensor, chosen: Array) -> Tensor:
        """As that of `Experts`, for the tokens of this rank."""
        order = np.argsort(chosen.reshape(-1), kind="stable")  # of the pairs of a token and an expert
        experts = chosen.reshape(-1)[order]  # so those for rank 0 come first
        begins = first_places(experts // len(self.experts), self.ranks.size)  # where the pairs of each rank begin
        received = self.ranks.all_to_all(np.split(experts, begins[1:-1]))  # the experts that the others want
        sends, receives = np.diff(begins).tolist(), [len(each) for each in received]
        x = exchange(embedding(order // chosen.shape[1], rows), self.ranks, sends, receives)
        y = super()._compute_groups(x, np.concatenate(received)[:, None] - self.first)  # one expert for each row
        return embedding(np.argsort(order), exchange(y, self.ranks, receives, sends))


class NarrowExperts(Experts):
    """Some of the hidden units of every expert."""

    def __init__(self, config: GPTConfig, dtype: Any, group: TensorGroup):
        super().__init__(config, dtype)
        self.ranks = group.ranks
        self.experts = ModuleList(NarrowMLP(config, config.mlp_size, dtype, group) for _ in self.experts)

    def _compute_groups(self, rows: Tensor, chosen: Array) -> Tensor:
        return reduce(super()._compute_groups(copy(rows, self.ranks), chosen), self.ranks)
