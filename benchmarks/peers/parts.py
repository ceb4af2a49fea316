"""The parts of a training step, each in the threads or processes that train.py would use."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.competitor import Work
from benchmarks.peers.ours import train
from benchmarks.task import Task
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.runtime import keep_freed_memory, set_blas_threads

Shape = tuple[int, int]
GROUPS = {
    # Delayed: a large gradient of a head is computed at the end (llm/parallel/shared_gradients.py).
    "maps": ("linear", "linear_activation", "linear_cross_entropy", "delayed gradients"),
    "attention": ("attention",),
    "norms": ("layer_norm", "rms_norm", "rope"),
    "update": ("clip_grad_norm", "AdamW"),
}


def profiled(task: Task) -> Work:
    """A call is a training step: the seconds that each of GROUPS took in a worker, forward and backward."""
    import minigrad
    from minigrad.profiler.report import workers
    from minigrad.profiler.table import rows

    step = train(task)

    def work() -> dict[str, float]:
        with minigrad.profile() as profile:
            step()
        events = profile.report().events
        ops, count = rows(events), len(workers(events))
        return {name: sum(ops[op].seconds for op in group if op in ops) / count for name, group in GROUPS.items()}

    return work


def products(task: Task) -> Work:
    """A call computes the products of all linear maps of a step, forward and backward, and nothing else."""
    keep_freed_memory()
    set_blas_threads(1)
    weights = linear_shapes(task.config)
    rng = np.random.default_rng(0)
    threads = min(task.threads, task.batch)
    pool = ThreadPoolExecutor(threads)
    rows = task.batch // threads * task.config.context
    arrays = [_arrays(rng, rows, set(weights)) for _ in range(threads)]  # of each thread

    def compute(own: dict[Shape, list[np.ndarray]]) -> None:
        for shape in weights:
            x, dy, weight, y, dx, dw = own[shape]
            np.matmul(x, weight.T, out=y)
            np.matmul(dy, weight, out=dx)
            np.matmul(dy.T, x, out=dw)

    def work() -> dict[str, float]:
        for _ in pool.map(compute, arrays):
            pass
        return {}

    return work


def linear_shapes(config: GPTConfig) -> list[Shape]:
    """The shapes (out, in) of the weights that each token is multiplied by."""
    model = GPT(config, rng=None)
    tables = [model.positions.weight] if config.positions == "learned" else []
    tables += [] if config.tied_head else [model.embedding.weight]  # a tied one is the head too
    looked_up = set(map(id, tables))  # not multiplied
    return [p.shape for p in model.parameters() if p.ndim == 2 and id(p) not in looked_up]


def _arrays(rng: np.random.Generator, rows: int, shapes: Iterable[Shape]) -> dict[Shape, list[np.ndarray]]:
    """x, dy and the weight, and room for y, dx and dw."""
    found = {}
    for out, width in shapes:
        sizes = (rows, width), (rows, out), (out, width)
        x, dy, weight = (rng.standard_normal(size, dtype=np.float32) for size in sizes)
        found[out, width] = [x, dy, weight, *map(np.empty_like, (dy, x, weight))]
    return found
