"""Operations that choose between elements, and comparisons.

The gradient goes where the chosen element came from, and 0 goes to the other. Where two elements are equal, the choice
has a kink, and no single slope is right; each docstring says which slope is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.backend import Array, is_bfloat16
from minigrad.lazy import Gradient
from minigrad.tensor import Tensor, array_of, as_tensor, operands, record

# fmt: off
__all__ = ["maximum", "minimum", "where", "clip", "less", "less_equal", "equal", "greater", "greater_equal",
           "not_equal", "isnan", "isfinite"]
# fmt: on

MASK_BY_PRODUCT = 4096  # for more elements than this, a product with a mask is faster than np.where

# --- choices ----------------------------------------------------------------------------------------------------------


def maximum(x: Any, y: Any) -> Tensor:
    """The larger of two elements, with broadcasting. Where they are equal, each gets half of the gradient.

    Where one of them is NaN, so is the result, and both get all of the gradient.
    """
    x, y = operands(x, y)
    return record(np.maximum(x.data, y.data), (x, y), lambda g, out: _choice_gradients(g, x, y, np.greater))


def minimum(x: Any, y: Any) -> Tensor:
    """The smaller of two elements, with broadcasting. Gradients at ties and at NaN as for `maximum`."""
    x, y = operands(x, y)
    return record(np.minimum(x.data, y.data), (x, y), lambda g, out: _choice_gradients(g, x, y, np.less))


def _choice_gradients(g: Gradient, x: Tensor, y: Tensor, better: np.ufunc) -> tuple[Gradient, Gradient]:
    """The gradients of x and y: 0 where the other was chosen, half of `g` where both are equal, else `g`."""
    a, b = x.data, y.data
    # Where both are equal, each slope jumps between 0 and 1. Half is the mean of the two.
    g = where_in_rule(a == b, 0.5 * g, g)
    # "Not worse" is not the same as "better or equal": all comparisons with NaN are false, so with NaN both get `g`.
    dx = masked(g, ~better(b, a)) if x.requires_grad else None
    dy = masked(g, ~better(a, b)) if y.requires_grad else None
    return dx, dy


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """`x` where `condition` (boolean array or Tensor, not differentiated) holds, `y` elsewhere; all three broadcast."""
    c = condition if type(condition) is np.ndarray else as_tensor(condition).data
    x, y = operands(x, y)
    # The rule uses these, and not `x` and `y` themselves, which it would keep in memory.
    x_needed, y_needed = x.requires_grad, y.requires_grad

    def vjp(g: Gradient, out: None) -> tuple[Gradient, Gradient]:
        # Where the condition holds, the result is x, and all of the gradient goes to x. Elsewhere it goes to y.
        return where_in_rule(c, g, 0) if x_needed else None, where_in_rule(c, 0, g) if y_needed else None

    return record(np.where(c, x.data, y.data), (x, y), vjp)


def where_in_rule(condition: Array, x: Gradient, y: Gradient) -> Gradient:
    """`where` for gradient rules: an array if x and y are arrays, else a Tensor."""
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        return where(condition, x, y)
    return np.where(condition, x, y)


def masked(g: Gradient, mask: Array) -> Gradient:
    """`g` where `mask` holds, else 0, for gradient rules: an array of an array, a Tensor of a Tensor."""
    # The product is several times as fast as np.where. But infinity times 0 is NaN, and the gradient must be 0 there.
    if isinstance(g, np.ndarray) and g.size > MASK_BY_PRODUCT and np.isfinite(g).all():
        return g * mask
    return where_in_rule(mask, g, 0)


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:  # NumPy's names; here they hide Python's min and max
    """`x` with its elements limited to the range from `min` to `max`; both are constants or None (no bound).

    The slope is 1 inside the range and at the bounds, and 0 outside. Raises TypeError if a bound requires a gradient.
    """
    x = as_tensor(x)
    if any(isinstance(b, Tensor) and b.requires_grad for b in (min, max)):
        raise TypeError(
            "clip: the bounds are constants, but one of them requires a gradient; use maximum and minimum instead"
        )
    # None means no bound for np.clip too. `operands` converts NumPy scalars, which would promote x.
    bounds = [None if b is None else operands(x, b)[1].data for b in (min, max)]
    data = np.clip(x.data, *bounds)
    if is_bfloat16(x.dtype):  # np.clip gives it as float32
        data = data.astype(np.result_type(x.data, *[b for b in bounds if b is not None]))
    # The slope is 1 where the result equals the input, and 0 where the element was clipped.
    return record(data, (x,), lambda g, out: (masked(g, array_of(out) == x.data),), keep_output=True)


# --- comparisons: boolean results, which have no gradient -------------------------------------------------------------


def _comparison(compare: np.ufunc) -> Callable[[Any, Any], Tensor]:
    """The comparison as an operation on tensors, with the name of the ufunc."""

    def op(x: Any, y: Any) -> Tensor:
        x, y = operands(x, y)
        return Tensor(compare(x.data, y.data))

    # Names and documentation would otherwise be those of the function above, for all six.
    op.__name__ = op.__qualname__ = compare.__name__
    op.__doc__ = f"np.{compare.__name__} of two tensors, with broadcasting: a boolean Tensor."
    return op


less, less_equal, equal = _comparison(np.less), _comparison(np.less_equal), _comparison(np.equal)
greater, greater_equal = _comparison(np.greater), _comparison(np.greater_equal)
not_equal = _comparison(np.not_equal)


def isnan(x: Any) -> Tensor:
    """Which elements are not a number (NaN)."""
    return Tensor(np.isnan(as_tensor(x).data))


def isfinite(x: Any) -> Tensor:
    """Which elements are neither infinite nor NaN."""
    return Tensor(np.isfinite(as_tensor(x).data))
