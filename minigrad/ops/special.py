"""Special functions of arrays, written out: erf and the logistic sigmoid. Their gradient rules are in elementwise.py.

NumPy has no erf. This one follows W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics
of Computation 23 (1969), 631-637: a quotient of two polynomials for each range of |x|, with his coefficients. Every
range is computed for every element, and `where` picks one: on a GPU, asking which ranges occur would mean waiting for
the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigrad.backend import Array, at_least_float32

# fmt: off
# For |x| <= 0.46875: erf(x) = x P(x^2) / Q(x^2). Coefficients from the highest power down.
_SMALL_P = (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
            3.20937758913846947e3)
_SMALL_Q = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)

# For 0.46875 <= x <= 4: 1 - erf(x) = exp(-x^2) P(x) / Q(x). Cody has a third quotient for x > 4. It is not needed here:
# from 4 to 6, 1 - erf(x) is below 1.6e-8, and the second quotient gives it with a relative error of at most 1e-8.
_LARGE_P = (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
            2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
            1.23033935479799725e3)
_LARGE_Q = (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
            3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3)
# fmt: on


def erf_array(a: Array) -> Array:
    """erf of a floating-point array, to a few units in the last place of its dtype."""
    wide = at_least_float32(a)  # the coefficients are beyond the range of float16
    magnitude = np.abs(wide)  # erf(-x) = -erf(x): computed for |x|, and the sign is put back at the end
    # Each formula gets numbers of its own range only, so that nothing overflows where its result is not used.
    small, large = np.minimum(magnitude, 0.46875), np.clip(magnitude, 0.46875, 6.0)  # from 6 on, erf rounds to 1
    square = small * small
    near_zero = small * _polynomial(square, _SMALL_P) / _polynomial(square, _SMALL_Q)
    far = 1 - np.exp(-large * large) * _polynomial(large, _LARGE_P) / _polynomial(large, _LARGE_Q)
    return np.copysign(np.where(magnitude <= 0.46875, near_zero, far), wide).astype(a.dtype, copy=False)


def _polynomial(a: Array, coefficients: Sequence[float]) -> Array:
    """c[0] a^n + c[1] a^(n-1) + ... + c[n], by Horner's rule: ((c[0] a + c[1]) a + c[2]) a + ..."""
    total = a * coefficients[0]
    for c in coefficients[1:-1]:
        total += c
        total *= a
    return total + coefficients[-1]


@np.errstate(over="ignore")
def sigmoid_array(a: Array) -> Array:
    """1 / (1 + exp(-a)). Far below zero, exp(-a) becomes infinity and the quotient 0, which is right."""
    e = np.exp(-a)
    e += 1
    return np.reciprocal(e)
