"""Gradients against central finite differences in float64, of first and second order, element by element or by random
projection.

A central difference (f(x + h) - f(x - h)) / 2h is off by h^2 f'''/6 from cutting the Taylor series, and by about 2e-16
|f| / h from rounding. With h = 1e-5 both are near 1e-10 for values and derivatives around 1, so `atol` = 1e-7 and
`rtol` = 1e-6 leave three digits of room for third derivatives and sums of a few hundred, while a wrong rule is usually
off in its first digits. (Press et al., Numerical Recipes, section 5.7.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minigrad.autograd import fresh, grad
from minigrad.backend import array_module, to_device
from minigrad.modes import mode, no_grad, recording
from minigrad.tensor import Tensor


class GradientError(AssertionError):
    """A gradient that finite differences contradict, or of the wrong shape or dtype."""


class Errors(NamedTuple):
    """The largest difference between gradients and finite differences, and the same over the largest derivative met."""

    absolute: float
    relative: float


def gradcheck(
    f: Callable,
    inputs: Any,
    *,
    order: int = 1,
    mode: str = "full",
    seed: int = 0,
    eps: float = 1e-5,
    atol: float = 1e-7,
    rtol: float = 1e-6,
    name: str | None = None,
) -> Errors:
    """Check the gradients of `f(*inputs)`, a Tensor or several, with respect to every input, and return the largest
    errors.

    `inputs`: float64 arrays or Tensors (bind everything else with a lambda or functools.partial), not within `eps` of a
    kink. `mode`: "full" compares the whole Jacobian, one number at a time; "random" one drawn projection of it per
    input, which costs two calls instead of two per element. `order=2` goes on to check the gradient of the gradient.
    `seed` draws the projections. Raises GradientError naming function, input, index, what was expected and received;
    TypeError for inputs that are not float64.
    """
    if mode not in _MODES or order < 1:
        raise ValueError(
            f"gradcheck takes mode 'full' or 'random' and order 1 or more, not mode={mode!r}, order={order}"
        )
    inputs = (inputs,) if isinstance(inputs, (Tensor, np.ndarray)) else inputs
    arrays = [_float64(x, i) for i, x in enumerate(inputs)]
    point = _Point(f, arrays, [f"input {i}" for i in range(len(arrays))], name or _name_of(f), eps, atol, rtol)
    rng = np.random.default_rng(seed)
    errors = []
    for level in range(order):
        if level:
            point = point.of_gradient(rng)
        errors.append(_MODES[mode](point, rng))
    return Errors(*map(max, zip(*errors)))


class _Point:
    """A function where it is checked: its derivatives there by finite differences (`numeric`) and by the graph
    (`analytic`).

    Several outputs are looked at as one long vector.
    """

    def __init__(
        self, f: Callable, arrays: Sequence[Any], labels: list[str], name: str, eps: float, atol: float, rtol: float
    ):
        self.f, self.arrays, self.labels, self.name = f, arrays, labels, name
        self.eps, self.atol, self.rtol = eps, atol, rtol
        self.xs = [
            Tensor(a, requires_grad=True) for a in arrays
        ]  # the arrays themselves: strides are part of the check
        with recording(True):
            self.outs = _several(f(*self.xs))
        for out in self.outs:
            if out.dtype != np.float64:
                raise GradientError(
                    f"{name} returned {out.dtype} for float64 inputs; it must compute in the dtype of its inputs"
                )
        if not np.allclose(self.value(arrays), _vector(self.outs), rtol=1e-8, atol=1e-8, equal_nan=True):
            raise GradientError(
                f"{name} returned two different values for the same inputs, so that it cannot be checked; "
                f"give a fixed key to what is random in it"
            )

    def value(self, arrays: Sequence[Any]) -> np.ndarray:
        with no_grad():
            return _vector(_several(self.f(*map(Tensor, arrays))))

    def numeric(self, i: int, direction: np.ndarray) -> np.ndarray:
        """The derivative of the outputs as input i moves along `direction`."""
        x = self.arrays[i]
        step = array_module(x).asarray(self.eps * direction)
        there, back = ([*self.arrays[:i], moved, *self.arrays[i + 1 :]] for moved in (x + step, x - step))
        return (self.value(there) - self.value(back)) / (2 * self.eps)

    def analytic(self, cotangent: np.ndarray) -> list[np.ndarray]:
        """The gradients of the outputs' product with the vector `cotangent`, one for each input."""
        ends = np.cumsum([out.size for out in self.outs])[:-1]
        seeds = [
            array_module(out.data).asarray(piece.reshape(out.shape))
            for piece, out in zip(np.split(cotangent, ends), self.outs)
        ]
        found = grad(self.outs, self.xs, seeds, retain_graph=True)
        for g, x, label in zip(found, self.xs, self.labels):
            if g.shape != x.shape or g.dtype != x.dtype:
                raise GradientError(
                    f"the gradient of {self.name} with respect to {label} has shape {g.shape} and dtype {g.dtype}; "
                    f"the input has shape {x.shape} and dtype {x.dtype}"
                )
        return [to_device(g.data, "cpu") for g in found]

    def compare(self, i: int, index: Any, expected: float, received: float, scale: float) -> float:
        """The absolute error of one derivative; raises if it is beyond the tolerance. `index()` finds the element to be
        named.
        """
        error = abs(received - expected)
        if not error <= self.atol + self.rtol * scale:  # written so that NaN fails
            raise GradientError(
                f"the gradient of {self.name} with respect to {self.labels[i]} at index {index()}: expected "
                f"{expected:.10g} (finite differences), received {received:.10g}, error {error:.2g}"
            )
        return error

    def of_gradient(self, rng: np.random.Generator) -> _Point:
        """The same point for the function's gradient, whose inputs are the function's and the gradients that come
        in.
        """
        n = len(self.arrays)
        incoming = [array_module(out.data).asarray(rng.standard_normal(out.shape)) for out in self.outs]
        labels = self.labels + [f"incoming gradient {i}" for i in range(len(incoming))]
        return _Point(
            partial(_gradient, self.f, n),
            [*self.arrays, *incoming],
            labels,
            f"the gradient of {self.name}",
            self.eps,
            self.atol,
            self.rtol,
        )


