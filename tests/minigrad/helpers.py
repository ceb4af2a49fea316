"""What the tests of the engine build their examples from."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from minigrad import Tensor

seeds = st.integers(0, 2**32 - 1)  # of np.random.default_rng


def leaf(values: Any, dtype: Any = np.float64) -> Tensor:
    """A tensor that requires a gradient; float64, so that roundings stay far below what a test looks for."""
    return Tensor(np.array(values, dtype), requires_grad=True)
