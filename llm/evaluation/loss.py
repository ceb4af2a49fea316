"""How well a model predicts text: loss, perplexity and bits per byte over fixed batches."""
from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm.model import GPT
from minigrad import no_grad
from minigrad.backend import to_device


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats per token, and what follows from it."""

    loss: float
    bytes_per_token: float

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))      # e^709 is the largest float

    @property
    def bits_per_byte(self) -> float:
        """Comparable between tokenizers, as perplexity is not: loss / ln 2 / bytes per token."""
        return self.loss / math.log(2) / self.bytes_per_token

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}, perplexity {self.perplexity:.2f}, {self.bits_per_byte:.3f} bits per byte"


def evaluate(model: GPT, batches: Iterable[tuple[np.ndarray, np.ndarray]], bytes_per_token: float) -> Evaluation:
    """Evaluate on batches of (inputs, targets), integers (B, T); dropout is off meanwhile."""
    device, training = model.device, model.training
    model.eval()
    total, count = 0.0, 0
    with no_grad():
        for inputs, targets in batches:
            loss: Any = model.loss(to_device(inputs, device), to_device(targets, device), reduction="sum")
            total, count = total + loss.item(), count + targets.size
    model.train(training)
    return Evaluation(total / count, bytes_per_token)
