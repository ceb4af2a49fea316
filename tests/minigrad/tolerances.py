"""How far two results may differ that are equal in exact arithmetic, and why.

A rounding is off by at most half a unit in the last place: 1.1e-16 of the number in float64, 6e-8 in float32. n
roundings in another order differ by about sqrt(n) of them where they are independent, and by n where they all go the
same way. What a tolerance leaves room for is written beside it; a wrong formula is off by far more.
"""

from __future__ import annotations

# float64: at most a hundred roundings, and no cancellation that would amplify them.
FLOAT64_ROUNDINGS = 1e-14

# float64: sums of up to a few thousand terms of size about 1, in another order.
FLOAT64_SUMS = 1e-12

# float64: sums as above, then divided by numbers that may be small, such as the standard deviation of a row whose
# elements are nearly equal.
FLOAT64_QUOTIENTS = 1e-9

# float32: some hundred roundings in another order, or sums of a few thousand terms.
FLOAT32_SUMS = 2e-5

SUMS = {"float64": FLOAT64_SUMS, "float32": FLOAT32_SUMS}  # by the name of the dtype

# Central differences of float64 with a step h near 1e-5 are off by about h^2 times the third derivative, and by the
# rounding 1e-16 / h: both near 1e-10. A hundred times that, for derivatives that are not of size 1.
FINITE_DIFFERENCES = {"rtol": 1e-7, "atol": 1e-8}

# Differences of what is itself such a derivative, or sums over a Hessian made of them.
SECOND_DIFFERENCES = {"rtol": 1e-6, "atol": 1e-7}
