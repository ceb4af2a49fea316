"""What the machine can do at most: float32 matrix products, and reading memory."""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.contestant import Work
from benchmarks.task import Task
from llm.runtime import set_blas_threads

SIDE = 2048             # of the matrices
READ = 1 << 28          # bytes: more than fits into caches


def numpy_matmul(task: Task) -> Work:
    """A call is a product of 2 SIDE^3 floating-point operations."""
    set_blas_threads(task.threads)
    a, out = np.ones((SIDE, SIDE), np.float32), np.empty((SIDE, SIDE), np.float32)
    return lambda: {"element": float(np.matmul(a, a, out=out)[0, 0])}


def torch_matmul(task: Task) -> Work:
    """The same in PyTorch."""
    import torch
    torch.set_num_threads(task.threads)
    a, out = torch.ones(SIDE, SIDE), torch.empty(SIDE, SIDE)
    return lambda: {"element": float(torch.mm(a, a, out=out)[0, 0])}


def memory_reading(task: Task) -> Work:
    """A call reads READ bytes: each thread its own part, in products of a matrix and a vector."""
    set_blas_threads(1)
    columns = 4096
    matrix, x = np.ones((READ // 4 // columns, columns), np.float32), np.ones(columns, np.float32)
    parts, pool = np.array_split(matrix, task.threads), ThreadPoolExecutor(task.threads)
    return lambda: {"sum": float(sum(part.sum() for part in pool.map(lambda part: part @ x, parts)))}
