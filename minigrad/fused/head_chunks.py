"""The chunks of `linear_cross_entropy`: the logits of some rows, their losses, and at once their gradients.

Of a chunk of rows x (n, C), with a weight W (V, C):

    z = x Wᵀ + b     loss and dz as in cross_entropy.py     dx = dz W     dW += dzᵀ x     db += Σ dz

z is overwritten by dz, and is given up before the next chunk is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.fused.curves import soft_cap_in_place
from minigrad.fused.loss_options import LossOptions
from minigrad.fused.record import Needs
from minigrad.fused.rows import column_sum
from minigrad.lazy import Gradient, LazyGradient
from minigrad.precision import Precision
from minigrad.tensor import Tensor

SLAB_ROWS = 2048  # rows of dW that are added at a time; on a GPU all of them

RowLosses = Callable[[Array, Array, LossOptions, Array | None], Array]  # as softmax_loss


class HeadGradients(NamedTuple):
    """Gradients of the inputs where they are needed, else None; of the logits where they are saved instead of dW."""

    x: Array | None = None  # (N, C)
    weight: Array | None = None  # (V, C)
    bias: Array | None = None  # (V,)
    logits: Array | None = None  # (N, V)


@dataclass(frozen=True)
class Head:
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
    ) -> tuple[Array, HeadGradients]:
        """The losses of all rows (N,) and, given `row_weights` (N,), the gradients of the losses times these weights.

        `save_dz`: there is one chunk, and the gradient of its logits is returned instead of that of weight.
        """
        losses = np.empty_like(self.x, shape=self.x.shape[:1])
        grads = HeadGradients() if row_weights is None else self._empty_gradients(needs, save_dz=save_dz)
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

    def _empty_gradients(self, needs: Needs, *, save_dz: bool) -> HeadGradients:
        make = np.empty_like if len(self.x) else np.zeros_like  # without rows, nothing would be written to them
        dx = make(self.x) if needs[0] else None
        dw = make(self.weight.data) if needs[1] and not save_dz else None
        db = make(self.bias) if any(needs[2:]) else None
        return HeadGradients(dx, dw, db)

    def _logits(self, rows: slice, factor: Array) -> tuple[Array, Array | None]:
        """The logits (n, V) of a chunk, and the slope of the soft cap or None."""
        z = self.precision.matmul(self.x[rows], factor.T)
        if self.bias is not None:
            z += self.bias
        return z, None if self.soft_cap is None else soft_cap_in_place(z, self.soft_cap)

    def _add_gradients(self, dz: Array, weight: Array, grads: HeadGradients, rows: slice) -> None:
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


def times_g(g: Array, grads: HeadGradients, head: Head) -> tuple[Gradient, Gradient, Gradient]:
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
