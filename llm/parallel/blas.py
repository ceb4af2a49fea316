"""How many threads matrix products use. BLAS is the library in which NumPy computes them.

A large product is faster with more threads. A small one is finished before the other threads have begun. And where
other programs use the cores, each product waits for its last thread to get a core: some milliseconds, for each of the
dozens of products of a token. The table shows how many tokens per second models of several sizes write, on two cores of
an Intel Xeon with OpenBLAS (its SkylakeX kernels), 2026-11-30. The machine was shared: its load average was between 0.4
and 2.9. So small differences in the table mean nothing.

    parameters        no second program of ours      beside a program that uses both cores
                      1 thread     2 threads         1 thread     2 threads
      1.3 million       1,024         1,057              120            32
      5 million           488           602              112             4
     12 million           194           372               68            14
     30 million            82           126               39             6

So a small model gets one thread, and a large one as many as there are idle cores, unless --threads or one of VARIABLES
(runtime.py) says how many. Training does not ask for idle cores: a run that is repeated must have the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from llm.parallel.runtime import threads_from_environment, threads_to_use

SMALL_MODEL = 1 << 23  # parameters, about 8 million


def blas_threads(requested: int | None, parameters: int) -> int:
    """As many threads as the user asks for (`requested`, VARIABLES), else what is best for a model of this size."""
    threads = steady_blas_threads(requested, parameters)
    return threads if _is_given(requested) else max(1, round(threads * idle_share()))


def steady_blas_threads(requested: int | None, parameters: int) -> int:
    """The same, however busy the machine is.

    For training: another number of threads adds in another order, which changes the last digits of a sum.
    """
    return 1 if parameters < SMALL_MODEL and not _is_given(requested) else threads_to_use(requested)


def _is_given(requested: int | None) -> bool:
    """Whether the user says how many threads to use."""
    return requested is not None or threads_from_environment() is not None


def idle_share() -> float:
    """The share of the machine's cores that no program has used in the last minute, from 0 to 1."""
    if not hasattr(os, "getloadavg"):  # Windows
        return 1.0
    return max(0.0, 1 - os.getloadavg()[0] / (os.cpu_count() or 1))


@contextmanager
def limited_blas_threads(threads: int) -> Iterator[None]:
    """Let matrix products use this many threads in the block, and after it as many as before."""
    with _controller().limit(limits=threads, user_api="blas"):
        yield


@contextmanager
def fitting_blas_threads(parameters: int) -> Iterator[None]:
    """Use one thread in the block if that is best for a model of this size; otherwise as many as before."""
    if threads_from_environment() is not None or blas_threads(None, parameters) > 1:
        yield
    else:
        with limited_blas_threads(1):
            yield


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # made once: this takes 1 ms, and changing the number of threads 0.01 ms
