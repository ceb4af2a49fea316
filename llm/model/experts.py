"""A mixture of experts: several MLPs, of which each token uses a few (Shazeer et al. 2017, arXiv 1701.06538).

A router, a linear layer, gives each expert a probability. A token goes to the k experts with the largest ones, and gets
the sum of their outputs, weighted by these probabilities. So a layer can have many parameters and yet cost little for
each token. As in Mixtral (Jiang et al. 2024, arXiv 2401.04088), the weights of the chosen can be scaled to the sum 1.

Without pressure, a router uses few experts and lets the others wither. The balancing loss (Fedus et al. 2021, Switch
Transformer, arXiv 2101.03961) is small if all are used equally. Over all tokens of all layers, let f_e be the part of
the tokens that expert e gets, and P_e its mean probability:

    balance = E Σ_e f_e P_e        E experts; Σ f_e = k, Σ P_e = 1

It is k if all experts are used equally, and up to E if one of them gets everything. This is the definition of
transformers; the paper and others divide by k. Only P_e has a gradient: which experts are chosen is not differentiable.

Over all layers together, each layer may use a few experts only, as long as other layers use others. The loss does not
see that. So with `balance_by_layer` it is the mean of the losses of single layers, as in the paper. f and P are of one
call of `GPT.loss`: with micro-batches or several workers, each part of a batch is balanced by itself, and the loss is
the mean over the parts, which is near that of the whole batch, but not equal to it.

Sizes (B, T, C ...): config.py. E experts, k experts for each token, N = B T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from llm.model.config import GPTConfig
from llm.model.mlp import MLP
from minigrad.backend import Array, array_module, to_device
from minigrad.fused.embedding import embedding
from minigrad.modes import mode
from minigrad.nn import Linear, Module, ModuleList
from minigrad.ops import concatenate, softmax, split, stack, take_along_axis
from minigrad.tensor import Tensor


class Routing(NamedTuple):
    """What the router of one layer decided."""

    probabilities: Tensor  # (N, E), the softmax of its scores
    chosen: Array  # (N, k), integers: the experts of each token


class Experts(Module):
    """x (B, T, C) -> (B, T, C)."""

    def __init__(self, config: GPTConfig, dtype: Any = np.float32):
        assert config.experts is not None, "a layer without experts has an MLP"
        self.config = config
        self.router = Linear(config.dim, config.experts, bias=False, dtype=dtype, init=False)
        self.experts = ModuleList(MLP(config, dtype=dtype) for _ in range(config.experts))

    def forward(self, x: Tensor, routing: list[Routing] | None = None) -> Tensor:
        """`routing`: a list to which the decisions of the router are added."""
        k = self.config.experts_per_token
        rows = x.reshape(-1, x.shape[-1])  # (N, C)
        probabilities = softmax(self.router(rows), axis=-1)  # (N, E)
        chosen = largest(probabilities.data, k)  # (N, k)
        if routing is not None:
            routing.append(Routing(probabilities, chosen))
        weights = take_along_axis(probabilities, chosen, axis=-1)  # (N, k)
        if self.config.normalize_experts:
            weights = weights / weights.sum(axis=-1, keepdims=True)
        return self._weighted_sum(rows, chosen, weights).reshape(x.shape)  # (B, T, C)

    def _weighted_sum(self, rows: Tensor, chosen: Array, weights: Tensor) -> Tensor:
        """What the experts of each token give: rows (N, C), chosen and weights (N, k) -> (N, C)."""
        y = self._compute_groups(rows, chosen).reshape(*chosen.shape, rows.shape[1])  # (N, k, C)
        return (y * weights.expand_dims(2)).sum(axis=1)

    def _compute_groups(self, rows: Tensor, chosen: Array) -> Tensor:
        """The output of each token's experts: rows (N, C), chosen (N, k) -> (N k, C), first all k of token 0."""
        # The N k pairs of a token and an expert are sorted by expert. Then each expert has its tokens side by side, as
        # one matrix. `embedding` is a fast way to read rows by number, forwards and backwards.
        xp, k = array_module(chosen), chosen.shape[1]
        order = xp.argsort(chosen.reshape(-1), kind="stable")  # (N * k,)
        begins = to_device(first_places(chosen.reshape(-1)[order], len(self.experts)), "cpu")  # (E + 1,)
        groups = split(embedding(order // k, rows), begins[1:-1].tolist())  # E matrices, together N * k rows
        # For gradients, an expert without tokens computes 0 rows: its parameters get a gradient of zeros, so the graphs
        # of all workers are alike. Without gradients it is left out. (A hook looks at what would be in the graph.)
        with_all = mode.recording or mode.op_hook is not None
        outputs = [expert(group) for expert, group in zip(self.experts, groups) if with_all or group.shape[0]]
        sorted_outputs = concatenate(outputs) if outputs else rows  # there may be no tokens at all
        return embedding(xp.argsort(order), sorted_outputs)  # (N * k, C)


def largest(probabilities: Array, k: int) -> Array:
    """The numbers of the k largest in each row: (N, E) -> (N, k). Of equal ones, the first."""
    return array_module(probabilities).argsort(-probabilities, axis=-1, kind="stable")[:, :k]


def first_places(experts: Array, E: int) -> Array:
    """Where the pairs of each expert begin in a sorted array of their experts, and at last its length: (E + 1,)."""
    # `bincount` would say how many each expert has, but on a GPU it waits for all that is still being computed.
    xp = array_module(experts)
    return xp.searchsorted(experts, xp.arange(E + 1))


def balance(routing: Sequence[Routing], mask: Array | None = None, *, by_layer: bool = False) -> Tensor:
    """The balancing loss over all layers together, a scalar; or, `by_layer`, the mean of those of the layers.

    `mask`: (N,) booleans, False for padding, which does not count.
    """
    if by_layer:
        return stack([balance([layer], mask) for layer in routing]).mean()
    layers = len(routing)  # those with experts
    probabilities = concatenate([layer.probabilities for layer in routing])  # (layers * N, E)
    chosen = np.concatenate([layer.chosen for layer in routing])  # (layers * N, k)
    if mask is not None:
        real = np.concatenate([mask] * layers)  # (layers * N,)
        probabilities, chosen = probabilities[real], chosen[real]
    tokens, E = max(1, probabilities.shape[0]), probabilities.shape[1]  # there may be only padding
    counts = np.diff(first_places(np.sort(chosen, axis=None), E))  # (E,)
    share = counts.astype(probabilities.dtype) / tokens  # (E,)
    return (probabilities.sum(axis=0) * Tensor(share)).sum() * (E / tokens)
