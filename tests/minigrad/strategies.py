"""Examples of calls, for hypothesis: every whole number that the catalogue's `Choices` asks for is a draw, so that
examples shrink.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from minigrad.gradcheck.catalogue import CATALOGUE
from minigrad.gradcheck.choices import Choices, Example


class Drawn(Choices):
    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))


@st.composite
def choices(draw) -> Choices:
    """A source of shapes, axes and arrays."""
    return Drawn(draw)


@st.composite
def examples(draw, name: str) -> Example:
    """A call of the function `name` of the catalogue."""
    return CATALOGUE[name].example(Drawn(draw))


@st.composite
def arrays(draw, **bounds) -> np.ndarray:
    return Drawn(draw).array(**bounds)
