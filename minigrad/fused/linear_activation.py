"""A linear map and the activation function after it, as in the first half of an MLP: y = f(z), z = x Wᵀ + b.

The backward pass needs z only for the slope f'(z). Nobody else ever sees z, so the slope is made in its place, while a
block of z is in cache anyway: the memory of z alone, and the tanh or exp inside f is computed once, not twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import array_module
from minigrad.fused.record import record_fused
from minigrad.fused.rows import at_least_float32, blocks, rows
from minigrad.fused.activation import ACTIVATIONS, Activation, halves, value_and_slope
from minigrad.fused.linear import check, linear, linear_gradients, linear_reference, product
from minigrad.modes import mode
from minigrad.tensor import Tensor, tensor


def linear_activation(x: Any, weight: Any, bias: Any = None, *, activation: str) -> Tensor:
    """ACTIVATIONS[activation] of linear(x, weight, bias): x (..., in) -> (..., out), or (..., out / 2) for the gated
    ones.
    """
    f = _find(activation)
    inputs = tuple(tensor(t) for t in (x, weight, bias) if t is not None)
    check(*inputs)
    if not (mode.recording and any(t.requires_grad for t in inputs)):
        return f.function(linear(*inputs))  # no slopes
    x, weight, *biases = inputs
    z = product(rows(x.data), weight.data)  # (N, out)
    y = _value_and_slope(z, biases[0].data if biases else None, f)

    def vjp(g: Any, needs: tuple) -> tuple:
        return linear_gradients(_times_slope(rows(g), z, f), inputs, needs)

    def reference(*inputs: Tensor) -> Tensor:
        return linear_activation_reference(*inputs, activation=activation)

    return record_fused(y.reshape(*x.shape[:-1], y.shape[1]), inputs, vjp, reference)


def linear_activation_reference(x: Any, weight: Any, bias: Any = None, *, activation: str) -> Tensor:
    return _find(activation).reference(linear_reference(x, weight, bias))


def _find(activation: str) -> Activation:
    if activation not in ACTIVATIONS:
        raise ValueError(f"there is no activation {activation!r}; use one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[activation]


def _value_and_slope(z: Any, bias: Any, f: Activation) -> Any:
    """f(z + bias), and in the place of z its slope; if gated, the slopes of [gate | up]."""
    y = array_module(z).empty((len(z), z.shape[1] // 2 if f.gated else z.shape[1]), z.dtype)
    for s in blocks(z):
        block = z[s]
        if bias is not None:
            block += bias
        if f.gated:
            gate, up = halves([block])
            value, slope = value_and_slope(at_least_float32(gate), f.curve)
            np.multiply(value, up, out=y[s])
            np.multiply(slope, up, out=gate)
            up[...] = value
        else:
            value_and_slope(at_least_float32(block), f.curve, y[s], block)
    return y


def _times_slope(g: Any, slope: Any, f: Activation) -> Any:
    """dz = dy f'(z): (N, out). The slope stays as it is, for another backward pass."""
    if not f.gated:
        return g * slope
    N, F = g.shape
    return (slope.reshape(N, 2, F) * g[:, None]).reshape(N, 2 * F)