def _gradient(f: Callable, n: int, *args: Tensor) -> tuple[Tensor, ...]:
    """The gradients of `f(*args[:n])` for the incoming gradients `args[n:]`.

    Under no_grad, where finite differences are taken, they come from the first-order rules; else from rules that can be
    differentiated. For a fused function these are two different pieces of code, so that one is checked against the
    other.
    """
    create_graph = mode.recording
    with recording(True):
        xs = fresh(args[:n])
        outs = _several(f(*xs))
    return grad(outs, xs, args[n:], create_graph=create_graph)


def _check_full(point: _Point, rng: np.random.Generator) -> Errors:
    """Every element of every Jacobian."""
    received = [point.analytic(row) for row in np.eye(sum(out.size for out in point.outs))]
    worst, largest = 0.0, 0.0
    for i, x in enumerate(point.arrays):
        for k in np.ndindex(x.shape):
            direction = np.zeros(x.shape)
            direction[k] = 1
            for row, expected in zip(received, point.numeric(i, direction)):
                worst = max(worst, point.compare(i, lambda k=k: k, expected, float(row[i][k]), abs(expected)))
                largest = max(largest, abs(expected))
    return Errors(worst, worst / (largest or 1))


def _check_random(point: _Point, rng: np.random.Generator) -> Errors:
    """One projection u . J d for each input, u and d drawn: a wrong element could only hide behind another that cancels
    it.
    """
    u = _projection(rng, (sum(out.size for out in point.outs),))
    gradients = point.analytic(u)
    worst, largest = 0.0, 0.0
    for i, g in enumerate(gradients):
        d = _projection(rng, g.shape)
        scale = float(np.linalg.norm(g * d))  # not |u . J d|, which may be small by cancellation
        expected, received = float(u @ point.numeric(i, d)), float(np.sum(g * d))
        worst = max(worst, point.compare(i, partial(_worst_index, point, i, u, g, d), expected, received, scale))
        largest = max(largest, scale)
    return Errors(worst, worst / (largest or 1))


def _projection(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of either sign, none of them small, so that no element is looked at with a small weight."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice((-1.0, 1.0), shape)


def _worst_index(point: _Point, i: int, u: np.ndarray, g: np.ndarray, d: np.ndarray) -> tuple:
    """An element of input i whose gradient is wrong, by bisection: of two halves of `d`, go on with the one that is
    further off.
    """

    def error(chosen: np.ndarray) -> float:
        part = np.zeros(d.shape)
        part.flat[chosen] = d.flat[chosen]
        off = abs(u @ point.numeric(i, part) - np.sum(g * part))
        return np.inf if np.isnan(off) else off

    suspects = np.arange(d.size)
    while suspects.size > 1:
        suspects = max(np.array_split(suspects, 2), key=error)
    return tuple(int(k) for k in np.unravel_index(suspects[0], d.shape))


_MODES = {"full": _check_full, "random": _check_random}


def _float64(x: Any, i: int) -> Any:
    x = x.data if isinstance(x, Tensor) else x
    dtype = getattr(x, "dtype", None)
    if dtype != np.float64:
        raise TypeError(
            f"gradcheck needs float64 arrays, input {i} is {dtype or type(x).__name__}: finite differences drown in "
            "rounding "
            f"below that; use .astype(np.float64), and bind what is not differentiated with functools.partial"
        )
    return np.asarray(x) if isinstance(x, np.generic) else x


def _several(outs: Any) -> tuple[Tensor, ...]:
    return (outs,) if isinstance(outs, Tensor) else tuple(outs)


def _vector(outs: Sequence[Tensor]) -> np.ndarray:
    return np.concatenate([to_device(out.data, "cpu").ravel() for out in outs])


def _name_of(f: Any) -> str:
    f = f.func if isinstance(f, partial) else f
    return getattr(f, "__name__", type(f).__name__)
