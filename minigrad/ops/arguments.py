"""Axes, shapes and other whole numbers: all forms that NumPy and PyTorch take are converted to int or a tuple of int.

One number may be given as `np.int64(1)` or `np.array(1)`, several numbers as a list or an array. An operation converts
them first of all, because its gradient rule calculates with them: `roll` shifts the gradient back by `-shift`, and
`-np.uint8(2)` is 254.
"""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

Axes = int | tuple[int, ...] | None  # None: all axes


def as_int(value: Any, name: str) -> int:
    """A whole number as an int. Raises TypeError for all else; `name` is that of the argument."""
    if type(value) is int:  # nearly always so, and this test is much faster than `index`
        return value
    try:
        return int(index(value))  # the index of True is True, hence int()
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {described(value)}") from None


def as_ints(value: Any, name: str) -> int | tuple[int, ...]:
    """One whole number as an int, several as a tuple of int. Raises TypeError for all else."""
    if type(value) is int or type(value) is tuple and _are_ints(value):
        return value
    if type(value) is not tuple and not _is_sequence(value):
        try:
            return int(index(value))
        except TypeError:
            raise TypeError(f"{name} must be a whole number or a tuple of them, not {described(value)}") from None
    return tuple([item if type(item) is int else as_int(item, f"each number of {name}") for item in value])


def as_number(value: Any, name: str) -> float:
    """A number, or an array of one element, as a Python number. Raises TypeError for all else."""
    if type(value) is int or type(value) is float:
        return value
    refuse_variable(value, name)
    # np.float64 is a subclass of float, so it passes the test below. But it would promote float32, so it is converted.
    number = value.item() if getattr(value, "size", 0) == 1 else value
    if not isinstance(number, (int, float)):
        raise TypeError(f"{name} must be a number, not {described(value)}")
    return number


def refuse_variable(value: Any, name: str) -> None:
    """Raise TypeError if an argument that is a constant is a tensor that requires a gradient, which would be lost."""
    if getattr(value, "requires_grad", False):
        raise TypeError(f"{name} is a constant, but this tensor requires a gradient; give its value, as in x.detach()")


def as_axes(axis: Any) -> Axes:
    """The argument `axis` of an operation that takes one axis, several of them, or None."""
    if axis is None or type(axis) is int or type(axis) is tuple and _are_ints(axis):
        return axis
    if type(axis) is not tuple:
        _refuse_bool(axis)
    return as_ints(axis, "axis")


def as_axis(axis: Any) -> int | None:
    """The argument `axis` of an operation that takes one axis or None."""
    if axis is None or type(axis) is int:
        return axis
    _refuse_bool(axis)
    return as_int(axis, "axis")


def as_reduction(axis: Any, keepdims: Any) -> tuple[Axes, bool]:
    """The arguments `axis` and `keepdims` of a reduction."""
    if type(keepdims) is bool and (axis is None or type(axis) is int):  # nearly always so
        return axis, keepdims
    if type(keepdims) is not bool:
        keepdims = bool(keepdims if isinstance(keepdims, np.bool) else as_int(keepdims, "keepdims"))
    return as_axes(axis), keepdims


def _are_ints(values: tuple) -> bool:
    for value in values:  # noqa: SIM110 - `all` with a generator takes several times as long
        if type(value) is not int:
            return False
    return True


def _is_sequence(value: Any) -> bool:
    """Whether this is a list, an array with axes, a range and so on."""
    return hasattr(value, "__iter__") and getattr(value, "ndim", 1) > 0 and not isinstance(value, (str, bytes, dict))


def described(value: Any) -> str:
    """A wrong argument in a few words, for error messages."""
    if getattr(value, "ndim", 0):
        return f"an array of shape {value.shape}"
    text = repr(value)
    return text if len(text) < 50 and " at 0x" not in text else type(value).__name__


def _refuse_bool(axis: Any) -> None:
    # A bool is a whole number to Python. As an axis it is a mistake: `x.sum(True)` where keepdims=True was meant.
    if isinstance(axis, (bool, np.bool)):
        raise TypeError(f"axis must be a whole number, not {axis}; options such as keepdims are given by name")
