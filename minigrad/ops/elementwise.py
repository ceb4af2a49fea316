"""Operations that work on each element alone. Each function computes its value and, beside it, states its gradient
rule.

The shortest ones have all there is to learn:

    def exp(x):
        x = tensor(x)
        return record(np.exp(x.data), (x,), lambda g, out: (g * out,), keep_output=True)

`np.exp(x.data)` is the value. The lambda is the rule: from the gradient `g` of the result it computes that of x. Since
d exp(x) / dx is exp(x), the rule needs the result; it gets it as `out`, because of `keep_output=True`.

- A rule returns a tuple with one gradient for each input. None stands for an input that needs no gradient. - Inputs
broadcast as in NumPy. The engine sums a gradient back to the shape of its input; rules do not care. - `g` is an array,
or a Tensor if the gradient is to be differentiated again. `like(g, x)` is the input x in the same form, so
  one formula serves both.
- A number as one of two inputs takes the dtype of the other. It stays a Python number in `data`: no shape, no gradient.
- Where a function has a kink, the slope there is that of PyTorch, and the docstring says which.

`abs` and `pow` are NumPy's names; they hide Python's in this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, is_float
from minigrad.lazy import Gradient
from minigrad.ops.special import erf_array, sigmoid_array
from minigrad.tensor import Tensor, like, operands, record, tensor

# fmt: off
__all__ = ["add", "sub", "mul", "div", "neg", "pow", "abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sin",
           "cos", "tanh",
           "sigmoid", "erf", "relu", "maximum", "minimum", "where", "clip", "astype", "stop_gradient", "less",
           "less_equal", "equal",
           "greater", "greater_equal", "not_equal", "isnan", "isfinite"]
# fmt: on

# --- arithmetic -------------------------------------------------------------------------------------------------------


def add(x: Any, y: Any) -> Tensor:
    x, y = operands(x, y)
    return record(x.data + y.data, (x, y), lambda g, out: (g, g))


def sub(x: Any, y: Any) -> Tensor:
    x, y = operands(x, y)
    needed = y.requires_grad  # not `y` itself: what a rule mentions stays in memory until the backward pass
    return record(x.data - y.data, (x, y), lambda g, out: (g, -g if needed else None))


def mul(x: Any, y: Any) -> Tensor:
    x, y = operands(x, y)
    # The gradient of x needs y, and that of y needs x. Each is saved only if it will be asked for.
    saved_x, saved_y = x if y.requires_grad else None, y if x.requires_grad else None
    return record(x.data * y.data, (x, y), lambda g, out: (_times(g, saved_y), _times(g, saved_x)))


def _times(g: Gradient, y: Tensor | None) -> Gradient:
    return None if y is None else g * like(g, y)


def div(x: Any, y: Any) -> Tensor:
    x, y = operands(x, y)

    def vjp(g: Gradient, out: Any) -> tuple:
        dx = g / like(g, y)
        return dx, -dx * out if y.requires_grad else None  # d(x / y)/dy = -x / y² = -(1 / y) (x / y)

    return record(x.data / y.data, (x, y), vjp, keep_output=y.requires_grad)


def neg(x: Any) -> Tensor:
    x = tensor(x)
    return record(-x.data, (x,), lambda g, out: (-g,))


def pow(x: Any, y: Any) -> Tensor:
    """x ** y. d/dy is 0 where x is 0 and y is not negative; 0 ** 0 is 1, with slope 0 both ways."""
    x, y = operands(x, y)
    n = y.data
    if isinstance(n, (int, float)):
        return record(_power(x.data, n), (x,), lambda g, out: (g * like(g, n * x ** (n - 1)) if n else g * 0,))
    if isinstance(x.data, (int, float)) and is_float(y.dtype):
        x = Tensor(array_module(n).full((), x.data, n.dtype))  # the rule takes its logarithm, in the dtype of y

    def vjp(g: Gradient, out: Any) -> tuple:
        dx = dy = None
        zero = x.data == 0  # here the formulas below would give inf * 0 = nan, so another number takes the place of 0
        if x.requires_grad:
            dx = g * (y * x ** where(zero & (y.data == 0), 1, y - 1))
        if y.requires_grad:
            dy = g * (out * log(where(zero & (y.data >= 0), 1, x)))
        return dx, dy

    return record(x.data**n, (x, y), vjp, keep_output=y.requires_grad)


def _power(a: Any, n: float) -> Any:
    """a ** n; small whole powers by multiplication, because np.power takes hundreds of times as long.

    x ** 13 is x * (x ** 6) ** 2, and so on: as many multiplications as n has binary digits, or twice as many.
    """
    if n not in _SMALL or not is_float(a.dtype):
        return a**n
    if n < 0:
        return 1 / _power(a, -n)
    if n == 1:
        return a
    half = _power(a, n // 2)
    return half * half * a if n % 2 else half * half


_SMALL = frozenset(range(-16, 17)) - {0}


def abs(x: Any) -> Tensor:
    """|x|; the slope at 0 is 0."""
    x = tensor(x)
    return record(np.abs(x.data), (x,), lambda g, out: (g * np.sign(x.data),))


# --- functions of one input -------------------------------------------------------------------------------------------


def exp(x: Any) -> Tensor:
    x = tensor(x)
    return record(np.exp(x.data), (x,), lambda g, out: (g * out,), keep_output=True)


def expm1(x: Any) -> Tensor:
    """exp(x) - 1, exact for small x."""
    x = tensor(x)
    return record(np.expm1(x.data), (x,), lambda g, out: (g * (out + 1),), keep_output=True)


def log(x: Any) -> Tensor:
    x = tensor(x)
    return record(np.log(x.data), (x,), lambda g, out: (g / like(g, x),))


def log1p(x: Any) -> Tensor:
    """log(1 + x), exact for small x."""
    x = tensor(x)
    return record(np.log1p(x.data), (x,), lambda g, out: (g / (1 + like(g, x)),))


def sqrt(x: Any) -> Tensor:
    x = tensor(x)
    return record(np.sqrt(x.data), (x,), lambda g, out: (g * 0.5 / out,), keep_output=True)


def rsqrt(x: Any) -> Tensor:
    """1 / sqrt(x)."""
    x = tensor(x)
    return record(1 / np.sqrt(x.data), (x,), lambda g, out: (g * (-0.5 * out * out * out),), keep_output=True)


def sin(x: Any) -> Tensor:
    x = tensor(x)
    return record(np.sin(x.data), (x,), lambda g, out: (g * like(g, cos(x)),))


def cos(x: Any) -> Tensor:
    x = tensor(x)
    return record(np.cos(x.data), (x,), lambda g, out: (-g * like(g, sin(x)),))


def tanh(x: Any) -> Tensor:
    x = tensor(x)
    return record(np.tanh(x.data), (x,), lambda g, out: (g - g * out * out,), keep_output=True)


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)), without overflow."""
    x = tensor(x)

    def vjp(g: Gradient, out: Any) -> tuple:
        d = g * out
        return (d - d * out,)  # g y (1 - y)

    return record(sigmoid_array(x.data), (x,), vjp, keep_output=True)


