"""A stand-in for the generator of a layer that draws nothing: `GPT.initialize` gives all weights their values, in one
place.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class _Undrawn:
    """The two methods that layers call, returning zeros that take no memory."""

    def uniform(self, low: float, high: float, size: Any) -> np.ndarray:
        return np.broadcast_to(np.float32(0), size)

    def standard_normal(self, size: Any) -> np.ndarray:
        return np.broadcast_to(np.float32(0), size)


UNDRAWN: Any = _Undrawn()
