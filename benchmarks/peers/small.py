"""Small graphs, in which arithmetic costs next to nothing, so that the cost of the library itself is measured.

    NUMBERS     chains of STEPS steps on ten numbers (on one number in micrograd, which has no arrays). "wide" is a sum
                of products with one leaf, so that the gradient of the leaf is a sum of as many terms
    ARRAYS      the same with operations that only arrays have
    deep        backward through DEEP nodes
    mlp         three layers with about 10,000 parameters, on 32 rows

A call computes all of them and returns the seconds per operation as "add forward", "add backward" and so on, and those
of the whole mlp.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.competitor import Work

STEPS, DEEP = 1_000, 100_000
Chains = dict[str, tuple[int, Callable]]  # ops in a step, step(y, x, library) -> y
NUMBERS: Chains = {
    "add": (1, lambda y, x, xp: y + x),
    "mul": (1, lambda y, x, xp: y * x),
    "tanh": (1, lambda y, x, xp: xp.tanh(y)),
    "wide": (2, lambda y, x, xp: y + x * 0.5),
}
ARRAYS: Chains = {
    "div": (1, lambda y, x, xp: y / x),
    "sqrt": (1, lambda y, x, xp: xp.sqrt(y)),
    "maximum": (1, lambda y, x, xp: xp.maximum(y, x)),
    "where": (1, lambda y, x, xp: xp.where(xp.mask, y, x)),
    "slice": (1, lambda y, x, xp: y[:10]),
    "reshape": (2, lambda y, x, xp: y.reshape(2, 5).reshape(10)),
    "bias": (2, lambda y, x, xp: y + x[:1]),
    "mean": (2, lambda y, x, xp: y.mean() + x),
    "matmul": (1, lambda y, x, xp: xp.matrix @ y),
}
SIZES = (64, 96, 36, 1)  # of the mlp's layers
Timed = tuple[float, float, Any]  # seconds forward, seconds backward, gradient of the first leaf
Differentiate = Callable[[Callable, Sequence[np.ndarray]], Timed]


def ours(deep: int = DEEP) -> Work:
    import minigrad as mg

    return _arrays(_by_method(lambda a: mg.Tensor(a, requires_grad=True)), mg, mg.Tensor, deep)


def torch(deep: int = DEEP) -> Work:
    import torch

    torch.set_num_threads(1)
    return _arrays(_by_method(lambda a: torch.from_numpy(a).requires_grad_()), torch, torch.from_numpy, deep)


def autograd(deep: int = DEEP) -> Work:
    import autograd.numpy
    from autograd import make_vjp

    def differentiate(f: Callable, arrays: Sequence[np.ndarray]) -> Timed:
        began = time.perf_counter()
        pull, value = make_vjp(lambda leaves: f(*leaves))(list(arrays))
        middle = time.perf_counter()
        gradient = pull(np.ones_like(value))[0]
        return middle - began, time.perf_counter() - middle, gradient

    return _arrays(differentiate, autograd.numpy, np.asarray, deep)


def micrograd() -> Work:
    """Only chains: its backward is recursive, so a graph cannot be deep."""
    from micrograd.engine import Value

    sys.setrecursionlimit(10 * STEPS)

    def tanh(x: Any) -> Any:  # from its author's lectures; the package has only relu
        out = Value(np.tanh(x.data), (x,), "tanh")

        def backward() -> None:
            x.grad += (1 - out.data**2) * out.grad

        out._backward = backward
        return out

    differentiate = _by_method(lambda a: Value(float(a[0])))
    return lambda: _chains(NUMBERS, differentiate, SimpleNamespace(tanh=tanh), lambda y: y)


def _by_method(leaf: Callable[[np.ndarray], Any]) -> Differentiate:
    """For libraries with `backward()` and `.grad`."""

    def differentiate(f: Callable, arrays: Sequence[np.ndarray]) -> Timed:
        leaves = [leaf(a) for a in arrays]
        began = time.perf_counter()
        out = f(*leaves)
        middle = time.perf_counter()
        out.backward()
        return middle - began, time.perf_counter() - middle, leaves[0].grad

    return differentiate


def _arrays(differentiate: Differentiate, library: Any, constant: Callable[[np.ndarray], Any], deep: int) -> Work:
    """All graphs, for libraries with arrays."""
    rng = np.random.default_rng(0)
    rows = constant(rng.standard_normal((32, SIZES[0]), np.float32))
    weights = [rng.standard_normal(shape, np.float32) / np.float32(8) for shape in zip(SIZES, SIZES[1:])]
    xp = SimpleNamespace(
        tanh=library.tanh,
        sqrt=library.sqrt,
        maximum=library.maximum,
        where=library.where,
        mask=constant(np.arange(10) % 2 == 0),
        matrix=constant(np.eye(10, dtype=np.float32)),
    )
    biases = [np.zeros(size, np.float32) for size in SIZES[1:]]

    def mlp(*parameters: Any) -> Any:
        y, layers = rows, len(parameters) // 2
        for weight, bias in zip(parameters[:layers], parameters[layers:]):
            y = xp.tanh(y @ weight + bias)  # (32, size)
        return (y * y).sum()

    def work() -> dict[str, float]:
        *seconds, gradient = differentiate(mlp, [*weights, *biases])
        arrays = _chains(ARRAYS, differentiate, xp, lambda y: y.sum())
        arrays["arrays gradient"] = arrays.pop("gradient")
        numbers = _chains(NUMBERS, differentiate, xp, lambda y: y.sum())
        mlp_times = {"mlp forward": seconds[0], "mlp backward": seconds[1]}
        mlp_gradient = {"mlp gradient": float(abs(_numpy(gradient)).sum())}
        return arrays | numbers | _deep(differentiate, deep) | mlp_times | mlp_gradient

    return work


def _chains(chains: Chains, differentiate: Differentiate, xp: Any, total: Callable) -> dict[str, float]:
    """Seconds for an op of each chain; "gradient" is the sum of the mean gradients."""
    found: dict[str, float] = {"gradient": 0.0}
    for name, (ops, step) in chains.items():

        def graph(x: Any, step: Callable = step) -> Any:
            y = x
            for _ in range(STEPS):
                y = step(y, x, xp)
            return total(y)

        gc.collect()  # otherwise a chain would pay for the garbage of the one before
        forward, backward, gradient = differentiate(graph, [np.ones(10, np.float32)])
        found |= {f"{name} forward": forward / STEPS / ops, f"{name} backward": backward / STEPS / ops}
        found["gradient"] += float(np.mean(_numpy(gradient)))
    return found


def _deep(differentiate: Differentiate, nodes: int) -> dict[str, float]:
    """Seconds and bytes for each of the nodes in a chain.

    The bytes are those by which the process grew in the first call; later calls reuse that memory.
    """
    grown = []

    def graph(x: Any) -> Any:
        y, before = x, resident()
        for _ in range(nodes):
            y = y + 1.0
        grown.append(resident() - before)
        return y.sum()

    forward, backward, _ = differentiate(graph, [np.ones(10, np.float32)])
    return {"deep forward": forward / nodes, "deep backward": backward / nodes, "bytes": grown[0] / nodes}


def resident() -> int:
    """Memory that this process has now, in bytes; 0 where there is no /proc."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


def _numpy(gradient: Any) -> np.ndarray:
    return gradient.numpy() if hasattr(gradient, "numpy") else np.asarray(gradient)
