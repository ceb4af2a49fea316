"""What a run writes down for its report (llm/report), beside its metrics. Training is the same with it, bit for bit.

    samples.jsonl    at each sample        step, text
    layers.jsonl     at each evaluation    step; for each layer the norms of its weights, of their gradient and of the
                                           update; peak_memory: bytes of this process, so far

Measuring costs about as much as reading all weights and gradients once, and is done only at evaluations.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from llm.runs.run import LAYERS, SAMPLES, Run
from llm.training.step import StepResult
from llm.training.trainer import Trainer
from minigrad.backend import Array
from minigrad.nn.module import Parameter

MOST_ROWS = 256  # the update of a larger matrix is estimated from so many rows: a copy of all would take much memory
LONGEST_SAMPLE = 4000  # characters
GROUPS = ("blocks", "encoder", "decoder")  # lists of layers: blocks.0.mlp.up.weight is in layer "blocks.0"


class Records:
    """The updates of a trainer, and what is written down about them.

    Of several ranks, none has all weights and all gradients: nothing but samples is written then.
    """

    def __init__(self, trainer: Trainer, run: Run):
        self.trainer = trainer
        self.samples, self.layers = (run.open_lines(name, trainer.state.step) for name in (SAMPLES, LAYERS))
        self.is_alone = len(trainer.workers.gather(0)) == 1

    def update(self) -> StepResult:
        """`Trainer.update`. If the model is evaluated after it, the norms are written down."""
        trainer, options, step = self.trainer, self.trainer.options, self.trainer.state.step + 1
        if not self.is_alone or step % options.eval_every and step < options.steps:
            return trainer.update()
        parameters = dict(trainer.model.named_trainable())
        before = {name: some_rows(p.data).copy() for name, p in parameters.items()}
        result = trainer.update()
        norms = measure(parameters, before, result.grad_norm)
        self.layers.write({"step": step, "norms": norms, "peak_memory": peak_memory()})
        return result

    def add_sample(self, step: int, text: str) -> None:
        self.samples.write({"step": step, "text": text[:LONGEST_SAMPLE]})

    def flush(self) -> None:
        self.samples.flush()
        self.layers.flush()

    def close(self) -> None:
        self.samples.close()
        self.layers.close()


@np.errstate(all="ignore")  # a model that diverges: its norms are not finite, and become null
def measure(
    parameters: Mapping[str, Parameter], before: Mapping[str, Array], grad_norm: float
) -> dict[str, dict[str, float | None]]:
    """For each layer, the norms of its weights, of their gradient before clipping, and of their update.

    `before`: `some_rows` of each parameter before the update. `grad_norm`: of the gradient of all, before clipping.
    """
    squares: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(("weight", "gradient", "update"), 0.0))
    for name, p in parameters.items():
        found, rows = squares[layer_of(name)], some_rows(p.data)
        found["weight"] += square_sum(p.data)
        found["gradient"] += 0.0 if p.grad is None else square_sum(p.grad.data)
        found["update"] += square_sum(rows - before[name]) * p.data.size / max(rows.size, 1)
    clipped = math.sqrt(sum(found["gradient"] for found in squares.values()))
    scale = grad_norm / clipped if clipped else 1.0  # clipping has scaled all of it by one factor
    norms = {layer: {kind: math.sqrt(square) for kind, square in of.items()} for layer, of in squares.items()}
    for of_layer in norms.values():
        of_layer["gradient"] *= scale
    return {layer: {kind: rounded(norm) for kind, norm in of.items()} for layer, of in norms.items()}


def layer_of(name: str) -> str:
    """blocks.0.mlp.up.weight -> blocks.0, embedding.weight -> embedding"""
    first, *others = name.removeprefix("model.").split(".")
    return f"{first}.{others[0]}" if first in GROUPS else first


def some_rows(array: Array) -> Array:
    """The array, or rows of it that lie evenly; a view."""
    return array[:: max(1, -(-len(array) // MOST_ROWS))] if array.ndim > 1 else array


def square_sum(x: Array) -> float:
    flat = x.reshape(-1)
    return float(flat @ flat)


def rounded(norm: float) -> float | None:
    """Six digits; None if it is not finite, because JSON has no NaN."""
    return float(f"{norm:.6g}") if math.isfinite(norm) else None


def peak_memory() -> int | None:
    """The most bytes that this process has had in memory so far. None on Windows, where Python cannot tell."""
    try:
        import resource
    except ImportError:
        return None
    peak: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)
