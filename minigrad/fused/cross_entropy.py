"""Cross-entropy of logits.

For a row of logits z with target t, V classes, smoothing s and weight w of the z-loss, with lse = log sum exp z:

    loss  = lse - (1 - s) z_t - s mean(z) + w lse²
    dz    = softmax(z) (1 + 2 w lse) - (1 - s) onehot(t) - s / V

The first three terms may be large while their sum is small, which would lose digits. So they are computed from
y = z - max z, for which their sum is the same: log sum exp y - (1 - s) y_t - s mean(y).

Label smoothing: Szegedy et al. 2016 (arXiv 1512.00567). z-loss: PaLM (arXiv 2204.02311), section 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, at_least_float32
from minigrad.cuda import rows as kernels
from minigrad.cuda.compiler import has_kernels, real_of
from minigrad.fused.loss_options import LossOptions, Reduction, check_targets
from minigrad.fused.record import Needs, record_fused
from minigrad.ops import stop_gradient, where
from minigrad.tensor import Tensor, as_tensor

MAX_BLOCK_LOGITS = 1 << 19  # in a block of rows: few enough to stay in the CPU's cache for all passes over them


def cross_entropy_reference(
    logits: Any,
    targets: Any,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """The definition of `cross_entropy`."""
    options, logits = LossOptions.of(ignore_index, label_smoothing, z_loss, reduction), as_tensor(logits)
    checked = check_targets(targets, logits.shape[:-1], logits.shape[-1], options.ignore_index)
    z = at_least_float32(logits.reshape(-1, logits.shape[-1]))  # (N, V)
    z = where(checked.counted[:, None], z, 0)  # nothing in a row that is ignored has an effect
    maximum = stop_gradient(z.max(axis=-1, keepdims=True))  # a constant: the first three terms do not depend on it
    y = z - maximum
    log_total = y.logsumexp(axis=-1)  # (N,)
    losses = log_total - (1 - label_smoothing) * y.take_along_axis(checked.classes[:, None], axis=-1).squeeze(-1)
    if label_smoothing:  # otherwise 0 times a class at -inf would be NaN
        losses = losses - label_smoothing * y.mean(axis=-1)
    lse = log_total + maximum.squeeze(-1)
    losses = losses + z_loss * lse * lse
    losses = where(checked.counted, losses, 0)
    if options.reduction == "none":
        return losses.reshape(checked.shape).astype(logits.dtype)
    # The denominator is how many rows count for "mean", and 1 for "sum" (loss_options.py).
    denominator = Reduction(options.reduction, checked, losses.dtype).denominator
    return (losses.sum() / Tensor(denominator)).astype(logits.dtype)


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

    Rows whose target is `ignore_index` do not count. `label_smoothing`: the part of the target's probability that
    is spread over all classes. `z_loss`: weight of lse², which pulls lse towards 0. `reduction`: "mean" over
    the rows that count (0 if there are none), "sum", or "none" for a loss of each row, in the shape of `targets`.
    """
    options, logits = LossOptions.of(ignore_index, label_smoothing, z_loss, reduction), as_tensor(logits)
    checked = check_targets(targets, logits.shape[:-1], logits.shape[-1], ignore_index)
    reduce = Reduction(reduction, checked, logits.dtype)
    rows = logits.data.reshape(-1, logits.shape[-1])  # (N, V)
    losses = softmax_loss(checked.only_counted(rows, copy=True), checked.classes, options)  # (N,)

    def vjp(g: Array, needs: Needs) -> tuple:
        # The softmax is computed again. Saving it would take as much memory as the logits.
        dz = checked.only_counted(rows, copy=True)
        row_weights = reduce.row_weights(g)  # (N,): the gradient of each row's loss; 0 for rows that do not count
        softmax_loss(dz, checked.classes, options, row_weights)  # overwrites dz with the gradient
        return (dz.reshape(logits.shape),)

    def reference(logits: Tensor) -> Tensor:
        return cross_entropy_reference(logits, targets, **options._asdict())

    return record_fused(reduce(losses), (logits,), vjp, reference)


def softmax_loss(z: Array, targets: Array, options: LossOptions, row_weights: Array | None = None) -> Array:
    """The losses (N,) of the rows of logits z (N, V).

    z is overwritten. With `row_weights` (N,), it then holds the gradients of the losses times these weights.
    """
    if has_kernels(z):
        if row_weights is not None:
            row_weights = row_weights.astype(real_of(z.dtype), copy=False)
        targets = targets.astype(np.int64, copy=False)
        return kernels.softmax_loss(z, targets, options.label_smoothing, options.z_loss, row_weights)
    block = max(1, MAX_BLOCK_LOGITS // z.shape[-1]) if array_module(z) is np else max(1, len(z))
    losses = np.empty_like(z, np.promote_types(z.dtype, np.float32), shape=z.shape[:1])
    for i in range(0, len(z), block):
        rows = slice(i, i + block)
        weights = None if row_weights is None else row_weights[rows]
        wide = at_least_float32(z[rows])
        losses[rows] = _softmax_loss_of_block(wide, targets[rows], options, weights)
        if wide.dtype != z.dtype:
            z[rows] = wide
    return losses


def _softmax_loss_of_block(z: Array, targets: Array, options: LossOptions, row_weights: Array | None) -> Array:
    """`softmax_loss` of rows that fit into the cache, by the formulas at the top of this file."""
    s, w, V = options.label_smoothing, options.z_loss, z.shape[-1]
    all_rows = array_module(z).arange(len(z))
    maximum = z.max(axis=-1)  # (n,)
    z -= maximum[:, None]  # so that exp cannot overflow
    # -(1 - s) y_t - s mean(y), (n,). It is computed now, because z is overwritten below.
    losses = (s - 1) * z[all_rows, targets]
    if s:  # otherwise 0 times a class at -inf would be NaN
        losses -= s * z.mean(axis=-1)
    np.exp(z, out=z)
    total = z.sum(axis=-1)  # (n,)
    losses += np.log(total)
    lse = np.log(total) + maximum
    if row_weights is not None:  # the three terms of dz
        z *= (row_weights * (1 + 2 * w * lse) / total)[:, None]  # z holds exp(z - maximum): softmax is z / total
        if s:
            z -= (s / V) * row_weights[:, None]
        z[all_rows, targets] -= (1 - s) * row_weights
    return losses + w * lse * lse
