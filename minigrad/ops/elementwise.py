"""Operations that work on each element alone. Each function computes its value and states its gradient rule.

The shortest ones show how all operations are written:

    def exp(x):
        x = as_tensor(x)
        return record(np.exp(x.data), (x,), lambda g, out: (g * out,), keep_output=True)

`np.exp(x.data)` is the value. The lambda is the rule: from the gradient `g` of the result it computes that of x. Since
d exp(x) / dx is exp(x), the rule needs the result; it gets it as `out`, because of `keep_output=True`.

- A rule returns a tuple with one gradient for each input. None stands for an input that needs no gradient.
- Inputs broadcast as in NumPy. The engine sums a gradient back to the shape of its input; rules need not do it.
- `g` is an array, or a Tensor if the gradient is to be differentiated again. `like(g, x)` is the input x in the same
  form, so one formula serves both.
- If one of two inputs is a number, as in `x * 2`, the result has the dtype of the other input. The number becomes a
  Tensor that needs no gradient, and whose `data` is the Python number itself instead of an array.
- A rule is a closure: every variable of the function that it uses stays in memory until the backward pass. So a rule
  should use few arrays.
- Where a function has a kink, the slope there is that of PyTorch, and the docstring says which.

`abs` and `pow` are NumPy's names; they hide Python's in this file.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, at_least_float32, converted, is_bfloat16, is_float, python_number
from minigrad.lazy import Gradient
from minigrad.ops.selection import masked, where
from minigrad.ops.special import erf_array, sigmoid_array
from minigrad.tensor import Tensor, array_of, as_tensor, like, operands, record

# fmt: off
__all__ = ["add", "sub", "mul", "div", "neg", "pow", "abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sin",
           "cos", "tanh", "sigmoid", "erf", "relu", "softplus", "logaddexp", "astype", "stop_gradient"]
# fmt: on

# --- arithmetic -------------------------------------------------------------------------------------------------------


def add(x: Any, y: Any) -> Tensor:
    """x + y."""
    x, y = operands(x, y)
    # d(x + y)/dx = d(x + y)/dy = 1: both inputs get the gradient of the sum, as one and the same array.
    return record(x.data + y.data, (x, y), lambda g, out: (g, g))


def sub(x: Any, y: Any) -> Tensor:
    """x - y."""
    x, y = operands(x, y)
    needed = y.requires_grad  # the rule uses this, and not `y` itself, which it would keep in memory
    # d(x - y)/dx = 1, d(x - y)/dy = -1
    return record(x.data - y.data, (x, y), lambda g, out: (g, -g if needed else None))


def mul(x: Any, y: Any) -> Tensor:
    """x * y, element by element."""
    x, y = operands(x, y)
    # The gradient of x needs y, and that of y needs x. Each is saved only if it will be asked for.
    saved_x, saved_y = x if y.requires_grad else None, y if x.requires_grad else None
    # d(x y)/dx = y, d(x y)/dy = x
    return record(x.data * y.data, (x, y), lambda g, out: (_times(g, saved_y), _times(g, saved_x)))


def _times(g: Gradient, y: Tensor | None) -> Gradient:
    """g * y, or None where the gradient is not needed."""
    return None if y is None else g * like(g, y)


def div(x: Any, y: Any) -> Tensor:
    """x / y."""
    x, y = operands(x, y)

    def vjp(g: Gradient, out: Gradient) -> tuple[Gradient, Gradient]:
        dx = g / like(g, y)  # d(x / y)/dx = 1 / y
        dy = -dx * out if y.requires_grad else None  # d(x / y)/dy = -x / y^2 = -(1 / y) (x / y)
        return dx, dy

    return record(x.data / y.data, (x, y), vjp, keep_output=y.requires_grad)


def neg(x: Any) -> Tensor:
    """-x."""
    x = as_tensor(x)
    return record(-x.data, (x,), lambda g, out: (-g,))


def pow(x: Any, y: Any) -> Tensor:
    """x ** y. The value of 0 ** 0 is 1, and its slopes with respect to x and to y are 0.

    Where x is 0 and y is positive, the slope with respect to y is 0: that is the limit of the slope as x goes to 0 from
    above.
    """
    if isinstance(y, (int, float, np.number, np.bool_)):
        x, n = as_tensor(x), python_number(y)
        return record(_power(x.data, n), (x,), lambda g, out: (_slope_of_power(g, x, n),))
    x, y = operands(x, y)
    n = y.data
    if isinstance(x.data, (int, float)) and is_float(y.dtype):
        # A Python number. The rule needs log(x) in the dtype of y, so here the number becomes an array of that dtype.
        x = Tensor(array_module(n).full((), x.data, n.dtype))

    def vjp(g: Gradient, out: Gradient) -> tuple[Gradient, Gradient]:
        dx = dy = None
        # At x = 0, inf * 0 = NaN would come out of the first formula if y = 0, and of the second if y >= 0. In these
        # cases the exponent y - 1, and the argument of the logarithm, are replaced by 1.
        zero = x.data == 0
        # These are operations on Tensors, so dx and dy are Tensors. If `g` is an array, the engine takes their arrays.
        if x.requires_grad:
            dx = g * (y * x ** where(zero & (y.data == 0), 1, y - 1))  # d x^y / dx = y x^(y - 1)
        if y.requires_grad:
            dy = g * (out * log(where(zero & (y.data >= 0), 1, x)))  # d x^y / dy = x^y log(x)
        return dx, dy

    return record(x.data**n, (x, y), vjp, keep_output=y.requires_grad)


def _slope_of_power(g: Gradient, x: Tensor, n: float) -> Gradient:
    """g * d x^n / dx for a Python number n."""
    if n == 0:  # the formula below would give 0 * x^(-1), which is NaN at x = 0
        return np.zeros_like(array_of(g))
    # d x^n / dx = n x^(n - 1), computed with Tensors; `like` takes the array if `g` is an array.
    return g * like(g, n * x ** (n - 1))


def _power(a: Array, n: float) -> Array:
    """a ** n; small whole powers by multiplication, because np.power takes hundreds of times as long.

    Exponentiation by squaring: a ** 13 is a * (a ** 6) ** 2, and so on. That takes one or two multiplications for each
    binary digit of n.
    """
    if is_bfloat16(a.dtype):  # NumPy's power of it is float32
        return _power(at_least_float32(a), n).astype(a.dtype)
    if n not in _SMALL_POWERS or not is_float(a.dtype):
        return a**n
    if n < 0:
        return 1 / _power(a, -n)
    if n == 1:
        return a
    half = _power(a, n // 2)
    return half * half * a if n % 2 else half * half


_SMALL_POWERS = frozenset(range(-16, 17)) - {0}


def abs(x: Any) -> Tensor:
    """|x|; the slope at 0 is 0."""
    x = as_tensor(x)
    # d|x|/dx = sign(x)
    return record(np.abs(x.data), (x,), lambda g, out: (g * np.sign(x.data),))


# --- functions of one input -------------------------------------------------------------------------------------------


def exp(x: Any) -> Tensor:
    """e to the power x."""
    x = as_tensor(x)
    # d exp(x)/dx = exp(x), which is the result
    return record(np.exp(x.data), (x,), lambda g, out: (g * out,), keep_output=True)


def expm1(x: Any) -> Tensor:
    """exp(x) - 1, exact also for small x, where exp(x) rounds to 1."""
    x = as_tensor(x)
    # d(exp(x) - 1)/dx = exp(x) = out + 1
    return record(np.expm1(x.data), (x,), lambda g, out: (g * (out + 1),), keep_output=True)


def log(x: Any) -> Tensor:
    """The natural logarithm."""
    x = as_tensor(x)
    # d log(x)/dx = 1 / x
    return record(np.log(x.data), (x,), lambda g, out: (g / like(g, x),))


def log1p(x: Any) -> Tensor:
    """log(1 + x), exact also for small x, where 1 + x rounds to 1."""
    x = as_tensor(x)
    # d log(1 + x)/dx = 1 / (1 + x)
    return record(np.log1p(x.data), (x,), lambda g, out: (g / (1 + like(g, x)),))


def sqrt(x: Any) -> Tensor:
    """The square root."""
    x = as_tensor(x)
    # For y = sqrt(x): dy/dx = 1 / (2 y)
    return record(np.sqrt(x.data), (x,), lambda g, out: (g * 0.5 / out,), keep_output=True)


def rsqrt(x: Any) -> Tensor:
    """1 / sqrt(x)."""
    x = as_tensor(x)
    # For y = x^(-1/2): dy/dx = -1/2 x^(-3/2) = -1/2 y^3
    return record(1 / np.sqrt(x.data), (x,), lambda g, out: (g * (-0.5 * out * out * out),), keep_output=True)


def sin(x: Any) -> Tensor:
    """The sine; x in radians."""
    x = as_tensor(x)
    # d sin(x)/dx = cos(x)
    return record(np.sin(x.data), (x,), lambda g, out: (g * like(g, cos(x)),))


def cos(x: Any) -> Tensor:
    """The cosine; x in radians."""
    x = as_tensor(x)
    # d cos(x)/dx = -sin(x)
    return record(np.cos(x.data), (x,), lambda g, out: (-g * like(g, sin(x)),))


def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent: between -1 and 1."""
    x = as_tensor(x)
    # For y = tanh(x): dy/dx = 1 - y^2
    return record(np.tanh(x.data), (x,), lambda g, out: (g - g * out * out,), keep_output=True)


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)), without overflow."""
    x = as_tensor(x)
    y = sigmoid_array(at_least_float32(x.data)).astype(x.dtype, copy=False)
    # dy/dx = y (1 - y)
    return record(y, (x,), lambda g, out: (g * out * (1 - out),), keep_output=True)


def erf(x: Any) -> Tensor:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    x = as_tensor(x)

    def vjp(g: Gradient, out: None) -> tuple[Gradient]:
        # The derivative of an integral is the integrand at the upper limit: 2 / sqrt(pi) exp(-x^2).
        wide = at_least_float32(x)
        return (g * like(g, 2 / math.sqrt(math.pi) * exp(-wide * wide)),)

    return record(erf_array(x.data), (x,), vjp)


def relu(x: Any) -> Tensor:
    """max(x, 0); the slope at 0 is 0, and that at NaN is 1."""
    x = as_tensor(x)
    # The slope is 1 where x is positive. There the result is positive too, so `x` need not be saved. Where the slope is
    # 0, the gradient is 0 even if `g` is infinite: that of log(relu(x)) is, and infinity times 0 would be NaN.
    vjp = lambda g, out: (masked(g, array_of(out) != 0),)
    return record(np.maximum(x.data, 0), (x,), vjp, keep_output=True)


def softplus(x: Any) -> Tensor:
    """log(1 + exp(x)), without overflow: a smooth form of max(x, 0)."""
    x = as_tensor(x)
    # d softplus(x)/dx = exp(x) / (1 + exp(x)) = sigmoid(x)
    return record(np.logaddexp(x.data, 0), (x,), lambda g, out: (g * like(g, sigmoid(x)),))


def logaddexp(x: Any, y: Any) -> Tensor:
    """log(exp(x) + exp(y)), without overflow. Where both are -inf, the slopes are 0."""
    x, y = operands(x, y)

    def vjp(g: Gradient, out: Gradient) -> tuple[Gradient, Gradient]:
        both_minus_inf = array_of(out) == -np.inf

        def gradient(a: Tensor, b: Tensor) -> Gradient:
            # d logaddexp(a, b)/da = exp(a) / (exp(a) + exp(b)) = sigmoid(a - b)
            return g * like(g, sigmoid(where(both_minus_inf, -np.inf, a - b)))

        with np.errstate(invalid="ignore"):  # -inf - (-inf) is NaN; `where` replaces it
            return gradient(x, y) if x.requires_grad else None, gradient(y, x) if y.requires_grad else None

    return record(np.logaddexp(x.data, y.data), (x, y), vjp, keep_output=True)


# --- conversions ------------------------------------------------------------------------------------------------------


def astype(x: Any, dtype: Any) -> Tensor:
    """`x` in another dtype (not copied if it has that already); differentiable from float to float."""
    x = as_tensor(x)
    data = converted(x.data, dtype)
    # The engine converts the gradient to the dtype of `x`, as it does after promotion.
    return record(data, (x,), lambda g, out: (g,)) if is_float(data.dtype) else Tensor(data)


def stop_gradient(x: Any) -> Tensor:
    """`x` as a constant."""
    return as_tensor(x).detach()
