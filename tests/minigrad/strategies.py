"""Examples of calls for hypothesis.

Each whole number that `Choices` asks for is a draw of hypothesis, so an example that fails shrinks to a simple one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minigrad.gradcheck.catalogue import CATALOGUE
from minigrad.gradcheck.choices import Choices, Example


class DrawnChoices(Choices):
    def __init__(self, draw: Callable[[st.SearchStrategy], Any]):
        super().__init__()
        self.draw = draw

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))


@st.composite
def choices(draw: Any) -> Choices:
    """A source of shapes, axes and arrays."""
    return DrawnChoices(draw)


@st.composite
def examples(draw: Any, name: str) -> Example:
    """A call of the function `name` of the catalogue."""
    return CATALOGUE[name].example(DrawnChoices(draw))


@st.composite
def arrays(draw: Any, **bounds: float) -> np.ndarray:
    """An array of any shape and layout, with numbers between the bounds `low` and `high`."""
    return DrawnChoices(draw).array(**bounds)
