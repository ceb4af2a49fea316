"""What minigrad has for GPUs only: a captured training step, the update without a wait, and products of two kinds."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks.competitor import Work
from benchmarks.peers import ours
from benchmarks.peers.training import CLIP, RATE
from benchmarks.task import Task
from llm.model.config import GPTConfig
from minigrad.backend import array_module, cupy_module

REPEATS = 10  # launches between two waits, where the host should not be what is measured

Width = Callable[[GPTConfig], int]
PRODUCTS: dict[str, tuple[Width, Width]] = {  # widths of the input and output of the linear maps of a GPT
    "qkv": (lambda c: c.dim, lambda c: 3 * c.dim),
    "out": (lambda c: c.dim, lambda c: c.dim),
    "up": (lambda c: c.dim, lambda c: c.mlp_size),
    "down": (lambda c: c.mlp_size, lambda c: c.dim),
}


def captured_step(task: Task) -> Work:
    """Forward, backward, clipping and AdamW as one CUDA graph."""
    from llm.training.captured import CapturedStep

    team, optimizer = ours._team(task)
    batches = cycle([(ids[:, :-1].copy(), ids[:, 1:].copy()) for ids in task.ids()])
    made: list[CapturedStep] = []

    def work() -> dict[str, float]:
        if made:
            return {"loss": made[0](next(batches), RATE)[0]}
        made.append(CapturedStep(team.model, optimizer, next(batches), lr=RATE, clip=CLIP))
        return {"loss": made[0].losses[0]}

    return work


def update(task: Task) -> Work:
    """Clipping and AdamW, with the gradient of the first batch, many times between two waits."""
    from minigrad.optim import clip_grad_norm

    team, optimizer = ours._team(task)
    ids = task.ids()[0, :1]
    team.accumulate((ids[:, :-1], ids[:, 1:]))

    def launch() -> Any:
        norm = clip_grad_norm(optimizer, CLIP)
        optimizer.step(lr=RATE)
        return norm.data

    return lambda: {"seconds": seconds(launch, lambda norm: norm.item())}


def products_of_cupy(task: Task) -> Work:
    return products(task, np.float32, own=False)


def products_of_ours(task: Task) -> Work:
    return products(task, np.float32, own=True)


def linear_in_bf16(task: Task) -> Work:
    """x Wᵀ + b by cublasLt, the bias in the same launch."""
    import ml_dtypes

    from minigrad.cuda.products import linear

    return products(task, ml_dtypes.bfloat16, linear, own=True)


def products(task: Task, dtype: Any, f: Callable | None = None, *, own: bool) -> Work:
    """A call multiplies the inputs of each linear map by its weight; its measures are the seconds of each."""
    from minigrad.cuda.products import matmul, our_products

    f = f or (lambda x, weight, bias: matmul(x, weight.T))
    arguments = {name: [cupy_module().asarray(a.astype(dtype)) for a in arrays] for name, arrays in operands(task)}

    def work() -> dict[str, float]:
        with our_products() if own else nullcontext():
            found = {name: seconds(lambda: f(*arrays), wait) for name, arrays in arguments.items()}  # noqa: B023
        return found | {"seconds": sum(found.values())}

    return work


def operands(task: Task) -> list[tuple[str, list[np.ndarray]]]:
    """(name, [x (N, in), weight (out, in), bias (out,)]) in float32."""
    rng, N = np.random.default_rng(0), task.batch * task.config.context
    sizes = {name: (f(task.config) for f in widths) for name, widths in PRODUCTS.items()}
    return [
        (name, [rng.standard_normal(s, dtype=np.float32) for s in ((N, i), (o, i), (o,))])
        for name, (i, o) in sizes.items()
    ]


def seconds(launch: Callable[[], Any], wait: Callable[[Any], Any]) -> float:
    """The time of one `launch`, of many before one wait."""
    wait(launch())
    began = time.perf_counter()
    for _ in range(REPEATS):
        result = launch()
    wait(result)
    return (time.perf_counter() - began) / REPEATS


def wait(a: Any) -> None:
    array_module(a).cuda.get_current_stream().synchronize()
