"""How evenly a mixture of experts uses them: the share of a layer's tokens that an expert computes.

With k of E experts for each token, every expert has a share of k / E if all are used equally. An expert whose share
stays near 0 learns nothing: then a larger --balance-loss helps (llm/model/experts.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm.model.experts import Routing
from llm.model.gpt import GPT
from llm.parallel.objective import Batch
from llm.parallel.workers import Workers
from minigrad import no_grad
from minigrad.backend import to_device

Shares = tuple[tuple[float, float], ...]  # for each layer with experts: the least and the most used one


def expert_shares(workers: Workers, batches: Sequence[Batch]) -> Shares:
    """The shares of the tokens of these batches; empty if the model has no experts. Workers divide the batches."""
    model = workers.model
    if not any(model.config.has_experts(layer) for layer in range(model.config.layers)):
        return ()

    counts = sum(workers.map_batches(lambda batch: count_tokens(model, batch[0]), batches))
    shares = counts / sum(batch[0].size for batch in batches)  # (layers, E)
    return tuple((float(layer.min()), float(layer.max())) for layer in shares)


def count_tokens(model: GPT, ids: np.ndarray) -> np.ndarray:
    """How many tokens each expert of each layer gets: ids (B, T) -> (layers with experts, E)."""
    routing: list[Routing] = []
    with no_grad():
        model.hidden(to_device(ids, model.device), routing=routing)
    chosen = [to_device(layer.chosen, "cpu").reshape(-1) for layer in routing]
    return np.stack([np.bincount(experts, minlength=model.config.experts or 0) for experts in chosen])


def describe_shares(shares: Shares, even: float) -> str:
    """A sentence on all layers together. `even`: the share if all experts are used equally."""
    least, most = min(least for least, _ in shares), max(most for _, most in shares)
    return f"an expert computes {least:.1%} to {most:.1%} of the tokens of its layer ({even:.1%} if all are even)"
