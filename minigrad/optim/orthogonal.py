"""The nearest matrix whose singular values are all 1: exactly, and by a few matrix products.

A matrix is U diag(s) V^T, with singular values s of at least 0 (SVD). Its **polar factor** is U V^T: the same
rotations, but no direction is stretched. If a matrix has more columns than rows, the rows of its polar factor are
orthogonal and of length 1.

**Newton-Schulz**: a polynomial of odd powers, p(x) = a x + b x^3 + c x^5, can be applied to all singular values at once
without computing them:

    a X + (b X X^T + c (X X^T)^2) X  =  U diag(p(s)) V^T

Repeated, it moves singular values between 0 and 1 towards 1, if a, b and c are well chosen:

    EXACT            converges to 1, but small values take many steps: each step makes them only 15/8 times as large
    FAST             Jordan 2024, https://kellerjordan.github.io/posts/muon: after 5 steps, all that began above 0.01
                     are between 0.68 and 1.13. It never converges, which does no harm to an optimizer
    POLAR_EXPRESS    Amsel and others 2025, arXiv:2505.16932: other numbers in each step, the best ones for 5 steps
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.cuda.products import matmul

Coefficients = tuple[float, float, float]  # a, b, c

EXACT: Coefficients = (15 / 8, -10 / 8, 3 / 8)  # p(1) = 1, p'(1) = p''(1) = 0
FAST: Coefficients = (3.4445, -4.7750, 2.0315)
POLAR_EXPRESS: tuple[Coefficients, ...] = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def polar_factor(matrix: Array) -> Array:
    """U V^T, in float64. `matrix`: (..., rows, columns). The definition; an SVD takes much longer than products."""
    u, _, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    return u @ vt


def newton_schulz(matrix: Array, coefficients: Iterable[Coefficients], eps: float = 1e-7) -> Array:
    """U diag(p(...p(s / |s|))) V^T, where |s| is the Frobenius norm. `matrix`: (..., rows, columns); a new array.

    A norm below `eps` counts as `eps`, so a matrix of zeros stays one.
    """
    xp = array_module(matrix)
    # X X^T should be the smaller of the two products, so X lies down: no more rows than columns.
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.swapaxes(-2, -1) if tall else matrix
    # No singular value is larger than the Frobenius norm, the root of the sum of their squares.
    norm = xp.sqrt((x * x).sum(axis=(-2, -1), keepdims=True, dtype=np.float64))
    x = x * (1 / xp.maximum(norm, eps)).astype(x.dtype)
    for a, b, c in coefficients:
        gram = matmul(x, x.swapaxes(-2, -1))  # (..., rows, rows)
        x = a * x + matmul(b * gram + c * matmul(gram, gram), x)
    return x.swapaxes(-2, -1) if tall else x
