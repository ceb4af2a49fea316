"""LoRA: a frozen weight W is used as W + s B A, where A and B have few rows and columns, and only they are trained.

    y = W x + s B (A dropout(x))       A (r, in), B (out, r), scale s = alpha / r, or alpha / sqrt(r) (rsLoRA)

B is 0 at first, so that training begins with the model as it was. Hu et al. 2021 (arXiv 2106.09685). The scale of
rsLoRA lets larger ranks learn as fast (Kalajdzievski 2023, arXiv 2312.03732). DoRA trains the lengths m of the rows
besides: W' = m (W + s B A) / |W + s B A|, where the norm of each row counts as a constant for gradients (Liu et al.
2024, arXiv 2402.09353).

One matrix of ours may hold several of a file, such as queries, keys and values. Each of these has an A and a B of its
own, so a layer has several updates, each for some of its rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from llm.model.adapters.attach import Switch, become
from minigrad.backend import Array, array_module
from minigrad.fused.activation import ACTIVATIONS
from minigrad.fused.dropout import dropout
from minigrad.fused.embedding import embedding
from minigrad.fused.linear import linear
from minigrad.fused.low_rank import LowRank, linear_low_rank, low_rank_reference
from minigrad.nn import Linear, Module, ModuleList, Parameter
from minigrad.ops import concatenate
from minigrad.tensor import Tensor


def scale_of(rank: int, alpha: float, *, rslora: bool) -> float:
    """What an update is multiplied by."""
    return alpha / (math.sqrt(rank) if rslora else rank)


def first_factors(rng: np.random.Generator, rank: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A and B at first, for rows (out, in) of a weight. A is drawn as in PEFT and torch.nn.Linear, and B is 0."""
    rows, width = shape
    bound = width**-0.5
    return rng.uniform(-bound, bound, (rank, width)), np.zeros((rows, rank))


def row_lengths(weight: Array) -> Array:
    """The length of each row of a matrix: (out,)."""
    return array_module(weight).sqrt((weight * weight).sum(axis=1))


def divisors(weight: Array) -> Array:
    """As `row_lengths`, with 1 for a row of zeros, such as that of a padding token: it has no direction and stays 0."""
    lengths = row_lengths(weight)
    return array_module(weight).where(lengths == 0, lengths.dtype.type(1), lengths)


class Update(Module):
    """The update of some rows of one weight. `name`: of these rows' matrix in files of transformers.

    `magnitude`: for DoRA, the lengths of the rows at first.
    """

    def __init__(
        self,
        name: str,
        rows: slice,
        scale: float,
        factors: tuple[np.ndarray, np.ndarray],
        dtype: Any,
        magnitude: np.ndarray | None = None,
    ):
        self.name, self.rows, self.scale = name, rows, scale
        self.A, self.B = (Parameter(factor, dtype) for factor in factors)
        self.magnitude = None if magnitude is None else Parameter(magnitude, dtype)

    @property
    def low_rank(self) -> LowRank:
        return LowRank(self.A, self.B, self.rows, self.scale)

    @property
    def delta(self) -> Array:
        """What is added to these rows of the weight: (rows, in)."""
        return self.B.data @ self.A.data * self.scale

    def extra_repr(self) -> str:
        return f"rows {self.rows.start} to {self.rows.stop}, rank {self.A.shape[0]}"


class Updates(ModuleList):
    """Updates of one layer, in the order of their rows."""

    def __iter__(self) -> Iterator[Update]:
        return cast("Iterator[Update]", super().__iter__())


# The classes below are joined with that of a layer (attach.py): Linear, or another one that is called in the same way.
if TYPE_CHECKING:
    from minigrad.nn import Embedding as EmbeddingLayer
    from minigrad.nn import Linear as LinearLayer
else:
    LinearLayer = EmbeddingLayer = Module


# --- linear layers ----------------------------------------------------------------------------------------------------


class LoRA(LinearLayer):
    """A linear layer with updates: (..., in) -> (..., out)."""

    updates: Updates
    switch: Switch
    dropout_rate: float

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        if not self.switch.on:
            return super().forward(x, activation)
        dropped = dropout(x, self.dropout_rate) if self.training and self.dropout_rate else None
        updates = [update.low_rank for update in self.updates]
        if isinstance(self, Linear):
            return linear_low_rank(x, self.weight, self.bias, updates, dropped=dropped, activation=activation)
        y = super().forward(x)  # a stored matrix, which is no parameter
        y = y + low_rank_reference(x if dropped is None else dropped, updates, y.shape[-1])
        return y if activation is None else ACTIVATIONS[activation].function(y)

    def forward_array(self, x: Array) -> Array:
        """`forward` for finite x (N, in), without dropout."""
        y = super().forward_array(x)
        if self.switch.on:
            for update in self.updates:
                y[:, update.rows] += x @ update.A.data.T @ (update.B.data.T * update.scale)
        return y


class DoRA(LoRA):
    """A linear layer with updates that have trained lengths of rows too."""

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        if not self.switch.on:
            return super().forward(x, activation)
        ratio = self._ratios()  # (out,)
        low_rank = [update.low_rank for update in self.updates]
        y = linear(x, self.weight)  # (..., out)
        if self.training and self.dropout_rate:
            # As in PEFT: the weight itself reads x without dropout, and what is added to it reads x with dropout.
            dropped = dropout(x, self.dropout_rate)
            y = (
                y
                + (ratio - 1) * linear(dropped, self.weight)
                + ratio * low_rank_reference(dropped, low_rank, len(ratio), linear)
            )
        else:
            y = ratio * (y + low_rank_reference(x, low_rank, len(ratio), linear))
        y = y if self.bias is None else y + self.bias
        return y if activation is None else ACTIVATIONS[activation].function(y)

    def forward_array(self, x: Array) -> Array:
        return self.forward(Tensor(x)).data if self.switch.on else super().forward_array(x)

    def _ratios(self) -> Tensor:
        """m / |W + s B A| for each row, and 1 for rows without an update: (out,)."""
        weight = self.weight.data
        xp, parts, end = array_module(weight), [], 0
        for update in self.updates:
            parts.append(Tensor(xp.ones(update.rows.start - end, weight.dtype)))
            # The norm is an array, not a Tensor: gradients take it for a constant.
            norms = divisors(weight[update.rows] + update.delta)  # (rows,)
            parts.append(update.magnitude / Tensor(norms))
            end = update.rows.stop
        return concatenate([*parts, Tensor(xp.ones(len(weight) - end, weight.dtype))])


def add_updates(layer: Module, updates: Sequence[Update], dropout_rate: float, switch: Switch) -> None:
    """Let a linear layer have updates, each for other rows."""
    first = {update.rows.start: update for update in updates}
    mixin = DoRA if any(update.magnitude is not None for update in updates) else LoRA
    become(layer, mixin, updates=Updates(first[row] for row in sorted(first)), dropout_rate=dropout_rate, switch=switch)


# --- the embedding ----------------------------------------------------------------------------------------------------


class LoRAEmbed(EmbeddingLayer):
    """An embedding whose table is updated: integers (...) -> (..., C).

    A (V, r) is a table of its own, and B (C, r) turns its rows into vectors: W + s A Bᵀ. As in PEFT, A is 0 at first.
    A tied head goes on using W.
    """

    update: Update
    switch: Switch

    def forward(self, ids: Any) -> Tensor:
        y = super().forward(ids)
        if not self.switch.on:
            return y
        return y + linear(embedding(ids, self.update.A), self.update.B) * self.update.scale
