"""The activation functions of an MLP, and the gated ones, which multiply an activation by a second input, `up`.

    silu(x) = x sigmoid(x)                  Elfwing et al. 2017, arXiv:1702.03118
    gelu(x) = x Φ(x), Φ the normal CDF      Hendrycks and Gimpel 2016, arXiv:1606.08415
    relu_squared(x) = max(x, 0)²            So et al. 2021, arXiv:2109.08668
    swiglu(gate, up) = silu(gate) up        Shazeer 2020, arXiv:2002.05202
    geglu(gate, up) = gelu(gate) up         the same
    reglu(gate, up) = relu(gate) up         the same

Their slopes are in curves.py. Only the inputs are saved, and the backward pass computes everything else again. Where
the activation follows a linear map, linear_activation.py saves that work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minigrad.backend import Array, array_module, at_least_float32
from minigrad.fused.curves import (
    GELU,
    GELU_TANH,
    RELU,
    RELU_SQUARED,
    SILU,
    Curve,
    curve_gradient,
    curve_value,
    times_gate,
    value_and_slope,
    widened,
)
from minigrad.fused.record import record_fused
from minigrad.fused.rows import as_rows, blocks
from minigrad.ops.elementwise import erf, relu, sigmoid, tanh
from minigrad.tensor import Tensor, as_tensor

# --- definitions ------------------------------------------------------------------------------------------------------
# `approximate` as in PyTorch: "none" is exact, "tanh" is the form that GPT-2 uses. `up` None: `x` is [gate | up].
# float16 is computed in float32 and rounded at the end.


def silu_reference(x: Any) -> Tensor:
    x, dtype = at_least_float32(as_tensor(x)), as_tensor(x).dtype
    return (x * sigmoid(x)).astype(dtype)


def gelu_reference(x: Any, approximate: str = "none") -> Tensor:
    x, dtype = at_least_float32(as_tensor(x)), as_tensor(x).dtype
    if approximate == "tanh":  # Φ(x) is replaced by a tanh of nearly the same shape
        y = x * 0.5 * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    else:  # Φ(x) = (1 + erf(x / √2)) / 2
        y = x * 0.5 * (1 + erf(x * math.sqrt(0.5)))
    return y.astype(dtype)


def relu_squared_reference(x: Any) -> Tensor:
    y = relu(x)
    return y * y


def swiglu_reference(x: Any, up: Any = None) -> Tensor:
    gate, up = split_gate_up([as_tensor(x)] if up is None else [as_tensor(x), as_tensor(up)])
    return silu_reference(gate) * up


def geglu_reference(x: Any, up: Any = None, approximate: str = "none") -> Tensor:
    gate, up = split_gate_up([as_tensor(x)] if up is None else [as_tensor(x), as_tensor(up)])
    return gelu_reference(gate, approximate) * up


def reglu_reference(x: Any, up: Any = None) -> Tensor:
    gate, up = split_gate_up([as_tensor(x)] if up is None else [as_tensor(x), as_tensor(up)])
    return relu(gate) * up


# --- functions of one input -------------------------------------------------------------------------------------------


def silu(x: Any) -> Tensor:
    """x sigmoid(x), any shape."""
    x = as_tensor(x)
    y = curve_value(x.data, SILU)
    return record_fused(y, (x,), lambda g, needs: (curve_gradient(g, x.data, SILU),), silu_reference)


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x Φ(x), any shape. approximate="tanh" is the form that GPT-2 uses: cheaper, and within 5e-4."""
    x, curve = as_tensor(x), gelu_curve(approximate)
    y = curve_value(x.data, curve)
    reference = partial(gelu_reference, approximate=approximate)
    return record_fused(y, (x,), lambda g, needs: (curve_gradient(g, x.data, curve),), reference)


def relu_squared(x: Any) -> Tensor:
    """max(x, 0)², any shape."""
    x = as_tensor(x)
    y = curve_value(x.data, RELU_SQUARED)
    return record_fused(y, (x,), lambda g, needs: (curve_gradient(g, x.data, RELU_SQUARED),), relu_squared_reference)


def gelu_curve(approximate: str) -> Curve:
    """The curve of a form of gelu. Raises ValueError if there is no such form."""
    curves = {"none": GELU, "tanh": GELU_TANH}
    if approximate not in curves:
        raise ValueError(f"approximate={approximate!r} is no form of gelu; it is 'none' (exact) or 'tanh'")
    return curves[approximate]


# --- gated functions --------------------------------------------------------------------------------------------------


def swiglu(x: Any, up: Any = None) -> Tensor:
    """silu(gate) · up: either gate and up, two inputs of one shape, or both in one input [gate | up].

    The latter is (..., 2C) -> (..., C).
    """
    inputs = _gate_and_up("swiglu", x, up)  # a tuple of one or two Tensors
    y = _gated_value([t.data for t in inputs], SILU)
    return record_fused(y, inputs, lambda g, needs: _gated_gradients(g, inputs, SILU), swiglu_reference)


