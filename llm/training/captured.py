"""A training step in a CUDA graph: forward, backward, clipping and AdamW in one launch (minigrad/cuda/graph.py).

    step = CapturedStep(model, optimizer, (ids, targets), lr=1e-3, clip=1.0)      # one step, and recorded
    loss, norm = step((ids, targets), lr=9e-4)                                    # further steps

The step is that of step.py with one part of a batch. What a graph cannot have: dropout (its key is a number, and would
be the same at each step), batches of another shape, and experts (Python needs to know how many tokens each gets).
"""

from __future__ import annotations

import math

import numpy as np

from llm.model.gpt import GPT
from llm.parallel.objective import Batch
from minigrad.backend import Array, array_module, to_device
from minigrad.cuda.graph import capture
from minigrad.optim import AdamW, clip_grad_norm


class CapturedStep:
    """Steps of `model` on a GPU by `optimizer`, the first of which is taken here; `losses` has its loss and norm."""

    def __init__(self, model: GPT, optimizer: AdamW, batch: Batch, *, lr: float, clip: float = 1.0):
        if model.device == "cpu" or model.config.dropout or model.config.experts:
            raise ValueError("a step can be captured on a GPU only, and without dropout and experts")
        self.model, self.optimizer, self.clip = model, optimizer, clip or math.inf
        self.batch = tuple(to_device(np.ascontiguousarray(a), model.device) for a in batch)
        self.t_and_lr = array_module(self.batch[0]).empty(2, np.float64)
        self._steps = optimizer.groups[0].steps[0]  # how many steps have been taken
        if any(steps != self._steps for group in optimizer.groups for steps in group.steps):
            raise ValueError("all parameters must have had the same number of steps before a step can be captured")
        optimizer.t_and_lr = self.t_and_lr
        try:
            self._set_step(lr)
            self.graph, first = capture(self._work)
        finally:
            optimizer.t_and_lr = optimizer.guard = None
        self.losses = self._finish(first)

    def __call__(self, batch: Batch, lr: float) -> tuple[float, float]:
        """The loss and the norm of the gradient before the update, which is taken if both are finite."""
        for there, new in zip(self.batch, batch, strict=True):
            if there.shape != new.shape:
                raise ValueError(f"the captured step has batches of shape {there.shape}, not {new.shape}")
            there[...] = to_device(new, self.model.device)
        self._set_step(lr)
        self.graph.launch()
        return self._finish(self.graph.result)

    def _set_step(self, lr: float) -> None:
        self.t_and_lr[0], self.t_and_lr[1] = self._steps + 1, lr

    def _work(self) -> Array:
        """One step; returns its loss and norm as an array (2,)."""
        self.optimizer.zero_grad()
        loss = self.model.loss(*self.batch)
        loss.backward()
        norm = clip_grad_norm(self.optimizer, self.clip)
        numbers = array_module(loss.data).empty(2, np.float64)
        numbers[0], numbers[1] = loss.data, norm.data
        self.optimizer.guard = numbers.sum()
        self.optimizer.step()
        return numbers

    def _finish(self, numbers: Array) -> tuple[float, float]:
        """Wait for the loss and the norm, and count the step if it was taken."""
        loss, norm = numbers.tolist()
        self._steps += math.isfinite(loss) and math.isfinite(norm)
        for group in self.optimizer.groups:
            group.steps = [self._steps] * len(group.steps)
        return loss, norm
