"""A linear map with a frozen or trained weight, and low-rank updates of some of its rows (LoRA) in one function.

    y = x Wᵀ + b,    y_i += s_i (x A_iᵀ) B_iᵀ        y_i: the columns of y that belong to update i

With h_i = x A_iᵀ and g_i = s_i dy_i B_i, both (N, r), the gradients are

    dB_i = s_i dy_iᵀ h_i        dA_i = g_iᵀ x        dx = dy W + Σ g_i A_i

All that is needed besides W is a few columns wide. So if W is frozen, the product that gives dW falls away, and a
backward pass takes about half of the time. All A_i are multiplied as one matrix, so that x is read once. Hu et al. 2021
(arXiv 2106.09685).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from minigrad.backend import Array, array_module
from minigrad.fused.linear import array_product_in, check_shapes, linear_reference, product_in
from minigrad.fused.linear_activation import find_activation, times_slope, value_and_slope_in_place
from minigrad.fused.record import Needs, record_fused
from minigrad.fused.rows import as_rows, column_sum
from minigrad.lazy import LazyGradient
from minigrad.modes import mode
from minigrad.ops import concatenate
from minigrad.precision import current_precision
from minigrad.tensor import Tensor, as_tensor


class LowRank(NamedTuple):
    """An update of some rows of a weight (out, in): weight[rows] += scale * b @ a."""

    a: Any  # (r, in)
    b: Any  # (number of rows, r)
    rows: slice
    scale: float


def low_rank_reference(
    x: Any, updates: Sequence[LowRank], width: int, linear: Callable[..., Tensor] = linear_reference
) -> Tensor:
    """The updates alone: x (..., in) -> (..., width), zeros in the columns that no update has.

    `linear`: what computes both maps: the definition, or the fused function, which follows the chosen precision.
    """
    x, pieces, end = as_tensor(x), [], 0
    for a, b, rows, scale in sorted(updates, key=lambda update: update.rows.start):
        pieces += _zeros(x, rows.start - end)
        pieces.append(linear(linear(x, a), b) * scale)
        end = rows.stop
    return concatenate([*pieces, *_zeros(x, width - end)], axis=-1)


def linear_low_rank_reference(
    x: Any, weight: Any, bias: Any, updates: Sequence[LowRank], *, dropped: Any = None, activation: str | None = None
) -> Tensor:
    """The definition of `linear_low_rank`."""
    y = linear_reference(x, weight, bias)
    y = y + low_rank_reference(x if dropped is None else dropped, updates, y.shape[-1])
    return y if activation is None else find_activation(activation).reference(y)


def linear_low_rank(
    x: Any, weight: Any, bias: Any, updates: Sequence[LowRank], *, dropped: Any = None, activation: str | None = None
) -> Tensor:
    """linear(x, weight, bias), with updates of some of its rows, and an activation (a name in ACTIVATIONS) after it.

    `dropped`: what the updates read instead of x, such as x with dropout. The rows of two updates must not overlap.
    """
    others = tuple(as_tensor(t) for t in (bias, dropped) if t is not None)
    factors = tuple(as_tensor(t) for update in updates for t in update[:2])
    inputs = (as_tensor(x), as_tensor(weight), *others, *factors)
    check_shapes(*inputs[:2])
    f = None if activation is None else find_activation(activation)
    if f is not None and not (mode.recording and any(t.requires_grad for t in inputs)):
        return f.function(linear_low_rank(x, weight, bias, updates, dropped=dropped))  # nobody will ask for the slope
    call = _Call(inputs, bias is not None, dropped is not None, [(u.rows, u.scale) for u in updates])
    y, hidden = call.forward()
    slope = None
    if f is not None:  # as in linear_activation.py: the slope takes the place of what is before the activation
        slope, y = y, value_and_slope_in_place(y, None, f)

    def vjp(g: Array, needs: Needs) -> tuple:
        dy = as_rows(g) if f is None or slope is None else times_slope(as_rows(g), slope, f)
        return call.gradients(dy, hidden, needs)

    def reference(*inputs: Tensor) -> Tensor:
        return linear_low_rank_reference(**call.arguments(inputs), activation=activation)

    return record_fused(call.shaped(y), inputs, vjp, reference)


class _Call:
    """One call: the inputs x, weight, perhaps bias, perhaps dropped, and A and B of each update."""

    def __init__(
        self, inputs: tuple[Tensor, ...], has_bias: bool, has_dropped: bool, places: list[tuple[slice, float]]
    ):
        self.inputs, self.places, self.has_bias, self.has_dropped = inputs, places, has_bias, has_dropped
        self.first = 2 + has_bias + has_dropped  # where the factors begin
        self.x, self.weight, self.precision = inputs[0].data, inputs[1].data, current_precision()
        self.source = inputs[self.first - 1].data if has_dropped else self.x  # what the updates read
        self.a = [t.data for t in inputs[self.first :: 2]]
        self.b = [t.data for t in inputs[self.first + 1 :: 2]]
        all_a = array_module(self.x).concatenate(self.a) if len(self.a) > 1 else self.a[0]
        self.all_a = self.precision.factor(all_a)  # (all ranks, in)

    def arguments(self, inputs: Sequence[Tensor]) -> dict[str, Any]:
        """The arguments of the definition."""
        factors = inputs[self.first :]
        updates = [LowRank(a, b, *place) for a, b, place in zip(factors[::2], factors[1::2], self.places)]
        bias = inputs[2] if self.has_bias else None
        dropped = inputs[self.first - 1] if self.has_dropped else None
        return {"x": inputs[0], "weight": inputs[1], "bias": bias, "updates": updates, "dropped": dropped}

    def shaped(self, y: Array) -> Array:
        """(N, out) -> (..., out)"""
        return y.reshape(*self.x.shape[:-1], y.shape[1])

    def forward(self) -> tuple[Array, Array]:
        """y (N, out), and h of all updates, (N, all ranks)."""
        precision, x = self.precision, self.precision.factor(as_rows(self.x))  # rounded once for both products
        y = product_in(precision, x, self.inputs[1])  # (N, out)
        if self.has_bias:
            y += self.inputs[2].data
        source = as_rows(self.source) if self.has_dropped else x
        hidden = array_product_in(precision, source, self.all_a)  # (N, all ranks)
        for b, (rows, scale), h in zip(self.b, self.places, self._columns(hidden)):
            y[:, rows] += array_product_in(precision, h, precision.factor(b * scale))
        return y, hidden

    def gradients(self, dy: Array, hidden: Array, needs: Needs) -> tuple:
        """The gradients of all inputs, where they are needed, from dy (N, out)."""
        matmul, x, factor = self.precision.matmul, as_rows(self.x), self.precision.factor(dy)
        g = array_module(dy).empty_like(hidden)  # (N, all ranks)
        db = []
        for b, (rows, scale), h, g_i in zip(self.b, self.places, self._columns(hidden), self._columns(g)):
            g_i[...] = matmul(factor[:, rows], b * scale)
            db.append(matmul(factor[:, rows].T, h) * scale)
        da = self._columns(matmul(g.T, as_rows(self.source)).T)
        found: list[Any] = [matmul(factor, self.precision.weight(self.inputs[1])) if needs[0] else None, None]
        if needs[1]:
            found[1] = LazyGradient(self.weight, lambda out: matmul(factor.T, x, out))
        if self.has_bias:
            found.append(LazyGradient(self.inputs[2].data, lambda out: column_sum(dy, out)) if needs[2] else None)
        if self.has_dropped:
            found.append(matmul(g, self.all_a).reshape(self.x.shape) if needs[self.first - 1] else None)
        elif needs[0]:
            self.precision.add_product(g, self.all_a, found[0])
        found[0] = None if found[0] is None else found[0].reshape(self.x.shape)
        return (*found, *(gradient for a, b in zip(da, db) for gradient in (a.T, b)))

    def _columns(self, all_ranks: Array) -> list[Array]:
        """The columns of each update, views."""
        found, end = [], 0
        for a in self.a:
            found.append(all_ranks[:, end : end + len(a)])
            end += len(a)
        return found


def _zeros(x: Tensor, width: int) -> list[Tensor]:
    """A piece of zeros (..., width), or none if the width is 0."""
    return [Tensor(array_module(x.data).zeros((*x.shape[:-1], width), x.dtype))] if width else []