def erf(x: Any) -> Tensor:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    x = tensor(x)
    return record(erf_array(x.data), (x,), lambda g, out: (g * like(g, 2 / math.sqrt(math.pi) * exp(-x * x)),))


# --- choices ----------------------------------------------------------------------------------------------------------


def relu(x: Any) -> Tensor:
    """max(x, 0); the slope at 0 is 0."""
    x = tensor(x)
    return record(np.maximum(x.data, 0), (x,), lambda g, out: (g * (out > 0),), keep_output=True)


def maximum(x: Any, y: Any) -> Tensor:
    """The larger of two; where they are equal, each gets half of the gradient."""
    x, y = operands(x, y)
    return record(np.maximum(x.data, y.data), (x, y), lambda g, out: _chosen(g, x, y, np.greater))


def minimum(x: Any, y: Any) -> Tensor:
    """The smaller of two; where they are equal, each gets half of the gradient."""
    x, y = operands(x, y)
    return record(np.minimum(x.data, y.data), (x, y), lambda g, out: _chosen(g, x, y, np.less))


def _chosen(g: Gradient, x: Tensor, y: Tensor, wins: np.ufunc) -> tuple:
    """The gradients of x and y: `g` goes to the one that wins the comparison."""
    a, b = x.data, y.data
    half = where_array(a == b, 0.5 * g, 0)
    dx = where_array(wins(a, b), g, half) if x.requires_grad else None
    dy = where_array(wins(b, a), g, half) if y.requires_grad else None
    return dx, dy


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """`x` where `condition` (boolean array or Tensor, not differentiated) holds, `y` elsewhere."""
    c = condition.data if isinstance(condition, Tensor) else condition
    x, y = operands(x, y)
    x_needed, y_needed = x.requires_grad, y.requires_grad

    def vjp(g: Gradient, out: None) -> tuple:
        return where_array(c, g, 0) if x_needed else None, where_array(c, 0, g) if y_needed else None

    return record(np.where(c, x.data, y.data), (x, y), vjp)


def where_array(c: Array, x: Any, y: Any) -> Any:
    """`where` for rules: an array if x and y are arrays, else a Tensor."""
    return where(c, x, y) if isinstance(x, Tensor) or isinstance(y, Tensor) else np.where(c, x, y)


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """`x` kept between constant bounds, either of which may be None; the slope is 1 at the bounds, 0 beyond."""
    x, bounds = tensor(x), [b.data if isinstance(b, Tensor) else b for b in (min, max)]
    if any(isinstance(b, Tensor) and b.requires_grad for b in (min, max)):
        raise TypeError(
            "clip: the bounds are constants, but one of them requires a gradient; use maximum and minimum instead"
        )
    return record(
        np.clip(x.data, *bounds), (x,), lambda g, out: (g * (out == x.data),), keep_output=True
    )  # not clipped


# --- conversions, and functions without a gradient --------------------------------------------------------------------


def astype(x: Any, dtype: Any) -> Tensor:
    """`x` in another dtype (not copied if it has that already); differentiable from float to float."""
    x = tensor(x)
    data = x.data.astype(dtype, copy=False)
    return record(data, (x,), lambda g, out: (g,)) if is_float(data.dtype) else Tensor(data)


def stop_gradient(x: Any) -> Tensor:
    """`x` as a constant."""
    return tensor(x).detach()


def compare(test: np.ufunc) -> Callable[[Any, Any], Tensor]:
    """The comparison as an op: a boolean Tensor, which has no gradient."""

    def op(x: Any, y: Any) -> Tensor:
        x, y = operands(x, y)
        return Tensor(test(x.data, y.data))

    op.__name__ = op.__qualname__ = test.__name__
    return op


less, less_equal, equal = compare(np.less), compare(np.less_equal), compare(np.equal)
greater, greater_equal, not_equal = compare(np.greater), compare(np.greater_equal), compare(np.not_equal)


def isnan(x: Any) -> Tensor:
    return Tensor(np.isnan(tensor(x).data))


def isfinite(x: Any) -> Tensor:
    return Tensor(np.isfinite(tensor(x).data))
