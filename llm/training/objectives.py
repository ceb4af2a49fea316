"""The objective of train.py: predict the next token. llm/parallel/objective.py explains what an objective is."""

from __future__ import annotations

from llm.model.gpt import GPT
from llm.parallel.objective import Batch
from minigrad.tensor import Tensor


class NextToken:
    """Cross-entropy, in nats, of each next token. A batch is (inputs, targets), integers (B, T); all targets count."""

    def loss_sum(self, model: GPT, batch: Batch) -> Tensor:
        inputs, targets = batch  # (B, T) each
        return model.loss(inputs, targets, reduction="sum", with_balance=model.training)

    def count(self, batch: Batch) -> float:
        _, targets = batch
        return targets.size
