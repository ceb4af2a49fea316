"""The ranks that hold one model together, and what a layer begins and ends with.

Between the layers all ranks know x (B, T, C), and compute norms and dropout alike. With sequence parallelism, each has
only some of the tokens there. That saves memory and costs no more messages, because an all-reduce is a reduce-scatter
and an all-gather. All ranks hold the weights of norms, but use them for other tokens. So their gradients are added up.
"""

from __future__ import annotations

from llm.model.config import GPTConfig
from llm.parallel.communicators.alone import Alone
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.shards import check_split, split_evenly
from llm.parallel.tensor.operators import copy, gather, reduce, scatter
from minigrad.random import Part
from minigrad.tensor import Tensor


class TensorGroup:
    """`ranks`: all ranks of the model. `sharers`: those that hold the same key-value head as this one."""

    def __init__(self, config: GPTConfig, ranks: Communicator):
        check_split(config, ranks.size)
        self.ranks, self.rank, self.size = ranks, ranks.rank, ranks.size
        K = config.key_heads
        self.sharers = Alone() if self.size <= K else ranks.split(self.rank // (self.size // K))
        # With sequence parallelism, how many tokens the ranks have together. Between two layers each has its part.
        self.tokens: int | None = None

    def enter(self, x: Tensor) -> Tensor:
        """The x that a split layer begins with: of all tokens."""
        return copy(x, self.ranks) if self.tokens is None else gather(x, self.ranks, 1, self.tokens)

    def leave(self, x: Tensor) -> Tensor:
        """What a split layer ends with: the sum over the ranks."""
        return reduce(x, self.ranks) if self.tokens is None else scatter(x, self.ranks, 1)

    def place(self, axis: int, total: int) -> Part:
        """Which part of an axis this rank has, for the masks of dropout."""
        part = split_evenly(total, self.rank, self.size)
        return Part(axis, part.start, part.stop, total)

    def share(self, weight: Tensor) -> Tensor:
        """A parameter between the layers, where a rank may have some of the tokens only."""
        return weight if self.tokens is None else copy(weight, self.ranks)
