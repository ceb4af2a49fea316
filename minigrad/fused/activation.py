"""Activations of the MLP. Each is y = x h(x), the input times a gate between closed and open that it sets itself:

    silu          h = 1 / (1 + e^−x)              x h' = y (1 − h)                Elfwing et al. 2017, arXiv:1702.03118
    gelu          h = Φ(x), the normal CDF        x h' = x φ(x), its density      Hendrycks, Gimpel 2016, arXiv:1606.08415
    gelu (tanh)   h = (1 + tanh u) / 2            x h' = 2 y (1 − h) u'           the same, u = √(2/π) (x + 0.044715 x³)
    relu_squared  h = max(x, 0)                   x h' = h                        So et al. 2021, arXiv:2109.08668

so dy/dx = h + x h' in all of them. Only x is kept for the backward pass, where h is computed again; after a linear map,
linear_activation.py does better. swiglu and geglu (Shazeer 2020, arXiv:2002.05202) multiply y by a second input, `up`.
Arrays are gone through in blocks, whose temporaries stay in cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minigrad.backend import array_module
from minigrad.cuda import elements as kernels
from minigrad.cuda.compiler import has_kernels, in_order
from minigrad.fused.record import record_fused
from minigrad.fused.rows import at_least_float32, blocks, fits_one_block, rows
from minigrad.ops.elementwise import erf, relu, sigmoid, tanh
from minigrad.ops.special import erf_array, sigmoid_array
from minigrad.tensor import Tensor, tensor


class Curve(NamedTuple):
    name: str  # of its kernel
    gate: Callable  # x -> h, a new array
    slope: Callable  # x, h, y, out: puts dy/dx into `out`, which may be x; may use up h


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x Φ(x), any shape; approximate="tanh" is GPT-2's form, cheaper and within 5e-4."""
    x, curve = tensor(x), _gelu_curve(approximate)
    return record_fused(
        _value(x.data, curve),
        (x,),
        lambda g, needs: (_slope(g, x.data, curve),),
        lambda x: gelu_reference(x, approximate),
    )


def gelu_reference(x: Any, approximate: str = "none") -> Tensor:
    x = tensor(x)
    if approximate == "tanh":
        return x * (1 + tanh(_C * (x + 0.044715 * x * x * x))) * 0.5
    return x * (1 + erf(x * math.sqrt(0.5))) * 0.5


def silu(x: Any) -> Tensor:
    """x sigmoid(x), any shape."""
    x = tensor(x)
    return record_fused(_value(x.data, SILU), (x,), lambda g, needs: (_slope(g, x.data, SILU),), silu_reference)


def silu_reference(x: Any) -> Tensor:
    return x * sigmoid(x)


def relu_squared(x: Any) -> Tensor:
    """max(x, 0)², any shape."""
    x = tensor(x)
    return record_fused(
        _value(x.data, RELU_SQUARED), (x,), lambda g, needs: (_slope(g, x.data, RELU_SQUARED),), relu_squared_reference
    )


def relu_squared_reference(x: Any) -> Tensor:
    return x * relu(x)


def swiglu(x: Any, up: Any = None) -> Tensor:
    """silu(gate) · up. Two inputs of one shape, gate and up; or one (..., 2C) that holds both, [gate | up], -> (...,
    C).
    """
    inputs = _gate_and_up("swiglu", x, up)
    return record_fused(
        _gated([t.data for t in inputs], SILU),
        inputs,
        lambda g, needs: _gated_backward(g, inputs, SILU),
        swiglu_reference,
    )


def swiglu_reference(x: Any, up: Any = None) -> Tensor:
    gate, up = halves([tensor(x)] if up is None else [tensor(x), tensor(up)])
    return silu_reference(gate) * up


def geglu(x: Any, up: Any = None, approximate: str = "none") -> Tensor:
    """gelu(gate) · up. Inputs as for swiglu, approximate as for gelu."""
    inputs, curve = _gate_and_up("geglu", x, up), _gelu_curve(approximate)
    return record_fused(
        _gated([t.data for t in inputs], curve),
        inputs,
        lambda g, needs: _gated_backward(g, inputs, curve),
        lambda x, up=None: geglu_reference(x, up, approximate),
    )


