"""Cross-entropy of logits.

For a row of logits z with target t, V classes, smoothing s and weight w of the z-loss, with lse = log sum exp z:

    loss  = lse - (1 - s) z_t - s mean(z) + w lse^2
    dz    = softmax(z) (1 + 2 w lse) - (1 - s) onehot(t) - s / V

Label smoothing: Szegedy et al. 2016 (arXiv 1512.00567). z-loss: PaLM (arXiv 2204.02311), section 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import array_module
from minigrad.cuda import rows as kernels
from minigrad.cuda.compiler import has_kernels
from minigrad.fused.record import record_fused
from minigrad.tensor import Tensor, tensor

CACHED = 1 << 19  # elements of logits worked on at a time, so that the passes over them stay in the CPU's cache


def cross_entropy(
    logits: Any,
    targets: Any,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """-log softmax(logits)[target]: `logits` (..., V), integer `targets` (...).

    Rows whose target is `ignore_index` count for nothing. `reduction`: "mean" over the rows that count (0 if there are
    none), "sum", or "none" for the shape of `targets`. `z_loss`: weight of lse^2, which keeps the logits from drifting.
    """
    logits = tensor(logits)
    reduce = Reduction(targets, logits.shape[:-1], logits.shape[-1], logits.dtype, ignore_index, reduction)
    rows = logits.data.reshape(-1, logits.shape[-1])  # (N, V)
    losses = softmax_loss(rows.copy(), reduce.targets, label_smoothing, z_loss)  # (N,)

    def vjp(g: Any, needs: tuple) -> tuple:
        dz = rows.copy()
        softmax_loss(dz, reduce.targets, label_smoothing, z_loss, reduce.weights(g))
        return (dz.reshape(logits.shape),)

    def reference(logits: Tensor) -> Tensor:
        return cross_entropy_reference(
            logits,
            targets,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            z_loss=z_loss,
            reduction=reduction,
        )

    return record_fused(reduce(losses), (logits,), vjp, reference)


def cross_entropy_reference(
    logits: Any,
    targets: Any,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    logits = tensor(logits)
    reduce = Reduction(targets, logits.shape[:-1], logits.shape[-1], logits.dtype, ignore_index, reduction)
    z = logits.reshape(-1, logits.shape[-1])  # (N, V)
    lse = z.logsumexp(axis=-1)  # (N,)
    picked = z.take_along_axis(reduce.targets[:, None], axis=-1).squeeze(-1)  # (N,)
    losses = lse - (1 - label_smoothing) * picked - label_smoothing * z.mean(axis=-1) + z_loss * lse * lse
    losses = losses * Tensor(reduce.counted.astype(losses.dtype))
    return losses.reshape(reduce.shape) if reduction == "none" else losses.sum() / Tensor(reduce.denominator)


class Reduction:
    """Which rows count, and how their losses become the result: for targets of shape `shape` among `classes`."""

    def __init__(self, targets: Any, shape: tuple, classes: int, dtype: Any, ignore_index: int, how: str):
        targets = tensor(targets).data
        if how not in ("mean", "sum", "none"):
            raise ValueError(f"reduction {how!r} is unknown; use 'mean', 'sum' or 'none'")
        if targets.shape != shape or targets.dtype.kind not in "iu":
            raise ValueError(
                f"targets must be integers of shape {shape}, one for each row; got {targets.dtype} of shape "
                f"{targets.shape}"
            )
        self.how, self.shape, self.dtype = how, shape, dtype
        flat = targets.reshape(-1)  # (N,)
        self.counted = flat != ignore_index
        self.targets = np.where(self.counted, flat, 0)
        # on a GPU the check would wait for the device, and CuPy wraps an index that is out of range
        if array_module(flat) is np and flat.size and not 0 <= self.targets.min() <= self.targets.max() < classes:
            wrong = next(t for t in self.targets.tolist() if not 0 <= t < classes)
            raise IndexError(f"target {wrong} is out of range: there are {classes} classes, 0 to {classes - 1}")
        count = np.maximum(self.counted.sum(), 1) if how == "mean" else array_module(flat).ones(())
        self.denominator = count.astype(dtype)  # ()

    def __call__(self, losses: Any) -> Any:
        losses = losses * self.counted
        return losses.reshape(self.shape) if self.how == "none" else losses.sum() / self.denominator

    def weights(self, g: Any) -> Any:
        """What the loss of each row is worth, given the gradient `g` of the result: (N,)."""
        return self.counted * (g.reshape(-1) if self.how == "none" else g / self.denominator)


def softmax_loss(z: Any, targets: Any, smoothing: float, z_loss: float, weights: Any = None) -> Any:
    """The losses (N,) of the rows of `z` (N, V), which is used up: given `weights` (N,) it holds their gradient
    afterwards.
    """
    if has_kernels(z):
        worth = None if weights is None else weights.astype(z.dtype, copy=False)
        return kernels.softmax_loss(z, targets.astype(np.int64, copy=False), smoothing, z_loss, worth)
    on_cpu = array_module(z) is np
    block = max(1, CACHED // z.shape[-1]) if on_cpu else max(1, len(z))
    losses = np.empty_like(z, shape=z.shape[:1])
    for i in range(0, len(z), block):
        rows = slice(i, i + block)
        losses[rows] = _softmax_loss(
            z[rows], targets[rows], smoothing, z_loss, None if weights is None else weights[rows]
        )
    return losses


def _softmax_loss(z: Any, targets: Any, smoothing: float, z_loss: float, weights: Any) -> Any:
    here = array_module(z).arange(len(z))
    picked, mean = z[here, targets], z.mean(axis=-1) if smoothing else 0.0  # (N,)
    top = z.max(axis=-1)
    z -= top[:, None]
    np.exp(z, out=z)
    total = z.sum(axis=-1)
    lse = np.log(total) + top
    if weights is not None:
        z *= (weights * (1 + 2 * z_loss * lse) / total)[:, None]
        if smoothing:
            z -= (smoothing / z.shape[-1]) * weights[:, None]
        z[here, targets] -= (1 - smoothing) * weights
    return lse - (1 - smoothing) * picked - smoothing * mean + z_loss * lse * lse
