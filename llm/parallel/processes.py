"""Processes that train together: what `Workers` do in threads, for small models.

A small model is many short operations, between which threads hand each other the interpreter lock: two waste a third of
their time on it. So here each worker but the first is a process, with a lock of its own: a fork of this one that has
its own copy of the model. Weights and gradients are in memory that all see. Before a batch the weights are copied
there; after it the gradients of workers 1, 2, ... are added to those of this process, in this order, so a number of
workers gives the same bits every time.

For each worker that takes memory for another gradient, and for what a fork changes of Python: little for a small model,
and a large one hardly waits for the lock.
"""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from mmap import mmap
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from llm.model.gpt import GPT
from llm.parallel.shared_gradients import SharedGradients
from llm.parallel.threads import Share, Workers, work_through
from minigrad.nn.module import Parameter
from minigrad.profiler import Profile, Report

SMALL = 1 << 22  # parameters: 16 MB of float32 a worker
ALIGNED = 64  # bytes


class Answer(NamedTuple):
    """What a process says when its gradient is there: the loss, and what its profile saw if there was one; or what went
    wrong.
    """

    loss: float = math.nan
    report: Report | None = None
    error: str = ""


class Processes(Workers):
    """`count` processes, this one among them; what is not `accumulate` is done by threads.

    Make them before an optimizer: what is there when a process forks, it keeps.
    """

    kind = "processes"

    def __init__(self, model: GPT, count: int):
        super().__init__(model, count)
        self._parameters = list(model.parameters())
        self._weights, *self._gradients = [shared_like(model) for _ in range(count)]
        self._start()

    def _start(self) -> None:
        self._others: list[Other] = []
        for rank, gradient in enumerate(self._gradients, 1):
            siblings = [other.connection for other in self._others]
            self._others.append(Other(self.model, rank, self._weights, gradient, siblings))
        self._end = weakref.finalize(self, end, self._others)  # also when this is forgotten
        atexit.register(self._end)  # registered last, and so called before multiprocessing waits for them

    def accumulate(self, shares: Sequence[Share]) -> float:
        if not self._end.alive:  # something went wrong the last time
            self._start()
        others = self._others[: len(shares) - 1]
        try:
            for p, weights in zip(self._parameters, self._weights):
                weights[...] = p.data
            for other, share in zip(others, shares[1:]):
                other.tell(share, Profile.running is not None)
            loss = alone(self.model, self._parameters, shares[0])
            answers = [other.hear() for other in others]
        except BaseException:  # no answer may be left for the next batch
            self._end()
            raise
        self._add(answers)
        return loss + sum(answer.loss for answer in answers)

    def _add(self, answers: Sequence[Answer]) -> None:
        """Add the gradients of the others, who have made the same graph, by threads where they are several."""
        for answer in answers:
            if answer.report is not None and Profile.running is not None:
                Profile.running.merge(answer.report)

        def add(part: slice) -> None:
            for p, *shares in list(zip(self._parameters, *self._gradients[: len(answers)]))[part]:
                if p.grad is not None:
                    for g in shares:
                        p.accumulate(g)

        if len(answers) > 1:
            self.share(add, len(self._parameters))
        else:
            add(slice(None))

    def close(self) -> None:
        self._end()
        super().close()


class Other:
    """Another process, as this one sees it."""

    def __init__(self, model: GPT, rank: int, weights: list, gradient: list, siblings: list[Connection]):
        context = multiprocessing.get_context("fork")
        self.connection, there = context.Pipe()
        ours = [self.connection, *siblings]
        self.process = context.Process(target=serve, args=(model, rank, weights, gradient, there, ours), daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: of those, none is needed there
            self.process.start()
        there.close()

    def tell(self, share: Share, watched: bool) -> None:
        with suppress(BrokenPipeError):  # `hear` will say so
            self.connection.send((share, watched))

    def hear(self) -> Answer:
        try:
            answer: Answer = self.connection.recv()
        except (EOFError, ConnectionResetError):
            answer = Answer(error="its process was ended from outside, maybe for want of memory")
        if answer.error:
            raise RuntimeError(f"a worker could not go on: {answer.error}")
        return answer


def end(others: list[Other]) -> None:
    for other in others:
        other.connection.close()
        other.process.kill()
        other.process.join()


def serve(
    model: GPT, rank: int, weights: list, gradient: list, parent: Connection, not_ours: Sequence[Connection]
) -> None:
    """What the process of a worker does, until its parent ends it or is no more."""
    for number in signal.SIGINT, signal.SIGTERM:  # sent to all of us, but for the parent, who has an update to finish
        signal.signal(number, signal.SIG_IGN)
    threading.current_thread().name = f"worker_{rank - 1}"
    for connection in not_ours:  # or nobody would hear that they are closed
        connection.close()
    parameters = list(model.parameters())
    for p, data, grad in zip(parameters, weights, gradient):
        p.data, p.grad_buffer = data, grad
    while True:
        try:
            parent.send(answer(model, parameters, *parent.recv()))
        except (EOFError, OSError):
            os._exit(0)


def answer(model: GPT, parameters: Sequence[Parameter], share: Share, watched: bool) -> Answer:
    """Leave the gradient of a share where it is seen."""
    for p in parameters:
        p.grad = None
    profile = Profile() if watched else None
    try:
        with profile or nullcontext():
            loss = alone(model, parameters, share)
    except Exception as error:  # noqa: BLE001  it is for the parent to say
        return Answer(error=f"{type(error).__name__}: {error}")
    return Answer(loss, None if profile is None else profile.report())


def alone(model: GPT, parameters: Sequence[Parameter], share: Share) -> float:
    """`work_through` by the only worker of this process."""
    return work_through(model, SharedGradients(parameters, workers=1), 0, share)


def shared_like(model: GPT) -> list[np.ndarray]:
    """An array for each parameter, in memory that this process shares with those that it forks."""
    offsets = np.cumsum([0, *(-(-p.data.nbytes // ALIGNED) * ALIGNED for p in model.parameters())]).tolist()
    memory = mmap(-1, offsets[-1])
    return [np.ndarray(p.shape, p.dtype, memory, offset) for p, offset in zip(model.parameters(), offsets)]


def pay(parameters: int, count: int) -> bool:
    """Whether so many workers on a model of so many parameters are faster as processes."""
    can_fork = sys.platform == "linux"  # elsewhere libraries do not bear it, or there is none
    return count > 1 and parameters <= SMALL and can_fork and not multiprocessing.current_process().daemon


def workers_for(model: GPT, count: int) -> Workers:
    """Those that are faster, threads or processes."""
    if pay(model.num_parameters(), count):
        with suppress(OSError):  # the system has no room for another process, or does not allow one
            return Processes(model, count)
    return Workers(model, count)