def geglu_reference(x: Any, up: Any = None, approximate: str = "none") -> Tensor:
    gate, up = halves([tensor(x)] if up is None else [tensor(x), tensor(up)])
    return gelu_reference(gate, approximate) * up


# --- curves -----------------------------------------------------------------------------------------------------------

_C = math.sqrt(2 / math.pi)


def _normal_cdf(x: Any) -> Any:
    if x.dtype == np.float32:
        return _normal_cdf_float32(x)
    h = erf_array(x * math.sqrt(0.5))
    h += 1
    h *= 0.5
    return h


def _normal_cdf_float32(x: Any) -> Any:
    """To 2e-7, float32's own resolution near 1, in a tenth of the time: Abramowitz and Stegun (1964), 7.1.26.

    With t = 1 / (1 + 0.3275911 |x| / √2), Φ(−|x|) = t (a₁ + t (a₂ + ... t a₅)) e^(−x²/2) / 2.
    """
    t = np.abs(x)
    t *= 0.3275911 * math.sqrt(0.5)
    t += 1
    np.divide(1, t, out=t)
    tail = t * (1.061405429 / 2)
    for a in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += a / 2
        tail *= t
    np.multiply(x, x, out=t)
    t *= -0.5
    tail *= np.exp(t, out=t)
    h = np.subtract(0.5, tail, out=tail)
    np.copysign(h, x, out=h)  # Φ(x) = 1/2 ± (1/2 − Φ(−|x|))
    h += 0.5
    return h


def _normal_slope(x: Any, h: Any, y: Any, out: Any) -> None:
    d = x * x
    d *= -0.5
    np.exp(d, out=d)
    d *= 1 / math.sqrt(2 * math.pi)  # φ(x)
    d *= x
    np.add(d, h, out=out)


def _tanh_gate(x: Any) -> Any:
    h = x * x
    h *= _C * 0.044715
    h += _C
    h *= x
    np.tanh(h, out=h)
    h += 1
    h *= 0.5
    return h


def _tanh_slope(x: Any, h: Any, y: Any, out: Any) -> None:
    d = x * x
    d *= 6 * _C * 0.044715
    d += 2 * _C  # 2 u'
    d *= y
    d -= d * h
    np.add(d, h, out=out)


def _silu_slope(x: Any, h: Any, y: Any, out: Any) -> None:
    d = y * h
    np.subtract(y, d, out=d)
    np.add(d, h, out=out)


SILU = Curve("silu", sigmoid_array, _silu_slope)
GELU = Curve("gelu", _normal_cdf, _normal_slope)
GELU_TANH = Curve("gelu_tanh", _tanh_gate, _tanh_slope)
RELU_SQUARED = Curve("relu_squared", lambda x: np.maximum(x, 0), lambda x, h, y, out: np.multiply(h, 2, out=out))


def _gelu_curve(approximate: str) -> Curve:
    curves = {"none": GELU, "tanh": GELU_TANH}
    if approximate not in curves:
        raise ValueError(f"approximate={approximate!r} is no form of gelu; it is 'none' (exact) or 'tanh'")
    return curves[approximate]


class Activation(NamedTuple):
    """A function of one array, by the name that a model's configuration has for it. The gated ones take [gate | up]."""

    function: Callable
    reference: Callable
    curve: Curve
    gated: bool = False


ACTIVATIONS = {
    "gelu": Activation(gelu, gelu_reference, GELU),
    "gelu_tanh": Activation(partial(gelu, approximate="tanh"), partial(gelu_reference, approximate="tanh"), GELU_TANH),
    "silu": Activation(silu, silu_reference, SILU),
    "relu_squared": Activation(relu_squared, relu_squared_reference, RELU_SQUARED),
    "swiglu": Activation(swiglu, swiglu_reference, SILU, gated=True),
    "geglu": Activation(geglu, geglu_reference, GELU, gated=True),
}


# --- over arrays ------------------------------------------------------------------------------------------------------


