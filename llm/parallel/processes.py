"""Workers that are processes, for small models.

The step of a small model consists of many short operations, and between operations threads wait for the interpreter
lock: two threads lose a third of their time. A process has a lock of its own. So here worker 0 is this process, and
each other worker is a fork of it with its own copy of the model. The weights and the gradients of all workers lie in
shared memory. For each batch, this process

1. copies its weights into shared memory, where the other processes read them
2. sends each worker its rows, and computes its own
3. adds the gradients of workers 1, 2, ... to its own, always in this order, so the result has the same bits every time

Each worker costs the memory of one more gradient, and what a fork changes of Python's memory. For small models that is
little. Large models spend little time waiting for the lock, so threads are better for them.
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

from llm.model.gpt import GPT
from llm.parallel.objective import Objective
from llm.parallel.shared_gradients import SharedGradients
from llm.parallel.threads import Threads
from llm.parallel.workers import WorkerBatch, Workers, compute_gradient
from minigrad.nn.module import Parameter
from minigrad.profiler import Profile, Report

ALIGNMENT = 64  # bytes: arrays in shared memory begin at multiples of it, as vector instructions like it


class Result(NamedTuple):
    """What a process sends back when its gradient is in shared memory."""

    loss: float = math.nan
    report: Report | None = None  # what its profiler recorded, if one was running
    error: str = ""


class Processes(Workers):
    """`count` processes, this one among them.

    A process is forked with a copy of everything that exists, and keeps it. So make the workers before the optimizer,
    whose moments are twice as large as the model.
    """

    kind = "processes"

    def __init__(self, model: GPT, objective: Objective, count: int):
        super().__init__(model, objective, count)
        self._threads = Threads(model, objective, count)  # for work on arrays of this process
        self._parameters = list(model.parameters())
        self._weights, *self._gradients = [shared_arrays_like(model) for _ in range(count)]
        self._start()

    def _start(self) -> None:
        self._processes: list[WorkerProcess] = []
        for rank, gradient in enumerate(self._gradients, 1):
            siblings = [process.connection for process in self._processes]
            process = WorkerProcess(self.model, self.objective, rank, self._weights, gradient, siblings)
            self._processes.append(process)
        # The processes end when this object is closed, when it is garbage collected, and when Python exits. The last
        # needs atexit: handlers run in reverse order, and that of multiprocessing waits for processes to end.
        self._terminate = weakref.finalize(self, terminate, self._processes)
        atexit.register(self._terminate)

    def map(self, f: Callable[[int, Any], Any], items: Sequence) -> list:
        return self._threads.map(f, items)

    def _accumulate(self, batches: Sequence[WorkerBatch]) -> float:
        if not self._terminate.alive:  # an earlier batch failed
            self._start()
        processes = self._processes[: len(batches) - 1]
        try:
            for p, weights in zip(self._parameters, self._weights):
                weights[...] = p.data
            for process, batch in zip(processes, batches[1:]):
                process.send(batch, profiled=Profile.running is not None)
            loss = compute_alone(self.model, self.objective, self._parameters, batches[0])
            results = [process.receive() for process in processes]
        except BaseException:
            self._terminate()  # or a late result would be taken for one of the next batch
            raise
        self._add_gradients(len(results))
        for result in results:
            if result.report is not None and Profile.running is not None:
                Profile.running.merge(result.report)
        return loss + sum(result.loss for result in results)

    def _add_gradients(self, workers: int) -> None:
        """Add the gradients of workers 1, 2, ..., which have built the same graph, to those of this process."""
        rows = list(zip(self._parameters, *self._gradients[:workers]))

        def add(part: slice) -> None:
            for p, *gradients in rows[part]:
                if p.grad is not None:
                    for gradient in gradients:
                        p.accumulate(gradient)

        if workers > 1:
            self.parallel_slices(add, len(rows))
        else:  # a single addition is over before a thread would have begun
            add(slice(None))

    def close(self) -> None:
        self._terminate()
        self._threads.close()


class WorkerProcess:
    """Another process, as seen by this one."""

    def __init__(
        self,
        model: GPT,
        objective: Objective,
        rank: int,
        weights: list[np.ndarray],
        gradient: list[np.ndarray],
        siblings: list[Connection],
    ):
        context = multiprocessing.get_context("fork")
        self.connection, far_end = context.Pipe()
        inherited = [self.connection, *siblings]
        arguments = (model, objective, rank, weights, gradient, far_end, inherited)
        self.process = context.Process(target=worker_main, args=arguments, daemon=True)
        with warnings.catch_warnings():
            # Python warns that threads do not survive a fork. The new process needs none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        far_end.close()

    def send(self, batch: WorkerBatch, *, profiled: bool) -> None:
        with suppress(BrokenPipeError):  # the process has ended; `receive` will report it
            self.connection.send((batch, profiled))

    def receive(self) -> Result:
        """Wait for the result. Raises RuntimeError when the process has failed or was killed."""
        try:
            result: Result = self.connection.recv()
        except (EOFError, ConnectionResetError):
            result = Result(error="its process was ended from outside, maybe for want of memory")
        if result.error:
            raise RuntimeError(f"a worker could not go on: {result.error}")
        return result


def terminate(processes: list[WorkerProcess]) -> None:
    for each in processes:
        each.connection.close()
        each.process.kill()
        each.process.join()


# --- in the other process ---------------------------------------------------------------------------------------------


def worker_main(
    model: GPT,
    objective: Objective,
    rank: int,
    weights: list[np.ndarray],
    gradient: list[np.ndarray],
    parent: Connection,
    inherited: Sequence[Connection],
) -> None:
    """Compute one batch after the other, until the parent terminates this process or has ended itself."""
    # Ctrl-C at a terminal reaches all processes. The parent finishes its update first, and needs the others for it.
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, signal.SIG_IGN)
    threading.current_thread().name = f"worker_{rank - 1}"
    # A connection counts as closed when every process has closed it. So this one closes those that it only inherited.
    for connection in inherited:
        connection.close()
    parameters = list(model.parameters())
    for p, data, grad in zip(parameters, weights, gradient):
        p.data, p.grad_buffer = data, grad
    while True:
        try:
            batch, profiled = parent.recv()
            parent.send(compute_result(model, objective, parameters, batch, profiled=profiled))
        except (EOFError, OSError):  # the parent has ended
            os._exit(0)


def compute_result(
    model: GPT, objective: Objective, parameters: Sequence[Parameter], batch: WorkerBatch, *, profiled: bool
) -> Result:
    """Leave the gradient of `batch` in shared memory."""
    for p in parameters:
        p.grad = None
    profile = Profile() if profiled else None
    try:
        with profile or nullcontext():
            loss = compute_alone(model, objective, parameters, batch)
    except Exception as error:  # noqa: BLE001  the parent raises it
        return Result(error=f"{type(error).__name__}: {error}")
    return Result(loss, None if profile is None else profile.report())


def compute_alone(model: GPT, objective: Objective, parameters: Sequence[Parameter], batch: WorkerBatch) -> float:
    """`compute_gradient` as the only worker of this process."""
    return compute_gradient(model, objective, SharedGradients(parameters, workers=1), 0, batch)


def shared_arrays_like(model: GPT) -> list[np.ndarray]:
    """An array for each parameter, in memory that this process shares with those that it forks later."""
    sizes = [-(-p.data.nbytes // ALIGNMENT) * ALIGNMENT for p in model.parameters()]  # rounded up
    offsets = np.cumsum([0, *sizes]).tolist()
    memory = mmap(-1, offsets[-1])
    return [np.ndarray(p.shape, p.dtype, memory, offset) for p, offset in zip(model.parameters(), offsets)]
