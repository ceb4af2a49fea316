"""What the machine can do at most: the speed of float32 matrix products, and of reading memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.competitor import Work
from benchmarks.task import Task
from llm.parallel.runtime import set_blas_threads
from minigrad.backend import array_module, to_device

SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices: on a GPU, so large that the time of a launch does not matter
READ = {"cpu": 1 << 28, "cuda": 1 << 32}  # bytes: more than the caches hold


def our_matmul(task: Task) -> Work:
    """A call is a matrix product, 2 SIDE^3 floating-point operations, by NumPy or CuPy."""
    set_blas_threads(task.threads)
    a = to_device(square(task), task.device)
    out = np.empty_like(a)
    return lambda: {"element": float(array_module(a).matmul(a, a, out=out)[0, 0])}


def torch_matmul(task: Task) -> Work:
    """The same in PyTorch."""
    import torch

    torch.set_num_threads(task.threads)
    a = torch.from_numpy(square(task)).to(task.device)
    out = torch.empty_like(a)
    return lambda: {"element": float(torch.mm(a, a, out=out)[0, 0])}


def square(task: Task) -> np.ndarray:
    """Random numbers, as in a model. With zeros or ones a GPU is faster."""
    return np.random.default_rng(0).standard_normal((SIDE[task.device],) * 2, dtype=np.float32)


def memory_reading(task: Task) -> Work:
    """A call reads READ bytes: it multiplies a matrix by a vector. On the CPU each thread has some of the rows."""
    set_blas_threads(1)
    columns, threads = 4096, task.threads if task.device == "cpu" else 1
    shapes = (READ[task.device] // 4 // columns, columns), (columns,)
    matrix, x = (to_device(np.ones(shape, np.float32), task.device) for shape in shapes)
    blocks, pool = np.array_split(matrix, threads), ThreadPoolExecutor(threads)
    return lambda: {"sum": float(sum(y.sum() for y in pool.map(lambda block: block @ x, blocks)))}