def activate(x: Any, activation: str) -> Any:
    """ACTIVATIONS[activation] of an array."""
    f = ACTIVATIONS[activation]
    return _gated([x], f.curve) if f.gated else _value(x, f.curve)


def _value(x: Any, curve: Curve) -> Any:
    flat_x = x.reshape(-1)
    if fits_one_block(flat_x) and at_least_float32(flat_x) is flat_x:
        return _times_gate(flat_x, curve).reshape(x.shape)
    y = array_module(x).empty(x.shape, x.dtype)
    flat_y = y.reshape(-1)
    for s in blocks(flat_x):
        a = at_least_float32(flat_x[s])
        np.multiply(curve.gate(a), a, out=flat_y[s])
    return y


def _times_gate(x: Any, curve: Curve) -> Any:
    """x h(x), a new array."""
    if has_kernels(x):
        return value_and_slope(x, curve)[0]
    h = curve.gate(x)
    h *= x
    return h


def _slope(g: Any, x: Any, curve: Curve) -> Any:
    dx = array_module(x).empty(x.shape, x.dtype)
    flat_x, flat_g, flat_dx = x.reshape(-1), g.reshape(-1), dx.reshape(-1)
    for s in blocks(flat_x):
        _, d = value_and_slope(at_least_float32(flat_x[s]), curve)
        np.multiply(d, flat_g[s], out=flat_dx[s])
    return dx


def value_and_slope(x: Any, curve: Curve, value: Any = None, slope: Any = None) -> tuple[Any, Any]:
    """y = x h(x) and dy/dx, in the arrays `value` and `slope` (which may be x) or in new ones."""
    if has_kernels(x) and all(out is None or out.dtype == x.dtype for out in (value, slope)):
        (x,) = in_order(x)
        y, d = (np.empty_like(x) if out is None else out for out in (value, slope))
        kernels.value_and_slope(x, curve.name, y, d)
        return y, d
    h = curve.gate(x)
    y = np.multiply(x, h, out=value)
    d = h if slope is None else slope
    curve.slope(x, h, y, d)
    return y, d


def _gated(inputs: Sequence, curve: Curve) -> Any:
    gate, up = halves([rows(a) for a in inputs])
    y = array_module(gate).empty(gate.shape, gate.dtype)
    for s in blocks(y):
        np.multiply(_times_gate(at_least_float32(gate[s]), curve), up[s], out=y[s])
    return y.reshape(*inputs[0].shape[:-1], y.shape[1])


def _gated_backward(g: Any, inputs: Sequence[Tensor], curve: Curve) -> tuple:
    """d gate = dy up (h + gate h'), d up = dy gate h, written side by side when the inputs are."""
    gate, up = halves([rows(t.data) for t in inputs])
    grads = tuple(array_module(g).empty(t.shape, t.dtype) for t in inputs)
    d_gate, d_up = halves([rows(d) for d in grads])
    g = rows(g)
    for s in blocks(g):
        a, dy = at_least_float32(gate[s]), at_least_float32(g[s])
        y, d = value_and_slope(a, curve)
        np.multiply(y, dy, out=d_up[s])
        d *= up[s]
        np.multiply(d, dy, out=d_gate[s])
    return grads


def halves(inputs: Sequence) -> Sequence:
    """gate and up, as they are or as the two halves of the last axis; arrays or tensors."""
    if len(inputs) == 2:
        return inputs
    n = inputs[0].shape[-1] // 2
    return inputs[0][..., :n], inputs[0][..., n:]


def _gate_and_up(name: str, x: Any, up: Any) -> tuple[Tensor, ...]:
    inputs = (tensor(x),) if up is None else (tensor(x), tensor(up))
    if up is None and (inputs[0].ndim == 0 or inputs[0].shape[-1] % 2):
        raise ValueError(
            f"{name} of one input takes [gate | up] on the last axis, an even number; the shape is {inputs[0].shape}"
        )
    if inputs[-1].shape != inputs[0].shape or inputs[0].ndim == 0:
        raise ValueError(
            f"{name} takes gate and up (..., C) of one shape; they have {inputs[0].shape} and {inputs[-1].shape}"
        )
    return inputs
