"""A linear map and the activation after it in one function, as in the first half of an MLP: y = f(z), z = x Wᵀ + b.

    dz = dy f'(z)     dx, dW, db from dz as in linear.py

The backward pass needs z only for the slope f'(z), and nothing else needs z at all. So the forward pass computes the
slope too, while a block of z is in the cache, and stores it in place of z. This takes no memory beyond that of z, and
the tanh or exp inside f is computed once instead of twice.

On a GPU, cublasLt can apply one activation itself, gelu in its tanh form, and write z beside it. Then z is kept, and
the backward pass computes the slope from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.cuda.products import linear_gelu
from minigrad.fused.activation import ACTIVATIONS, Activation, split_gate_up
from minigrad.fused.curves import GELU_TANH, curve_gradient, value_and_slope, widened
from minigrad.fused.linear import check_shapes, fits_epilogue, linear, linear_gradients, linear_reference, product_in
from minigrad.fused.record import Needs, record_fused
from minigrad.fused.rows import as_rows, blocks
from minigrad.modes import mode
from minigrad.precision import Precision, current_precision
from minigrad.tensor import Tensor, as_tensor


def linear_activation_reference(x: Any, weight: Any, bias: Any = None, *, activation: str) -> Tensor:
    """The definition of `linear_activation`."""
    return find_activation(activation).reference(linear_reference(x, weight, bias))


def linear_activation(x: Any, weight: Any, bias: Any = None, *, activation: str) -> Tensor:
    """The activation (a name in ACTIVATIONS) of linear(x, weight, bias): x (..., in) -> (..., out).

    A gated activation halves the last axis: (..., out / 2).
    """
    f = find_activation(activation)
    inputs = tuple(as_tensor(t) for t in (x, weight, bias) if t is not None)
    check_shapes(*inputs)
    if not (mode.recording and any(t.requires_grad for t in inputs)):
        return f.function(linear(*inputs))  # no backward pass will ask for the slope
    x, weight, *biases = inputs
    precision = current_precision()
    rows = precision.factor(as_rows(x.data))  # (N, in), rounded once for both passes
    arguments = precision, rows, weight, *biases
    y, gradient = _on_gpu(*arguments, f=f) or _forward(*arguments, f=f)  # y: (N, out)

    def vjp(g: Array, needs: Needs) -> tuple:
        return linear_gradients(gradient(as_rows(g)), rows, inputs, needs, precision)

    def reference(*inputs: Tensor) -> Tensor:
        return linear_activation_reference(*inputs, activation=activation)

    return record_fused(y.reshape(*x.shape[:-1], y.shape[1]), inputs, vjp, reference)


Forward = tuple[Array, Callable[[Array], Array]]  # y (N, out), and a function that computes dz from dy


def _forward(precision: Precision, x: Array, weight: Tensor, bias: Tensor | None = None, *, f: Activation) -> Forward:
    z = product_in(precision, x, weight)  # (N, out), without the bias, which is added block by block
    y = value_and_slope_in_place(z, None if bias is None else bias.data, f)
    return y, lambda dy: times_slope(dy, z, f)  # z has become the slope


def _on_gpu(
    precision: Precision, x: Array, weight: Tensor, bias: Tensor | None = None, *, f: Activation
) -> Forward | None:
    """In one launch, if the activation is gelu's tanh form, the one that cublasLt knows."""
    if f.curve is not GELU_TANH or f.gated or not fits_epilogue(precision, x, weight, bias):
        return None
    found = linear_gelu(x, precision.weight(weight), None if bias is None else bias.data, weight.dtype)
    if found is None:
        return None
    y, z = found
    return y, lambda dy: curve_gradient(dy, z, f.curve)


def find_activation(activation: str) -> Activation:
    if activation not in ACTIVATIONS:
        raise ValueError(f"there is no activation {activation!r}; use one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[activation]


def value_and_slope_in_place(z: Array, bias: Array | None, f: Activation) -> Array:
    """y = f(z + bias). Overwrites z by the slope dy/dz.

    For a gated f, z is [gate | up], and its halves are overwritten by the slopes with respect to gate and to up.
    """
    y = array_module(z).empty((len(z), z.shape[1] // 2 if f.gated else z.shape[1]), z.dtype)
    for s in blocks(z):
        block = z[s]  # a view: what is written to it is written to z
        if bias is not None:
            block += bias
        if f.gated:  # y = value(gate) up
            gate, up = split_gate_up([block])
            value, slope = value_and_slope(widened(gate), f.curve)
            np.multiply(value, up, out=y[s])
            np.multiply(slope, up, out=gate)  # dy / d gate
            up[...] = value  # dy / d up
        else:
            value_and_slope(widened(block), f.curve, y[s], block)
    return y


def times_slope(g: Array, slope: Array, f: Activation) -> Array:
    """dz = dy f'(z): (N, out), a new array, because the slope may be needed for another backward pass."""
    if not f.gated:
        return g * slope
    N, F = g.shape
    return (slope.reshape(N, 2, F) * g[:, None]).reshape(N, 2 * F)  # both halves times g
