"""The head of a language model and its loss in one function: the logits, its largest array, never exist all at once.

It goes through the rows in chunks: logits, loss and, while they are at hand, the gradients. The loss is one number, so
the gradients are known before the backward pass up to one factor. Making them on the way: Liger Kernel (arXiv
2410.10989). Of few rows, the gradient of the logits is kept, and dW made from it where it belongs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minigrad.backend import array_module
from minigrad.fused.record import record_fused
from minigrad.fused.rows import rows
from minigrad.fused.cross_entropy import Reduction, cross_entropy_reference, softmax_loss
from minigrad.fused.linear import linear_reference
from minigrad.lazy import LazyGradient
from minigrad.modes import mode
from minigrad.tensor import Tensor, tensor

CHUNK = 512  # rows of logits at a time; a GPU, which wants large arrays, takes more as long as they are no more than
GPU_LOGITS = 1 << 24
SLAB = 2048  # rows of dW at a time


def linear_cross_entropy(
    x: Any,
    weight: Any,
    targets: Any,
    bias: Any = None,
    *,
    soft_cap: float | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
    chunk: int | None = None,
) -> Tensor:
    """The cross-entropy of `linear(x, weight, bias)`, `chunk` rows of logits at a time: x (..., C), weight (V, C),
    targets (...).

    `soft_cap`: logits become cap * tanh(logits / cap) first (Gemma 2, arXiv 2408.00118). Other options as in
    `cross_entropy`. For the reduction "none" the logits are made a second time in the backward pass.
    """
    inputs = tuple(tensor(t) for t in (x, weight, bias) if t is not None)
    x, weight = inputs[:2]
    if weight.ndim != 2 or x.shape[-1:] != weight.shape[1:]:
        raise ValueError(
            f"linear_cross_entropy: x (..., C) and weight (V, C) must share C; got {x.shape} and {weight.shape}"
        )
    reduce = Reduction(targets, x.shape[:-1], len(weight), x.dtype, ignore_index, reduction)
    chunk = chunk or (CHUNK if array_module(x.data) is np else max(CHUNK, GPU_LOGITS // max(1, len(weight))))
    options: dict[str, Any] = {"soft_cap": soft_cap, "smoothing": label_smoothing, "z_loss": z_loss, "chunk": chunk}
    arrays, needs = [t.data for t in inputs], [t.requires_grad for t in inputs]
    at_once = mode.recording and any(needs) and reduction != "none"
    # dz (N, V) of a single chunk may take less memory than dW (V, C)
    few = at_once and needs[1] and 0 < math.prod(x.shape[:-1]) <= min(chunk, x.shape[-1])
    losses, *made = _sweep(
        *arrays,
        reduce=reduce,
        weights=reduce.weights(array_module(x.data).ones((), x.dtype)) if at_once else None,
        needs=needs,
        keep_dz=few,
        **options,
    )

    def vjp(g: Any, needs: tuple) -> tuple:
        if not at_once:
            return tuple(_sweep(*arrays, reduce=reduce, weights=reduce.weights(g), needs=needs, **options)[1:])
        dx = None if made[0] is None else made[0] * g
        dw = None if made[1] is None else _deferred_dw(weight.data, made[1], g, rows(x.data) if few else None)
        return (dx, dw, *(None if db is None else db * g for db in made[2:]))

    def reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return linear_cross_entropy_reference(
            x,
            weight,
            targets,
            bias,
            soft_cap=soft_cap,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            z_loss=z_loss,
            reduction=reduction,
        )

    return record_fused(reduce(losses), inputs, vjp, reference)


def linear_cross_entropy_reference(
    x: Any,
    weight: Any,
    targets: Any,
    bias: Any = None,
    *,
    soft_cap: float | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    logits = linear_reference(x, weight, bias)  # (..., V)
    if soft_cap is not None:
        logits = soft_cap * (logits / soft_cap).tanh()
    return cross_entropy_reference(
        logits, targets, ignore_index=ignore_index, label_smoothing=label_smoothing, z_loss=z_loss, reduction=reduction
    )


def _sweep(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    reduce: Reduction,
    weights: Any,
    needs: Any,
    soft_cap: float | None,
    smoothing: float,
    z_loss: float,
    chunk: int,
    keep_dz: bool = False,
) -> list:
    """Losses of all rows and, given `weights` of the rows, the gradients of x, weight and bias: [(N,), (N, C), (V, C),
    (V,)].

    With `keep_dz`, when all rows are one chunk, the gradient of the logits (N, V) in the place of that of weight.
    """
    shape, x = x.shape, x.reshape(-1, x.shape[-1])  # (N, C)
    losses = np.empty_like(x, shape=x.shape[:1])
    make = np.empty_like if len(x) else np.zeros_like  # no rows: nobody writes them
    needs = (needs[0], needs[1] and not keep_dz, *needs[2:], False)
    grads = [make(a) if need and weights is not None else None for a, need in zip((x, weight, bias), needs)]
    for i in range(0, len(x), chunk):
        part = slice(i, i + chunk)
        z, slope = _logits(x[part], weight, bias, soft_cap)  # (n, V)
        losses[part] = softmax_loss(
            z, reduce.targets[part], smoothing, z_loss, None if weights is None else weights[part]
        )
        if weights is not None:
            _add_gradients(z if slope is None else np.multiply(z, slope, out=z), x[part], weight, grads, part)
        if keep_dz:
            grads[1] = z
        del z, slope  # before the next chunk is made: they are the largest arrays of the whole model
    return [losses, None if grads[0] is None else grads[0].reshape(shape), *grads[1 : len(needs) - 1]]


def _logits(x: Any, weight: Any, bias: Any, soft_cap: float | None) -> tuple[Any, Any]:
    """The logits (n, V) of a chunk, and the slope of the soft cap: d cap tanh(z / cap) / dz = 1 - tanh^2."""
    z = x @ weight.T
    if bias is not None:
        z += bias
    if soft_cap is None:
        return z, None
    z /= soft_cap
    np.tanh(z, out=z)
    slope = 1 - z * z
    z *= soft_cap
    return z, slope


def _add_gradients(dz: Any, x: Any, weight: Any, grads: list, part: slice) -> None:
    """From z = x W^T + b: dx = dz W, dW = dz^T x, db = sum dz; the first chunk sets dW and db, the others add."""
    (dx, dw, db), first = grads, part.start == 0
    if dx is not None:
        array_module(dz).matmul(dz, weight, out=dx[part])
    if db is not None:
        db[...] = dz.sum(axis=0) if first else db + dz.sum(axis=0)
    if dw is not None and first:
        array_module(dz).matmul(dz.T, x, out=dw)
    elif dw is not None:
        for part in slabs(dw):
            dw[part] += dz.T[part] @ x


def _deferred_dw(weight: Any, made: Any, g: Any, x: Any) -> LazyGradient:
    """g dW: `made` is dW (V, C), or dz (N, V) where x (N, C) is given."""
    factor = None if x is None else x * g

    def slab(part: slice, out: Any = None) -> Any:
        """Rows of the gradient of weight: their own part of it, wherever they are put, has the same bits."""
        return (
            np.multiply(made[part], g, out=out)
            if factor is None
            else array_module(g).matmul(made.T[part], factor, out=out)
        )

    def fill(out: Any) -> None:
        for part in slabs(out):
            slab(part, out[part])

    def add(out: Any) -> None:
        for part in slabs(out):
            out[part] += slab(part)

    return LazyGradient(weight, fill, add=add)


def slabs(dw: Any) -> Iterator[slice]:
    """Slices of the rows of dW (V, C), so that what is added to it needs no array as large as itself."""
    return (slice(i, i + SLAB) for i in range(0, len(dw), SLAB))
