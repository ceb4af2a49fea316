"""The objective of pre-training. What an objective is: llm/parallel/objective.py. Those of tuning are like this one."""

from __future__ import annotations

from llm.model.gpt import GPT
from llm.parallel.objective import Batch
from minigrad.tensor import Tensor


class NextToken:
    """Cross-entropy, in nats, of each next token. A batch is (inputs, targets), integers (B, T); all targets count."""

    def loss_sum(self, model: GPT, batch: Batch) -> Tensor:
        inputs, targets = batch
        return model.loss(inputs, targets, reduction="sum")

    def count(self, batch: Batch) -> float:
        _, targets = batch
        return targets.size
