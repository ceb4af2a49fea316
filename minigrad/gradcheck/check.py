"""Gradients compared with central finite differences in float64, of first and higher order.

The central difference (f(x + h) - f(x - h)) / 2h has two errors: h² f'''/6, because the Taylor series is cut, and about
2e-16 |f| / h from rounding. With h = 1e-5 both are near 1e-10 for values and derivatives around 1. The tolerances,
`atol` = 1e-7 and `rtol` = 1e-6, leave three digits of room for large third derivatives and for sums of a few hundred
terms. A wrong rule is usually wrong in its first digits. (Press et al., Numerical Recipes, section 5.7.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minigrad.autograd import fresh_inputs, grad
from minigrad.backend import Array, array_module, to_device
from minigrad.modes import mode, no_grad, recording
from minigrad.tensor import Tensor


class GradientError(AssertionError):
    """A gradient that differs from the finite differences, or that has the wrong shape or dtype."""


class Errors(NamedTuple):
    """The largest difference between gradients and finite differences."""

    absolute: float
    relative: float  # the absolute one divided by the largest derivative


@dataclass(frozen=True)
class _Precision:
    eps: float  # the step h
    atol: float
    rtol: float


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
    """Check the gradients of `f(*inputs)`, a Tensor or several, with respect to all inputs; returns the largest errors.

    `inputs`: float64 arrays or Tensors, further than `eps` from a kink of `f`. Other arguments are bound with a lambda
    or functools.partial. `order=2` also checks the gradient of the gradient. `mode`: "full" compares every element of
    the Jacobian, which takes two calls for each element of the inputs; "random" compares one random projection of it,
    drawn from `seed`, which takes two calls for each input. Raises GradientError with the function, the input, the
    index, and both numbers; TypeError for inputs that are not float64.
    """
    if mode not in _MODES or order < 1:
        raise ValueError(
            f"gradcheck takes mode 'full' or 'random' and order 1 or more, not mode={mode!r}, order={order}"
        )
    inputs = (inputs,) if isinstance(inputs, (Tensor, np.ndarray)) else inputs
    arrays = [_float64(x, i) for i, x in enumerate(inputs)]
    labels = [f"input {i}" for i in range(len(arrays))]
    point = _Point(f, arrays, labels, name or _name_of(f), _Precision(eps, atol, rtol))
    rng = np.random.default_rng(seed)
    errors = [_MODES[mode](point, rng)]
    for _ in range(order - 1):
        point = point.of_gradient(rng)
        errors.append(_MODES[mode](point, rng))
    return Errors(*map(max, zip(*errors)))


class _Point:
    """A function at the point where it is checked, with two ways to differentiate it there.

    `numeric` uses finite differences, `analytic` the graph. Several outputs are taken as one long vector.
    """

    def __init__(self, f: Callable, arrays: Sequence[Array], labels: list[str], name: str, precision: _Precision):
        self.f, self.arrays, self.labels, self.name, self.precision = f, arrays, labels, name, precision
        self.xs = [Tensor(a, requires_grad=True) for a in arrays]  # not copied: the strides are part of the check
        with recording(True):
            self.outs = _as_tuple(f(*self.xs))
        for out in self.outs:
            if out.dtype != np.float64:
                raise GradientError(
                    f"{name} returned {out.dtype} for float64 inputs; it must compute in the dtype of its inputs"
                )
        if not np.allclose(self.value(arrays), _flattened(self.outs), rtol=1e-8, atol=1e-8, equal_nan=True):
            raise GradientError(
                f"{name} returned different values for the same inputs, so it cannot be checked; "
                f"if it draws random numbers, give it a fixed key"
            )

    def value(self, arrays: Sequence[Array]) -> np.ndarray:
        """The outputs as one vector."""
        with no_grad():
            return _flattened(_as_tuple(self.f(*map(Tensor, arrays))))

    def numeric(self, i: int, direction: np.ndarray) -> np.ndarray:
        """The derivative of the outputs when input i moves along `direction`."""
        x, eps = self.arrays[i], self.precision.eps
        step = array_module(x).asarray(eps * direction)
        plus, minus = ([*self.arrays[:i], moved, *self.arrays[i + 1 :]] for moved in (x + step, x - step))
        return (self.value(plus) - self.value(minus)) / (2 * eps)

    def analytic(self, cotangent: np.ndarray) -> list[np.ndarray]:
        """The gradients of the dot product of the outputs and `cotangent`, one for each input."""
        ends = np.cumsum([out.size for out in self.outs])[:-1]
        seeds = [
            array_module(out.data).asarray(flat.reshape(out.shape))
            for flat, out in zip(np.split(cotangent, ends), self.outs)
        ]
        gradients = grad(self.outs, self.xs, seeds, retain_graph=True)
        for g, x, label in zip(gradients, self.xs, self.labels):
            if g.shape != x.shape or g.dtype != x.dtype:
                raise GradientError(
                    f"the gradient of {self.name} with respect to {label} has shape {g.shape} and dtype {g.dtype}; "
                    f"the input has shape {x.shape} and dtype {x.dtype}"
                )
        return [to_device(g.data, "cpu") for g in gradients]

    def compare(
        self, i: int, index: Callable[[], tuple], expected: float, received: float, *, magnitude: float
    ) -> float:
        """The absolute error of one derivative with respect to input i.

        Raises GradientError if it is larger than `atol + rtol * magnitude`; `index()` finds the element to name.
        """
        error = abs(received - expected)
        if not error <= self.precision.atol + self.precision.rtol * magnitude:  # not `error > ...`: NaN must fail
            raise GradientError(
                f"the gradient of {self.name} with respect to {self.labels[i]} at index {index()}: expected "
                f"{expected:.10g} (finite differences), received {received:.10g}, error {error:.2g}"
            )
        return error

    def of_gradient(self, rng: np.random.Generator) -> _Point:
        """The gradient of the function as a function itself: of the same inputs, and of the incoming gradients."""
        n = len(self.arrays)
        incoming = [array_module(out.data).asarray(rng.standard_normal(out.shape)) for out in self.outs]
        labels = self.labels + [f"incoming gradient {i}" for i in range(len(incoming))]
        f, name = partial(_gradient, self.f, n), f"the gradient of {self.name}"
        return _Point(f, [*self.arrays, *incoming], labels, name, self.precision)


def _gradient(f: Callable, n: int, *args: Tensor) -> tuple[Tensor, ...]:
    """The gradients of `f(*args[:n])` for the incoming gradients `args[n:]`.

    Finite differences call this under no_grad and get the gradients by the first-order rules. Otherwise the gradients
    can be differentiated again. For a fused function these are two different pieces of code, so the check also compares
    them with each other.
    """
    create_graph = mode.recording
    with recording(True):
        xs = fresh_inputs(args[:n])
        outs = _as_tuple(f(*xs))
    return grad(outs, xs, args[n:], create_graph=create_graph)


def _check_full(point: _Point, rng: np.random.Generator) -> Errors:
    """Compare every element of every Jacobian."""
    # Row i of the Jacobian is the gradient of output element i: the cotangent is 1 there and 0 elsewhere.
    rows = [point.analytic(row) for row in np.eye(sum(out.size for out in point.outs))]
    worst, largest = 0.0, 0.0
    for i, x in enumerate(point.arrays):
        for k in np.ndindex(x.shape):
            direction = np.zeros(x.shape)
            direction[k] = 1  # the derivative along it is column k of the Jacobian
            for row, expected in zip(rows, point.numeric(i, direction)):
                received, magnitude = float(row[i][k]), abs(expected)
                worst = max(worst, point.compare(i, partial(tuple, k), expected, received, magnitude=magnitude))
                largest = max(largest, magnitude)
    return Errors(worst, worst / (largest or 1))


def _check_random(point: _Point, rng: np.random.Generator) -> Errors:
    """Compare one number for each input: u J d, with the Jacobian J and random vectors u and d.

    A wrong element is missed only if another error happens to cancel it.
    """
    u = _random_vector(rng, (sum(out.size for out in point.outs),))
    worst, largest = 0.0, 0.0
    for i, g in enumerate(point.analytic(u)):  # g = u J
        d = _random_vector(rng, g.shape)
        magnitude = float(np.linalg.norm(g * d))  # not |u J d|, where the terms may cancel
        expected, received = float(u @ point.numeric(i, d)), float(np.sum(g * d))
        index = partial(_worst_index, point, i, u, g, d)
        worst = max(worst, point.compare(i, index, expected, received, magnitude=magnitude))
        largest = max(largest, magnitude)
    return Errors(worst, worst / (largest or 1))


def _random_vector(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of either sign. None of them is small, so every element has a weight that matters."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice((-1.0, 1.0), shape)


def _worst_index(point: _Point, i: int, u: np.ndarray, g: np.ndarray, d: np.ndarray) -> tuple:
    """An element of input i whose gradient is wrong, found by bisection: go on with the half that has more error."""

    def error(chosen: np.ndarray) -> float:
        direction = np.zeros(d.shape)
        direction.flat[chosen] = d.flat[chosen]
        difference = abs(u @ point.numeric(i, direction) - np.sum(g * direction))
        return np.inf if np.isnan(difference) else difference

    suspects = np.arange(d.size)
    while suspects.size > 1:
        suspects = max(np.array_split(suspects, 2), key=error)
    return tuple(int(k) for k in np.unravel_index(suspects[0], d.shape))


_MODES = {"full": _check_full, "random": _check_random}


def _float64(x: Any, i: int) -> Array:
    x = x.data if isinstance(x, Tensor) else x
    dtype = getattr(x, "dtype", None)
    if dtype != np.float64:
        raise TypeError(
            f"gradcheck needs float64 arrays, because rounding hides finite differences in lower precision, but "
            f"input {i} is {dtype or type(x).__name__}; use .astype(np.float64), and bind what is not differentiated "
            f"with functools.partial"
        )
    return np.asarray(x) if isinstance(x, np.generic) else x


def _as_tuple(outs: Any) -> tuple[Tensor, ...]:
    return (outs,) if isinstance(outs, Tensor) else tuple(outs)


def _flattened(outs: Sequence[Tensor]) -> np.ndarray:
    return np.concatenate([to_device(out.data, "cpu").ravel() for out in outs])


def _name_of(f: Any) -> str:
    f = f.func if isinstance(f, partial) else f
    return getattr(f, "__name__", type(f).__name__)
