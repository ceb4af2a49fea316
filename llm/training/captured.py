"""`train_step` in a CUDA graph: gradient, clipping and the optimizer as one launch (minigrad/cuda/graph.py).

    step = CapturedStep()
    result = step(workers, optimizer, batch, lr=1e-3)     # as train_step; the first call records, the next ones launch

A step of a small model has hundreds of operations, and each takes the host 10 to 20 microseconds to start. A graph has
their numbers in it, as they were when it was recorded. Three kinds of numbers change from step to step: those of a
batch, the learning rates with the number of the step, and the loss scale of fp16. They are read from arrays.

train.py captures its steps wherever `obstacle` finds no reason against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from llm.parallel.objective import Batch
from llm.parallel.threads import Threads
from llm.parallel.workers import Workers
from llm.runs.options import Options
from llm.training.mixed_precision import MixedPrecision
from llm.training.step import StepResult
from minigrad.backend import Array, array_module, to_device
from minigrad.cuda import cublaslt
from minigrad.cuda.graph import Graph, capture
from minigrad.optim import AdamW, Averaged, Muon, Optimizer, Together, clip_grad_norm


def obstacle(options: Options, workers: Workers) -> str:
    """Why the steps of a run on a GPU cannot be captured, in some words; "" if they can be."""
    training, config = options.training, workers.model.config
    reasons = {
        "--no-cuda-graph says so": not training.cuda_graph,
        "--profile measures each operation": training.profile,
        "dropout cannot be captured": config.dropout > 0,  # its key is a number, and would be the same at each step
        "experts cannot be captured": config.experts is not None,  # Python needs to know how many tokens each gets
        "ALiBi cannot be captured": config.positions == "alibi",  # its distances come from the host
        "adapters are not captured": options.tuning.has_adapters,
        f"--objective {training.objective} is not captured": training.objective != "text",
        "--optimizer schedule-free is not captured": training.optimizer == "schedule-free",
        "several ranks send their gradients between operations": not isinstance(workers, Threads),
        "there is no cublasLt, whose products can be captured": not cublaslt.is_available(),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


class CapturedStep:
    """Called as `train_step`. Only the batch, its shape excepted, and `lr` may differ from call to call.

    The model is on a GPU and has no dropout and no experts; the optimizer is AdamW, Muon, both together, or an average
    of them. All parameters have had the same number of steps. There is one worker.
    """

    def __init__(self) -> None:
        self.graph: Graph[Array] | None = None
        self.batch: Batch = ()  # on the GPU: what the graph reads
        self.numbers: Array = None  # likewise, (1 + parts, 2): the loss scale and 0; for each part a step and its rate

    def __call__(
        self,
        workers: Workers,
        optimizer: Optimizer,
        batch: Batch,
        *,
        lr: float,
        clip: float = 1.0,
        micro_batches: int = 1,
        seed: tuple[int, int] = (0, 0),
        mixed: MixedPrecision | None = None,
    ) -> StepResult:
        """`train_step`, which describes the arguments. Without dropout, `seed` decides nothing."""
        mixed = mixed or MixedPrecision("fp32")
        steps = _steps_taken(optimizer)
        self._write(workers.model.device, batch, _numbers(optimizer, steps + 1, lr, mixed))
        if self.graph is None:
            work = partial(self._work, workers, optimizer, mixed, clip or math.inf, micro_batches)
            with _read_by_the_graph(self.numbers, optimizer, mixed):
                self.graph, result = _captured(work)  # takes the step, too
        else:
            for group in optimizer.groups:
                group.flat.sync_views()  # the graph reads and writes the flat arrays
            self.graph.launch()
            result = self.graph.result
        loss, norm = result.tolist()  # the only wait of a step
        updated = math.isfinite(loss) and math.isfinite(norm)
        optimizer.lr = lr
        for group in optimizer.groups:
            group.steps = [steps + updated] * len(group.steps)
        if updated and isinstance(optimizer, Averaged):
            optimizer.update_averages()
        overflow = mixed.update(loss, norm)
        return StepResult(loss, norm, updated, batch[0].size, overflow, workers.metrics.means())

    def _write(self, device: str, batch: Batch, numbers: np.ndarray) -> None:
        """Put the numbers of this step where the graph reads them."""
        there = tuple(to_device(np.ascontiguousarray(a), device) for a in batch), to_device(numbers, device)
        if self.graph is None:
            self.batch, self.numbers = there
            return
        for old, new in zip((*self.batch, self.numbers), (*there[0], there[1]), strict=True):
            if old.shape != new.shape:
                raise ValueError(f"the captured step has a batch of shape {old.shape}, not {new.shape}")
            old[...] = new

    def _work(
        self, workers: Workers, optimizer: Optimizer, mixed: MixedPrecision, clip: float, micro_batches: int
    ) -> Array:
        """What is recorded: `train_step` with all parts of the batch; returns loss and norm as an array (2,)."""
        optimizer.zero_grad()
        loss = mixed.accumulate(workers, optimizer, self.batch, micro_batches=micro_batches)
        norm = clip_grad_norm(optimizer, clip).data
        numbers = array_module(norm).empty(2, np.float64)
        numbers[0], numbers[1] = loss, norm
        for each, _ in _parts(optimizer):
            each.guard = numbers.sum()  # nothing is updated where this is not finite
        # The average of the weights is updated after the graph: whether it is, and how, is decided by Python.
        (optimizer.optimizers[0] if isinstance(optimizer, Averaged) else optimizer).step()
        return numbers


def _captured(work: Callable[[], Array]) -> tuple[Graph[Array], Array]:
    try:
        return capture(work)
    except RuntimeError as error:  # those of CuPy and CUDA
        raise RuntimeError(f"the training step could not be captured ({error}); train with --no-cuda-graph") from error


def _parts(optimizer: Optimizer, scale: float = 1.0) -> list[tuple[Any, float]]:
    """The optimizers in this one that update parameters themselves, and what the learning rate is multiplied by."""
    if isinstance(optimizer, Together):
        pairs = zip(optimizer.optimizers, optimizer.scales)
        return [part for each, own in pairs for part in _parts(each, scale * own)]
    if type(optimizer) not in (AdamW, Muon):
        raise ValueError(f"a step with {type(optimizer).__name__} cannot be captured, only with AdamW and Muon")
    return [(optimizer, scale)]


def _numbers(optimizer: Optimizer, t: int, lr: float, mixed: MixedPrecision) -> np.ndarray:
    scale = 1.0 if mixed.scale is None else mixed.scale.loss_scale
    return np.array([[scale, 0.0], *([t, lr * own] for _, own in _parts(optimizer))])


def _steps_taken(optimizer: Optimizer) -> int:
    counts = {steps for group in optimizer.groups for steps in group.steps}
    if len(counts) != 1:
        raise ValueError("all parameters must have had the same number of steps before a step can be captured")
    return counts.pop()


@contextmanager
def _read_by_the_graph(numbers: Array, optimizer: Optimizer, mixed: MixedPrecision) -> Iterator[None]:
    """Inside, the optimizers and the loss scale are read from this array on the GPU."""
    parts = [each for each, _ in _parts(optimizer)]
    try:
        mixed.scale_on_device = numbers[0, 0]
        for each, row in zip(parts, numbers[1:]):
            each.t_and_lr = row
        yield
    finally:
        mixed.scale_on_device = None
        for each in parts:
            each.t_and_lr = each.guard = None
