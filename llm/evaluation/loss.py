"""How well a model predicts: the mean loss over fixed batches, and for text also perplexity and bits per byte."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from llm.evaluation.experts import Shares, expert_shares
from llm.model.no_dropout import no_dropout
from llm.parallel.metrics import Metrics, MetricSums
from llm.parallel.objective import Batch, count_rows, loss_and_metrics, split_rows
from llm.parallel.workers import Workers
from minigrad import no_grad
from minigrad.backend import to_device

# Tokens that a worker computes at a time. On a CPU, more would take more memory and no less time.
PART_TOKENS = {"cpu": 512, "cuda": 1 << 14}


@dataclass(frozen=True)
class Validation:
    """What a model is evaluated on, the same every time."""

    batches: Sequence[Batch]
    bytes_per_token: float | None = None  # mean length of a token in UTF-8; None if the loss is not in nats per token

    def evaluate(self, workers: Workers) -> Evaluation:
        """The mean loss of the model of `workers`, see `evaluate`."""
        return evaluate(workers, self)


@dataclass(frozen=True)
class Evaluation:
    """A mean loss. If it is in nats per token, perplexity and bits per byte can be computed from it."""

    loss: float
    bytes_per_token: float | None = None
    expert_shares: Shares = ()  # of the tokens of the first batch; empty if the model has no experts
    metrics: Mapping[str, float] = field(default_factory=dict)  # means of what the objective reports beside the loss
    tasks: Mapping[str, float] = field(default_factory=dict)  # the main measure of each task that was solved

    @property
    def perplexity(self) -> float:
        """e^loss: the model is as uncertain as if it had to choose between this many equally likely tokens."""
        return perplexity_of(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """Bits for each byte of text. Models with different tokenizers can be compared by it, but not by their loss."""
        if self.bytes_per_token is None:
            raise ValueError("bits per byte need to know how many bytes a token has; set bytes_per_token")
        return self.loss / math.log(2) / self.bytes_per_token

    def __str__(self) -> str:
        more = "".join(f", {name.replace('_', ' ')} {value:.4g}" for name, value in self.metrics.items())
        more += "".join(f", {name} {value:.3f}" for name, value in self.tasks.items())
        if self.bytes_per_token is None:
            return f"loss {self.loss:.4f}{more}"
        return f"loss {self.loss:.4f}, perplexity {self.perplexity:.2f}, {self.bits_per_byte:.3f} bits per byte{more}"


def perplexity_of(loss: float) -> float:
    """e^loss, for a loss in nats; e^700 for larger ones, because e^709 is the largest float."""
    return math.exp(min(loss, 700.0))


def evaluate(workers: Workers, validation: Validation) -> Evaluation:
    """The mean loss over all validation batches, without dropout. Each worker computes some of the rows."""
    model, objective = workers.model, workers.objective
    # Each worker has one part in memory. The parts do not depend on the number of workers, and neither do their losses.
    batches = [part for batch in validation.batches for part in in_short_parts(batch, model.device)]
    with no_dropout(model):
        losses, metrics = losses_of(workers, batches)
        shares = expert_shares(workers, in_short_parts(validation.batches[0], model.device))
    # One copy to the CPU for all losses, because each copy waits for the GPU. `fsum` rounds only once, at the end. So
    # the order of the losses, which depends on the number of workers, does not change the result.
    total = math.fsum(to_device(np.stack(losses), "cpu").tolist())
    count = sum(objective.count(batch) for batch in batches)
    return Evaluation(total / (count or 1.0), validation.bytes_per_token, shares, metrics)


def losses_of(workers: Workers, batches: Sequence[Batch]) -> tuple[list[np.ndarray], Mapping[str, float]]:
    """The losses of all batches, still on the device; and the means of what the objective reports beside them."""
    model, objective = workers.model, workers.objective

    @np.errstate(all="ignore")  # infinity and NaN can be seen in the loss
    def loss_of(batch: Batch) -> tuple[np.ndarray, Metrics]:
        with no_grad():
            loss, metrics = loss_and_metrics(objective, model, tuple(to_device(x, model.device) for x in batch))
            return loss.data, metrics

    results = workers.map_batches(loss_of, batches)
    sums = MetricSums()
    for _, metrics in results:
        sums.add(metrics)
    return [loss for loss, _ in results], sums.means()


def in_short_parts(batch: Batch, device: str) -> list[Batch]:
    """The rows of a batch in parts of at most PART_TOKENS, or of a single row."""
    rows = count_rows(batch)
    rows_of_a_part = max(1, part_tokens(device) * rows // batch[0].size)
    return split_rows(batch, -(-rows // rows_of_a_part))  # rounded up


def part_tokens(device: str) -> int:
    return PART_TOKENS["cpu" if device == "cpu" else "cuda"]
