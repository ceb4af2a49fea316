"""Which numbers a configuration may hold: those that NumPy's integers, and float32, can hold too."""

from __future__ import annotations

from typing import Any

LARGEST_INT = 1 << 63  # integers of arrays are smaller
LARGEST_FLOAT = 3.4e38  # of float32, in which the model computes


def is_count(n: Any) -> bool:
    """Whether this is a whole number of at least 1. (For Python, True is one too.)"""
    return isinstance(n, int) and not isinstance(n, bool) and 1 <= n < LARGEST_INT


def is_number(x: Any) -> bool:
    """Whether this is a finite number."""
    return isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) <= LARGEST_FLOAT  # False for NaN


def is_positive(x: Any) -> bool:
    """Whether this is a finite number above 0."""
    return is_number(x) and x > 0
