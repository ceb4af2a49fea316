"""What minigrad has for GPUs only: a captured step, the update without a wait, two kinds of products, attention."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from benchmarks.competitor import Work
from benchmarks.peers import ours
from benchmarks.peers.training import CLIP, RATE, trainer
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
    return step(task, "fp32", captured=True)


def step_in_bf16(task: Task) -> Work:
    """Products and attention in bf16, one operation after the other."""
    return step(task, "bf16", captured=False)


def captured_step_in_bf16(task: Task) -> Work:
    return step(task, "bf16", captured=True)


def step(task: Task, precision: Any, *, captured: bool) -> Work:
    """A call is a training step."""
    from llm.training.captured import CapturedStep
    from llm.training.mixed_precision import MixedPrecision
    from llm.training.step import train_step

    team, optimizer = ours._team(task)
    mixed, take = MixedPrecision(precision), CapturedStep() if captured else train_step
    team.objective = mixed.objective(team.objective)
    return trainer(task, lambda x, y: take(team, optimizer, (x, y), lr=RATE, clip=CLIP, mixed=mixed).loss)


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
        return with_sum(found)

    return work


def attention_in_float32(task: Task) -> Work:
    """Causal attention of one layer, by products and kernels (fused/attention_gpu.py)."""
    return attention(task, np.float32)


def attention_in_bf16(task: Task) -> Work:
    """The same on tensor cores (fused/attention_flash.py)."""
    import ml_dtypes

    return attention(task, ml_dtypes.bfloat16)


def attention(task: Task, dtype: Any) -> Work:
    """A call measures the forward pass without a gradient, and both passes."""
    import minigrad
    from minigrad.tensor import Tensor

    there = [cupy_module().asarray(a.astype(dtype)) for a in heads(task)]
    q, k, v = (Tensor(a, requires_grad=True) for a in there[:3])

    def forward() -> Any:
        with minigrad.no_grad():
            return minigrad.attention(q, k, v).data

    def both() -> Any:
        return minigrad.grad(minigrad.attention(q, k, v), [q, k, v], Tensor(there[3]))[0].data

    return lambda: with_sum({"forward": seconds(forward, wait), "both passes": seconds(both, wait)})


def heads(task: Task) -> list[np.ndarray]:
    """q, k, v and the gradient of the result: (B, H, T, D) in float32."""
    c, rng = task.config, np.random.default_rng(0)
    shape = task.batch, c.heads, c.context, c.head_size
    return [rng.standard_normal(shape, dtype=np.float32) for _ in range(4)]


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


def with_sum(found: dict[str, float]) -> dict[str, float]:
    return found | {"seconds": sum(found.values())}


def wait(a: Any) -> None:
    array_module(a).cuda.get_current_stream().synchronize()
