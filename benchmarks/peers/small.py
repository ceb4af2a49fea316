"""Small graphs, whose arithmetic costs next to nothing: what is measured is what a library adds to it.

    add, mul, tanh      a chain of STEPS ops on ten numbers; one number in micrograd, which has no arrays
    wide                a sum of STEPS products with one leaf, whose gradient has as many shares
    deep                backward through DEEP nodes
    mlp                 three layers with about 10,000 parameters, on 32 rows

A call does all of them and returns seconds, "add forward", "add backward" and so on: for an op; for the whole of the mlp.
"""
from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contestant import Work

STEPS, DEEP = 1_000, 100_000
CHAINS = {"add": STEPS, "mul": STEPS, "tanh": STEPS, "wide": 2 * STEPS}         # ops
SIZES = (64, 96, 36, 1)                                                         # of the mlp's layers
Timed = tuple[float, float, Any]
Differentiate = Callable[[Callable, Sequence[np.ndarray]], Timed]               # seconds forward, seconds backward, gradient of the first


def ours() -> Work:
    from minigrad import Tensor
    from minigrad.ops.elementwise import tanh
    return _arrays(_by_method(lambda a: Tensor(a, requires_grad=True)), tanh, Tensor)


def torch() -> Work:
    import torch
    torch.set_num_threads(1)
    return _arrays(_by_method(lambda a: torch.from_numpy(a).requires_grad_()), torch.tanh, torch.from_numpy)


def autograd() -> Work:
    import autograd.numpy
    from autograd import make_vjp

    def differentiate(f: Callable, arrays: Sequence[np.ndarray]) -> Timed:
        began = time.perf_counter()
        pull, value = make_vjp(lambda leaves: f(*leaves))(list(arrays))
        middle = time.perf_counter()
        gradient = pull(np.ones_like(value))[0]
        return middle - began, time.perf_counter() - middle, gradient
    return _arrays(differentiate, autograd.numpy.tanh, np.asarray)


def micrograd() -> Work:
    """Chains alone: its backward is recursive, so nothing can be deep."""
    from micrograd.engine import Value
    sys.setrecursionlimit(10 * STEPS)

    def tanh(x: Any) -> Any:                                # as its author's lectures have it; the package stops at relu
        out = Value(np.tanh(x.data), (x,), "tanh")

        def backward() -> None:
            x.grad += (1 - out.data ** 2) * out.grad
        out._backward = backward
        return out

    differentiate = _by_method(lambda a: Value(float(a[0])))
    return lambda: _chains(differentiate, tanh, lambda y: y)


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


def _arrays(differentiate: Differentiate, tanh: Callable, constant: Callable[[np.ndarray], Any]) -> Work:
    """Everything, for libraries with arrays."""
    rng = np.random.default_rng(0)
    rows = constant(rng.standard_normal((32, SIZES[0]), np.float32))
    weights = [rng.standard_normal(shape, np.float32) / np.float32(8) for shape in zip(SIZES, SIZES[1:])]
    biases = [np.zeros(size, np.float32) for size in SIZES[1:]]

    def mlp(*parameters: Any) -> Any:
        y, layers = rows, len(parameters) // 2
        for weight, bias in zip(parameters[:layers], parameters[layers:]):
            y = tanh(y @ weight + bias)                     # (32, size)
        return (y * y).sum()

    def work() -> dict[str, float]:
        *seconds, gradient = differentiate(mlp, [*weights, *biases])
        return (_chains(differentiate, tanh, lambda y: y.sum()) | _deep(differentiate)
                | {"mlp forward": seconds[0], "mlp backward": seconds[1], "mlp gradient": float(abs(_numpy(gradient)).sum())})
    return work


def _chains(differentiate: Differentiate, tanh: Callable, total: Callable) -> dict[str, float]:
    found: dict[str, float] = {"gradient": 0.0}
    for name, ops in CHAINS.items():
        def graph(x: Any, name: str = name) -> Any:
            y = x
            for _ in range(STEPS):
                y = y + x if name == "add" else y * x if name == "mul" else tanh(y) if name == "tanh" else y + x * 0.5
            return total(y)
        forward, backward, gradient = differentiate(graph, [np.ones(10, np.float32)])
        found |= {f"{name} forward": forward / ops, f"{name} backward": backward / ops}
        found["gradient"] += float(np.mean(_numpy(gradient)))
    return found


def _deep(differentiate: Differentiate) -> dict[str, float]:
    """Also the memory that grew while the graph was made, which means something in the first call only: later ones use it again."""
    grown = []

    def graph(x: Any) -> Any:
        y, before = x, resident()
        for _ in range(DEEP):
            y = y + 1.0
        grown.append(resident() - before)
        return y.sum()
    forward, backward, _ = differentiate(graph, [np.ones(10, np.float32)])
    return {"deep forward": forward / DEEP, "deep backward": backward / DEEP, "bytes": grown[0] / DEEP}


def resident() -> int:
    """Memory that this process has now, in bytes; 0 where there is no /proc."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


def _numpy(gradient: Any) -> np.ndarray:
    return gradient.numpy() if hasattr(gradient, "numpy") else np.asarray(gradient)
