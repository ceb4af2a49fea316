"""Training with --precision bf16 or fp16: the policy of minigrad/precision.py in a step, and the loss scale of fp16.

float16 has no numbers below 6e-8, and gradients are often smaller. So the loss is multiplied by a scale, a power of
two, and with it every gradient of the backward pass; the sums, which are float32, are divided by it again. The largest
float16 is 65,504: with too large a scale a gradient overflows to infinity. Then the update is skipped and the scale
halved; after 2,000 good updates it is doubled. As torch.amp.GradScaler (Micikevicius et al. 2018, arXiv 1710.03740).

The norm of the whole gradient, which train_step computes in any case, shows an overflow in the rows of any worker. It
is the same on all ranks, and so is the scale. What ranks send each other is float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from llm.model.gpt import GPT
from llm.parallel.metrics import Metrics
from llm.parallel.objective import Batch, Objective
from llm.parallel.workers import Workers
from llm.runs.errors import RunError
from minigrad.backend import Array
from minigrad.optim import Optimizer
from minigrad.precision import Name, Precision, cast_weights, keep_halves, precision_named, products_in
from minigrad.tensor import Tensor

FIRST_SCALE, LARGEST_SCALE = 2.0**16, 2.0**64  # so that a scaled loss is far from the largest float32, 2^128
GROWTH_STEPS = 2000  # good updates in a row after which the scale is doubled
SCALE, GOOD_STEPS = "loss_scale", "good_steps"  # the names in state.json


@dataclass(frozen=True)
class InPrecision:
    """An objective whose matrix products are computed in another precision, in every thread and process."""

    objective: Objective
    precision: Precision

    def loss_sum(self, model: GPT, batch: Batch) -> Tensor | tuple[Tensor, Metrics]:
        with products_in(self.precision):
            return self.objective.loss_sum(model, batch)

    def count(self, batch: Batch) -> float:
        return self.objective.count(batch)


@dataclass
class LossScale:
    """The scale, and for how many updates in a row it did not overflow."""

    loss_scale: float = FIRST_SCALE
    good_steps: int = 0

    def update(self, *, overflow: bool) -> bool:
        """After each update. Returns whether a smaller scale may help."""
        self.good_steps = 0 if overflow else self.good_steps + 1
        if overflow and self.loss_scale > 1:
            self.loss_scale /= 2
            return True
        if self.good_steps == GROWTH_STEPS:
            self.loss_scale, self.good_steps = min(2 * self.loss_scale, LARGEST_SCALE), 0
        return False


class MixedPrecision:
    """How a step computes its gradient. `scale`: None without a loss scale."""

    scale_on_device: Array | None = None  # float64 (): what a captured step (captured.py) reads instead of `scale`

    def __init__(self, name: Name):
        """Raises RuntimeError if a package is missing."""
        self.precision = precision_named(name)
        self.scale = LossScale() if name == "fp16" else None

    def objective(self, objective: Objective, model: GPT | None = None) -> Objective:
        """The objective of the workers. Evaluation and samples do not use it: they are in float32.

        `model`: its frozen weights, if any, keep their half copies from step to step.
        """
        if self.precision.dtype is None:
            return objective
        if model is not None:
            keep_halves(model.parameters())
        return InPrecision(objective, self.precision)

    def accumulate(self, workers: Workers, optimizer: Optimizer, batch: Batch, **options: Any) -> float:
        """As `Workers.accumulate`, with one cast of the weights before it."""
        if self.precision.dtype is None:
            return workers.accumulate(batch, **options)
        flats = [group.flat for group in optimizer.groups]
        with cast_weights(flats, self.precision):
            if self.scale is None:
                return workers.accumulate(batch, **options)
            there = self.scale_on_device
            scale = self.scale.loss_scale if there is None else there.astype(np.float32)
            return self._scaled(scale, workers, optimizer, batch, **options)

    def _scaled(self, scale: Any, workers: Workers, optimizer: Optimizer, batch: Batch, **options: Any) -> float:
        """A loss that is divided by less is multiplied by the scale. Scales are powers of two: no digit is lost."""
        loss = workers.accumulate(batch, divisor=workers.objective.count(batch) / scale, **options)
        for gradient in optimizer.gradients():
            gradient *= 1 / scale
        return loss / scale

    def update(self, loss: float, norm: float) -> bool:
        """After the gradient. Returns whether it overflowed only because the scale was too large."""
        if self.scale is None or not math.isfinite(loss):
            return False
        return self.scale.update(overflow=not math.isfinite(norm))

    # --- in state.json ------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        return {} if self.scale is None else asdict(self.scale)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the state of a checkpoint. One of another precision has no scale: it begins with the first."""
        if self.scale is None or SCALE not in state:
            return
        scale, good_steps = state[SCALE], state.get(GOOD_STEPS)
        if not (isinstance(scale, float) and 1 <= scale <= LARGEST_SCALE and math.frexp(scale)[0] == 0.5):
            raise RunError(f"the checkpoint has {SCALE}={scale!r}; a power of two of at least 1 is expected")
        if type(good_steps) is not int or not 0 <= good_steps < GROWTH_STEPS:
            raise RunError(
                f"the checkpoint has {GOOD_STEPS}={good_steps!r}; a count below {GROWTH_STEPS:,} is expected"
            )
        self.scale = LossScale(scale, good_steps)
