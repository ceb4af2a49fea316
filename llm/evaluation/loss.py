"""How well a model predicts text: loss, perplexity and bits per byte over fixed batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm.parallel.threads import Workers
from minigrad import no_grad
from minigrad.backend import to_device


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats per token, and what follows from it."""

    loss: float
    bytes_per_token: float

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))  # e^709 is the largest float

    @property
    def bits_per_byte(self) -> float:
        """Comparable between tokenizers, as perplexity is not: loss / ln 2 / bytes per token."""
        return self.loss / math.log(2) / self.bytes_per_token

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}, perplexity {self.perplexity:.2f}, {self.bits_per_byte:.3f} bits per byte"


Batch = tuple[np.ndarray, np.ndarray]  # inputs and targets, integers (B, T)


def evaluate(workers: Workers, batches: Sequence[Batch], bytes_per_token: float) -> Evaluation:
    """The mean loss over all tokens of the batches, which the workers share; dropout is off meanwhile."""
    model, training = workers.model, workers.model.training

    @np.errstate(all="ignore")  # a loss that is infinite or NaN speaks for itself
    def work(rank: int, mine: Sequence[Batch]) -> list[Any]:
        with no_grad():
            return [
                model.loss(*(to_device(ids, model.device) for ids in batch), reduction="sum").data for batch in mine
            ]

    shares = [batches[rank :: len(workers)] for rank in range(len(workers))]
    model.eval()
    try:
        losses = [loss for share in workers.map(work, shares) for loss in share]
    finally:
        model.train(training)
    total = math.fsum(
        to_device(np.stack(losses), "cpu").tolist()
    )  # exact, so in whatever order; a GPU is waited for once
    return Evaluation(total / sum(targets.size for _, targets in batches), bytes_per_token)
