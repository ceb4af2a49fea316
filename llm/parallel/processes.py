"""Workers that are processes, for small models.

A step of a small model consists of many short operations. Between them, threads wait for the interpreter lock (GIL):
two threads lose a third of their time. Processes do not wait, because each has a lock of its own. Worker 0 is the
process in which training was started, called the parent here. The other workers are its children: forks, each with a
copy of the model. The weights that are trained, and the gradient of each child, are in shared memory. For each batch,
the parent

1. copies its weights into shared memory, where the children read them
2. sends each child its rows, and computes its own rows meanwhile
3. adds the gradients of workers 1, 2, ... to its own, always in this order, so the result has the same bits every time

Each child needs memory for one more gradient, and for those pages of Python's memory that it changes (copy on write).
For small models that is little. Large models seldom wait for the lock, so threads are better for them.
"""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import signal
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from mmap import mmap
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from llm.console import STOP_SIGNALS
from llm.model.gpt import GPT
from llm.parallel.metrics import Metrics
from llm.parallel.objective import Objective
from llm.parallel.shared_gradients import SharedGradients
from llm.parallel.threads import Threads
from llm.parallel.workers import WorkerBatch, Workers, compute_gradient
from minigrad.nn.module import Parameter
from minigrad.profiler import Profile, Report

ALIGNMENT = 64  # bytes: arrays in shared memory begin at multiples of it, which is best for vector instructions


class Result(NamedTuple):
    """What a child sends to the parent when its gradient is in shared memory, or when it has failed."""

    loss: float = math.nan  # not known if there was an error
    metrics: Metrics = {}
    report: Report | None = None  # what the profiler of the child has recorded, if the parent runs one
    error: str = ""


class Processes(Workers):
    """`count` processes: the parent and `count - 1` children.

    A fork has a copy of all memory of the parent. So make the workers before the optimizer, whose moments are twice as
    large as the model: the children do not need them.
    """

    kind = "processes"

    def __init__(self, model: GPT, objective: Objective, count: int):
        super().__init__(model, objective, count)
        self._threads = Threads(model, objective, count)  # for `map`, which works on arrays of the parent
        self._parameters = trained_parameters(model)
        # One set of arrays for the weights, which all children read, and one for the gradient of each child.
        self._weights, *self._gradients = [shared_arrays_like(model) for _ in range(count)]
        self._start()

    def _start(self) -> None:
        """Fork the children."""
        self._children: list[Child] = []
        for rank, gradient in enumerate(self._gradients, 1):
            siblings = [child.connection for child in self._children]
            self._children.append(Child(self.model, self.objective, rank, self._weights, gradient, siblings))
        # The children are ended when this object is closed, when it is garbage collected, and when Python exits. At the
        # exit, multiprocessing waits for all children. Ours never end by themselves, so they must be ended before that.
        # atexit runs the function registered last first: multiprocessing registered its own earlier, when imported.
        self._terminate = weakref.finalize(self, terminate, self._children)
        atexit.register(self._terminate)

    def map(self, f: Callable[[int, Any], Any], items: Sequence) -> list:
        return self._threads.map(f, items)

    def _accumulate(self, batches: Sequence[WorkerBatch]) -> float:
        if not self._terminate.alive:  # the children were ended, because an earlier batch failed
            self._start()
        children = self._children[: len(batches) - 1]  # a batch with few rows does not need all of them
        try:
            for p, weights in zip(self._parameters, self._weights):
                weights[...] = p.data
            for child, batch in zip(children, batches[1:]):
                child.send(batch, profiled=Profile.running is not None)
            loss, metrics = compute_as_only_worker(self.model, self.objective, self._parameters, batches[0])
            results = [child.receive() for child in children]
        except BaseException:
            # Some children may still be computing. If they lived on, their results would arrive during the next batch.
            self._terminate()
            raise
        self._add_gradients(len(results))
        for each in (metrics, *(result.metrics for result in results)):
            self.metrics.add(each)
        for result in results:
            if result.report is not None and Profile.running is not None:
                Profile.running.merge(result.report)
        return loss + sum(result.loss for result in results)

    def _add_gradients(self, workers: int) -> None:
        """Add the gradients of workers 1, 2, ... to those of the parent."""
        parameters = list(zip(self._parameters, *self._gradients[:workers]))

        @np.errstate(all="ignore")  # as in `compute_gradient`
        def add(part: slice) -> None:
            for p, *gradients in parameters[part]:
                # All workers have built the same graph. A parameter without a gradient here has none in the children.
                if p.grad is not None:
                    for gradient in gradients:
                        p.accumulate(gradient)

        if workers > 1:
            self.parallel_slices(add, len(parameters))
        else:  # one addition takes less time than to start a thread for it
            add(slice(None))

    def close(self) -> None:
        self._terminate()
        self._threads.close()


