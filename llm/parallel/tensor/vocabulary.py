"""A vocabulary of which each rank has some tokens: their embeddings, their logits and their part of the softmax.

Of the logits z of a row, rank r has z_r. The loss needs three sums over the vocabulary, and one maximum:

    total = Σ exp(z - max)      z_t      Σ z          loss = log total - ..., as in minigrad/fused/cross_entropy.py

Each rank adds up its own logits, and the ranks exchange four numbers for each row: the logits themselves, V for each
row, are never sent. The gradient of z_r needs nothing more. V need not be a multiple of the number of ranks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.parallel.communicators.communicator import Communicator
from llm.parallel.shards import split_evenly
from llm.parallel.tensor.operators import reduce
from minigrad.backend import Array, array_module, at_least_float32, to_device
from minigrad.fused.embedding import embedding
from minigrad.fused.loss_options import LossOptions
from minigrad.nn import Embedding
from minigrad.tensor import Tensor, as_tensor


class SplitEmbedding(Embedding):
    """The rows of this rank, of a table with V rows: integers (...) -> (..., C)."""

    def __init__(self, V: int, C: int, dtype: Any, ranks: Communicator):
        self.vocab_size, self.rows, self.ranks = V, split_evenly(V, ranks.rank, ranks.size), ranks
        super().__init__(len(self.rows), C, dtype=dtype, init=False)

    def forward(self, ids: Any) -> Tensor:
        ids = to_device(as_tensor(ids).data, self.weight.device)
        check_ids(ids, self.vocab_size)
        places, is_own = own_places(ids, self.rows)
        # Each token has a row on one rank, and zeros on the others.
        return reduce(embedding(places, self.weight) * Tensor(is_own[..., None]), self.ranks)


def check_ids(ids: Array, V: int) -> None:
    if ids.size and array_module(ids) is np and not 0 <= ids.min() <= ids.max() < V:
        wrong = ids[(ids < 0) | (ids >= V)].flat[0]
        raise IndexError(f"id {wrong} is outside a vocabulary of {V}, whose ids go from 0 to {V - 1}")


def own_places(ids: Array, rows: range) -> tuple[Array, Array]:
    """The row of each id in the table of a rank, and whether it has one. Without one, the row is 0."""
    ids = ids.astype(np.intp)
    is_own = (ids >= rows.start) & (ids < rows.stop)
    return np.where(is_own, ids - rows.start, 0), is_own


class SplitSoftmax:
    """`softmax_loss` (minigrad/fused/cross_entropy.py) for logits z (N, V_r), of a vocabulary of V tokens."""

    def __init__(self, V: int, ranks: Communicator):
        self.vocab_size, self.rows, self.ranks = V, split_evenly(V, ranks.rank, ranks.size), ranks

    def __call__(self, z: Array, targets: Array, options: LossOptions, row_weights: Array | None) -> Array:
        """The losses (N,), the same on all ranks. z is overwritten, with `row_weights` by the gradient."""
        s, w, wide = options.label_smoothing, options.z_loss, at_least_float32(z)
        places, is_own = own_places(targets, self.rows)
        every = array_module(z).arange(len(z))
        maximum = self.ranks.all_reduce(wide.max(axis=-1), "max")  # (N,)
        wide = np.subtract(wide, maximum[:, None], out=wide)
        own_targets = np.where(is_own, wide[every, places], 0)
        own_sum = wide.sum(axis=-1) if s else np.zeros_like(maximum)
        np.exp(wide, out=wide)
        sums = np.stack([wide.sum(axis=-1), own_targets, own_sum])  # (3, N)
        total, of_target, of_all = self.ranks.all_reduce(sums)
        lse = np.log(total) + maximum
        if row_weights is not None:
            wide *= (row_weights * (1 + 2 * w * lse) / total)[:, None]
            if s:
                wide -= (s / self.vocab_size) * row_weights[:, None]
            wide[every, places] -= np.where(is_own, (1 - s) * row_weights, 0)
        if wide.dtype != z.dtype:
            z[...] = wide
        return np.log(total) - (1 - s) * of_target - (s / self.vocab_size) * of_all + w * lse * lse
