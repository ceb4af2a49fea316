"""The head of a language model and its loss in one function. The logits, the largest array of a model, never exist all
at once.

    z = x Wᵀ + b     loss and dz as in cross_entropy.py     dx = dz W     dW = dzᵀ x     db = Σ dz

The rows of x are processed in chunks, and the forward pass computes the gradients too, while the logits of a chunk are
in memory. It can do so because the result is a single number: whatever its gradient g will be, the gradients of x, W
and b are those for g = 1, times g. That is the idea of Liger Kernel (arXiv 2410.10989). With the reduction "none", g is
a number for each row, so the backward pass computes the logits a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.fused.cross_entropy import cross_entropy_reference, softmax_loss
from minigrad.fused.curves import check_soft_cap, soft_cap_in_place
from minigrad.fused.linear import linear_reference
from minigrad.fused.loss_options import LossOptions, Reduction, Targets, check_targets
from minigrad.fused.record import Needs, record_fused
from minigrad.fused.rows import as_rows, column_sum
from minigrad.lazy import Gradient, LazyGradient
from minigrad.modes import mode
from minigrad.ops import where
from minigrad.ops.arguments import as_number
from minigrad.precision import Precision, current_precision
from minigrad.tensor import Tensor, as_tensor

CPU_CHUNK_ROWS = 512  # rows of logits at a time
GPU_CHUNK_LOGITS = 1 << 27  # a GPU wants large arrays: rows for this many logits at a time, but at least 512 rows
SLAB_ROWS = 2048  # rows of dW that are added at a time; on a GPU all of them

RowLosses = Callable[[Array, Array, LossOptions, Array | None], Array]  # as softmax_loss


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
    """The definition of `linear_cross_entropy`."""
    x = as_tensor(x)
    counted = check_targets(targets, x.shape[:-1], len(weight), ignore_index).counted.reshape(x.shape[:-1])
    x = where(counted[..., None], x, 0)  # nothing in a row that is ignored has an effect
    logits = linear_reference(x, weight, bias)  # (..., V)
    if soft_cap is not None:
        logits = soft_cap * (logits / soft_cap).tanh()
    options = LossOptions(ignore_index, label_smoothing, z_loss, reduction)
    return cross_entropy_reference(logits, targets, **options._asdict())


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
    """cross_entropy(linear(x, weight, bias), targets): x (..., C), weight (V, C), bias (V,) or None, targets (...).

    `chunk`: rows of logits at a time. `soft_cap`: logits first become cap * tanh(logits / cap) (Gemma 2, arXiv
    2408.00118). The other options are those of `cross_entropy`.
    """
    options = LossOptions.of(ignore_index, label_smoothing, z_loss, reduction)
    return split_linear_cross_entropy(x, weight, targets, bias, options, soft_cap=soft_cap, chunk=chunk)


def split_linear_cross_entropy(
    x: Any,
    weight: Any,
    targets: Any,
    bias: Any,
    options: LossOptions,
    *,
    soft_cap: float | None,
    chunk: int | None = None,
    softmax: RowLosses = softmax_loss,
    classes: int | None = None,
) -> Tensor:
    """`linear_cross_entropy`, also where weight and bias have only some rows of a larger vocabulary, of size `classes`.

    `softmax`: computes the losses of all rows together with whoever has the other ones, in place of `softmax_loss`.
    """
    inputs = tuple(as_tensor(t) for t in (x, weight, bias) if t is not None)
    x, weight = inputs[:2]
    if weight.ndim != 2 or x.shape[-1:] != weight.shape[1:]:
        raise ValueError(
            f"linear_cross_entropy: x (..., C) and weight (V, C) must share C; got {x.shape} and {weight.shape}"
        )
    soft_cap = None if soft_cap is None else as_number(soft_cap, "soft_cap")
    checked = check_targets(targets, x.shape[:-1], classes or len(weight), options.ignore_index)
    reduce = Reduction(options.reduction, checked, x.dtype)
    chunk = chunk or _chunk_rows(x.data, weight.data)
    counted = _CountedRows(checked)
    rows = counted.of_inputs(as_rows(x.data))  # (n, C)
    soft_cap, bias = check_soft_cap(soft_cap), inputs[2].data if inputs[2:] else None
    precision = current_precision()
    head = _Head(rows, weight, bias, counted(checked.classes), options, soft_cap, softmax, precision)
    needs = [t.requires_grad for t in inputs]
    in_forward = (
        mode.recording and any(needs) and options.reduction != "none"
    )  # whether the gradients are computed here
    one = array_module(x.data).ones((), x.dtype)
    row_weights = counted(reduce.row_weights(one)) if in_forward else None  # for g = 1
    # With few rows, dz (N, V) of a single chunk takes less memory than dW (V, C). Then dz is saved.
    save_dz = in_forward and needs[1] and 0 < len(rows) <= min(chunk, x.shape[-1])
    losses, gradients = head.losses_and_gradients(chunk, row_weights, needs, save_dz=save_dz)

    def vjp(g: Array, needs: Needs) -> tuple:
        if in_forward:
            dx, dw, db = _times_g(g, gradients, head)
        else:
            _, (dx, dw, db, _) = head.losses_and_gradients(chunk, counted(reduce.row_weights(g)), needs)
        return (None if dx is None else counted.among_all(dx).reshape(x.shape), dw, db)[: len(inputs)]

    vjp.__qualname__ = "linear_cross_entropy.<locals>.vjp"  # the name of the op in the graph

    def reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if classes is not None:
            raise NotImplementedError("the head of a split vocabulary has no second derivatives")
        return linear_cross_entropy_reference(x, weight, targets, bias, soft_cap=soft_cap, **options._asdict())

    return record_fused(reduce(counted.among_all(losses)), inputs, vjp, reference)


def _chunk_rows(x: Array, weight: Array) -> int:
    """How many rows of logits to compute at a time."""
    if array_module(x) is np:
        return CPU_CHUNK_ROWS
    return max(CPU_CHUNK_ROWS, GPU_CHUNK_LOGITS // max(1, len(weight)))


class _CountedRows:
    """Takes the rows that count out of an array of all rows, and puts them back. On a GPU it leaves all as they are.

    So the logits of a row that does not count, such as a question in a chat, are not computed.
    """

    def __init__(self, targets: Targets):
        self.targets, self.numbers, self.total = targets, targets.chosen(), len(targets.counted)

    def of_inputs(self, x: Array) -> Array:
        """x (N, C) -> (n, C). On a GPU, rows that do not count become 0, so that a NaN in them has no effect."""
        return self.targets.only_counted(x, copy=False) if self.numbers is None else self(x)

    def __call__(self, rows: Array) -> Array:
        """(N, ...) -> (n, ...)"""
        return rows if self.numbers is None else rows[self.numbers]

    def among_all(self, rows: Array) -> Array:
        """(n, ...) -> (N, ...), with zeros in the rows that do not count."""
        if self.numbers is None:
            return rows
        every = np.zeros((self.total, *rows.shape[1:]), rows.dtype)
        every[self.numbers] = rows
        return every


# --- chunk after chunk ------------------------------------------------------------------------------------------------


class _Gradients(NamedTuple):
    """Gradients of the inputs where they are needed, else None; of the logits where they are saved instead of dW."""

    x: Array | None = None  # (N, C)
    weight: Array | None = None  # (V, C)
    bias: Array | None = None  # (V,)
    logits: Array | None = None  # (N, V)


@dataclass(frozen=True)
class _Head:
    """The arrays and options of one call."""

    x: Array  # (N, C)
    weight: Tensor  # (V, C)
    bias: Array | None  # (V,)
    targets: Array  # (N,)
    options: LossOptions
    soft_cap: float | None
    softmax: RowLosses
    precision: Precision

    def losses_and_gradients(
        self, chunk: int, row_weights: Array | None, needs: Needs, *, save_dz: bool = False
    ) -> tuple[Array, _Gradients]:
        """The losses of all rows (N,) and, given `row_weights` (N,), the gradients of the losses times these weights.

        `save_dz`: there is one chunk, and the gradient of its logits is returned instead of that of weight.
        """
        losses = np.empty_like(self.x, shape=self.x.shape[:1])
        grads = _Gradients() if row_weights is None else self._empty_gradients(needs, save_dz=save_dz)
        factor = self.precision.weight(self.weight)  # rounded once for all chunks
        for start in range(0, len(self.x), chunk):
            rows = slice(start, start + chunk)
            z, slope = self._logits(rows, factor)  # (n, V)
            weights = None if row_weights is None else row_weights[rows]
            losses[rows] = self.softmax(z, self.targets[rows], self.options, weights)
            if weights is not None:  # softmax has left the gradients in z
                if slope is not None:  # the chain rule for the soft cap
                    z *= slope
                self._add_gradients(z, factor, grads, rows)
                if save_dz:
                    grads = grads._replace(logits=z)
            del z, slope  # before the next chunk is computed: these are the largest arrays of the whole model
        return losses, grads

    def _empty_gradients(self, needs: Needs, *, save_dz: bool) -> _Gradients:
        make = np.empty_like if len(self.x) else np.zeros_like  # without rows, nothing would be written to them
        dx = make(self.x) if needs[0] else None
        dw = make(self.weight.data) if needs[1] and not save_dz else None
        db = make(self.bias) if any(needs[2:]) else None
        return _Gradients(dx, dw, db)

    def _logits(self, rows: slice, factor: Array) -> tuple[Array, Array | None]:
        """The logits (n, V) of a chunk, and the slope of the soft cap or None."""
        z = self.precision.matmul(self.x[rows], factor.T)
        if self.bias is not None:
            z += self.bias
        return z, None if self.soft_cap is None else soft_cap_in_place(z, self.soft_cap)

    def _add_gradients(self, dz: Array, weight: Array, grads: _Gradients, rows: slice) -> None:
        """dx = dz W, dW = dzᵀ x, db = Σ dz. The first chunk sets dW and db, and the others add to them."""
        matmul, x, first = self.precision.matmul, self.x[rows], rows.start == 0
        if grads.x is not None:
            matmul(dz, weight, out=grads.x[rows])
        if grads.bias is not None:
            total = column_sum(dz)
            grads.bias[...] = total if first else grads.bias + total
        if grads.weight is not None and first:
            matmul(dz.T, x, out=grads.weight)
        elif grads.weight is not None:
            for slab in _slabs(grads.weight):
                self.precision.add_product(dz.T[slab], x, grads.weight[slab])


# --- the backward pass: the gradients for g = 1, times g --------------------------------------------------------------


def _times_g(g: Array, grads: _Gradients, head: _Head) -> tuple[Gradient, Gradient, Gradient]:
    """g dx, g dW and g db, from the gradients for g = 1."""
    dx = None if grads.x is None else grads.x * g
    db = None if grads.bias is None else grads.bias * g
    dw = None
    if grads.logits is not None:  # dW was not computed yet: g dW = dzᵀ (g x)
        dw = _lazy_product(head.weight.data, grads.logits, head.x * g, head.precision)
    elif grads.weight is not None:
        dw = _lazy_multiple(grads.weight, g)
    return dx, dw, db


def _lazy_multiple(dw: Array, g: Array) -> LazyGradient:
    """g dW, from dW (V, C)."""
    return _lazy_in_slabs(dw, lambda slab, out: np.multiply(dw[slab], g, out=out))


def _lazy_product(weight: Array, dz: Array, x: Array, precision: Precision) -> LazyGradient:
    """dzᵀ x, from dz (N, V) and x (N, C)."""
    return _lazy_in_slabs(weight, lambda slab, out: precision.matmul(dz.T[slab], x, out=out))


def _lazy_in_slabs(weight: Array, compute: Callable[[slice, Array | None], Array]) -> LazyGradient:
    """A gradient of weight (V, C); `compute(slab, out)` gives some of its rows, in `out` or in a new array.

    Both `fill` and `add` compute the rows in the same slabs, so their results are equal bit for bit.
    """

    def fill(out: Array) -> None:
        for slab in _slabs(out):
            compute(slab, out[slab])

    def add(out: Array) -> None:
        for slab in _slabs(out):
            out[slab] += compute(slab, None)

    return LazyGradient(weight, fill, add=add)


def _slabs(dw: Array) -> Iterator[slice]:
    """Slices of the rows of dW (V, C), so that adding to it takes no second array of its size."""
    rows = SLAB_ROWS if array_module(dw) is np else max(1, len(dw))
    return (slice(start, start + rows) for start in range(0, len(dw), rows))