def geglu(x: Any, up: Any = None, approximate: str = "none") -> Tensor:
    """gelu(gate) · up. Inputs as for swiglu, `approximate` as for gelu."""
    inputs, curve = _gate_and_up("geglu", x, up), gelu_curve(approximate)
    y = _gated_value([t.data for t in inputs], curve)
    reference = partial(geglu_reference, approximate=approximate)
    return record_fused(y, inputs, lambda g, needs: _gated_gradients(g, inputs, curve), reference)


def reglu(x: Any, up: Any = None) -> Tensor:
    """relu(gate) · up. Inputs as for swiglu."""
    inputs = _gate_and_up("reglu", x, up)
    y = _gated_value([t.data for t in inputs], RELU)
    return record_fused(y, inputs, lambda g, needs: _gated_gradients(g, inputs, RELU), reglu_reference)


def _gated_value(inputs: Sequence[Array], curve: Curve) -> Array:
    """y = gate h(gate) up."""
    gate, up = split_gate_up([as_rows(a) for a in inputs])  # (N, C) both
    y = array_module(gate).empty(gate.shape, gate.dtype)
    for s in blocks(y):  # the gate of a block is still in the cache when it is multiplied by `up`
        np.multiply(times_gate(widened(gate[s]), curve), up[s], out=y[s])
    return y.reshape(*inputs[0].shape[:-1], y.shape[1])


def _gated_gradients(g: Array, inputs: Sequence[Tensor], curve: Curve) -> tuple:
    """d gate = g up (h + gate h') and d up = g gate h; in one array [d gate | d up] if the input is [gate | up]."""
    gate, up = split_gate_up([as_rows(t.data) for t in inputs])
    grads = tuple(array_module(g).empty(t.shape, t.dtype) for t in inputs)
    d_gate, d_up = split_gate_up([as_rows(d) for d in grads])  # views: writing to them fills `grads`
    g = as_rows(g)
    for s in blocks(g):
        dy = at_least_float32(g[s])
        value, slope = value_and_slope(widened(gate[s]), curve)  # gate h, and h + gate h'
        np.multiply(value, dy, out=d_up[s])  # dy / d up is the value of the gate
        slope *= up[s]  # dy / d gate
        np.multiply(slope, dy, out=d_gate[s])
    return grads


def split_gate_up(inputs: Sequence) -> Sequence:
    """gate and up: two inputs as they are, or the two halves of one input; arrays or Tensors."""
    if len(inputs) == 2:
        return inputs
    n = inputs[0].shape[-1] // 2
    return inputs[0][..., :n], inputs[0][..., n:]  # views: nothing is copied


def _gate_and_up(name: str, x: Any, up: Any) -> tuple[Tensor, ...]:
    """The one or two inputs of a gated function as Tensors, checked."""
    inputs = (as_tensor(x),) if up is None else (as_tensor(x), as_tensor(up))
    shape, last = inputs[0].shape, inputs[-1].shape  # of one input, both are the same
    if up is None and (not shape or shape[-1] % 2):
        raise ValueError(
            f"{name} of one input takes [gate | up] on the last axis, an even number; the shape is {shape}"
        )
    if last != shape or not shape:
        raise ValueError(f"{name} takes gate and up (..., C) of one shape; they have {shape} and {last}")
    return inputs


# --- by name ----------------------------------------------------------------------------------------------------------


class Activation(NamedTuple):
    """An activation function of one input. A gated one takes [gate | up]."""

    function: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    curve: Curve
    gated: bool = False


ACTIVATIONS = {  # by the names that the configuration of a model uses
    "gelu": Activation(gelu, gelu_reference, GELU),
    "gelu_tanh": Activation(partial(gelu, approximate="tanh"), partial(gelu_reference, approximate="tanh"), GELU_TANH),
    "silu": Activation(silu, silu_reference, SILU),
    "relu": Activation(relu, relu, RELU),  # a primitive of minigrad/ops, its own definition
    "relu_squared": Activation(relu_squared, relu_squared_reference, RELU_SQUARED),
    "swiglu": Activation(swiglu, swiglu_reference, SILU, gated=True),
    "geglu": Activation(geglu, geglu_reference, GELU, gated=True),
    "geglu_tanh": Activation(  # Gemma's
        partial(geglu, approximate="tanh"), partial(geglu_reference, approximate="tanh"), GELU_TANH, gated=True
    ),
    "reglu": Activation(reglu, reglu_reference, RELU, gated=True),
}


def activate(x: Array, activation: str) -> Array:
    """The activation with this name, applied to an array."""
    f = ACTIVATIONS[activation]
    return _gated_value([x], f.curve) if f.gated else curve_value(x, f.curve)