class Child:
    """A child process, as the parent sees it."""

    def __init__(
        self,
        model: GPT,
        objective: Objective,
        rank: int,
        weights: list[np.ndarray],
        gradient: list[np.ndarray],
        siblings: list[Connection],
    ):
        fork = multiprocessing.get_context("fork")
        self.connection, connection_of_child = fork.Pipe()
        # A fork inherits all open connections of the parent: also those to the children that were forked before.
        inherited = [self.connection, *siblings]
        arguments = (model, objective, rank, weights, gradient, connection_of_child, inherited)
        self.process = fork.Process(target=child_main, args=arguments, daemon=True)
        with warnings.catch_warnings():
            # Python warns that the threads of the parent do not exist in the child. The child needs none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        connection_of_child.close()  # of the two copies after the fork, only the one in the child is used

    def send(self, batch: WorkerBatch, *, profiled: bool) -> None:
        with suppress(BrokenPipeError):  # the child has ended; `receive` will report it
            self.connection.send((batch, profiled))

    def receive(self) -> Result:
        """Wait for the result. Raises RuntimeError when the child has failed or was killed."""
        try:
            result: Result = self.connection.recv()
        except (EOFError, ConnectionResetError):
            result = Result(error="its process was ended from outside, perhaps because there was too little memory")
        if result.error:
            raise RuntimeError(f"a worker could not go on: {result.error}")
        return result


def terminate(children: list[Child]) -> None:
    for child in children:
        child.connection.close()
        child.process.kill()
        child.process.join()


# --- in the child -----------------------------------------------------------------------------------------------------


def child_main(
    model: GPT,
    objective: Objective,
    rank: int,
    weights: list[np.ndarray],
    gradient: list[np.ndarray],
    parent: Connection,
    inherited: Sequence[Connection],
) -> None:
    """Compute one batch after the other, until the parent kills this process, or ends."""
    # Ctrl-C at a terminal is sent to all processes. The parent finishes its update first, so the children must live on.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.current_thread().name = f"worker_{rank - 1}"
    # `recv` below raises EOFError when the parent has ended. That works only if no other process has a copy of the
    # parent's end of the connection, so all inherited copies are closed.
    for connection in inherited:
        connection.close()
    parameters = trained_parameters(model)
    for p, data, grad in zip(parameters, weights, gradient):
        p.data, p.grad_buffer = data, grad  # weights are now read from shared memory, and gradients written to it
    while True:
        try:
            batch, profiled = parent.recv()
            parent.send(compute_result(model, objective, parameters, batch, profiled=profiled))
        except (EOFError, OSError):  # the parent has ended
            os._exit(0)


def compute_result(
    model: GPT, objective: Objective, parameters: Sequence[Parameter], batch: WorkerBatch, *, profiled: bool
) -> Result:
    """Compute the gradient of `batch` into shared memory. An error becomes part of the result."""
    for p in parameters:
        p.grad = None
    profile = Profile() if profiled else None
    try:
        with profile or nullcontext():
            loss, metrics = compute_as_only_worker(model, objective, parameters, batch)
    except Exception as error:  # noqa: BLE001  `receive` raises it in the parent
        return Result(error=f"{type(error).__name__}: {error}")
    return Result(loss, metrics, None if profile is None else profile.report())


def compute_as_only_worker(
    model: GPT, objective: Objective, parameters: Sequence[Parameter], batch: WorkerBatch
) -> tuple[float, Metrics]:
    """`compute_gradient` for the only worker in its process, which shares its gradients with no thread."""
    return compute_gradient(model, objective, SharedGradients(parameters, workers=1), 0, batch)


def trained_parameters(model: GPT) -> list[Parameter]:
    """Those that are not frozen. Of the others, a fork has a copy in its own memory that stays as it is."""
    return [p for _, p in model.named_trainable()]


def shared_arrays_like(model: GPT) -> list[np.ndarray]:
    """One array for each trained parameter, in memory that this process shares with its later forks."""
    parameters = trained_parameters(model)
    sizes = [-(-p.data.nbytes // ALIGNMENT) * ALIGNMENT for p in parameters]  # rounded up
    offsets = np.cumsum([0, *sizes]).tolist()
    memory = mmap(-1, offsets[-1])  # -1: memory, not a file. A fork shares it and does not copy it
    return [np.ndarray(p.shape, p.dtype, memory, offset) for p, offset in zip(parameters, offsets)]
