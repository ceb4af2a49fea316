"""All differentiable functions of minigrad in one table, for the tests and for `python -m minigrad.gradcheck`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minigrad.fused import functions as fused
from minigrad.gradcheck.choices import Choices, Example
from minigrad.gradcheck.examples.elementwise import ELEMENTWISE
from minigrad.gradcheck.examples.fused import FUSED
from minigrad.gradcheck.examples.indexing import INDEXING
from minigrad.gradcheck.examples.matmul import PRODUCTS
from minigrad.gradcheck.examples.reduction import REDUCTIONS
from minigrad.gradcheck.examples.shape import SHAPES


@dataclass(frozen=True)
class Entry:
    """A function that is called as `f(*inputs, **options)` with an Example, and how such examples are made.

    `reference`: the definition of a fused function, called in the same way; None for a primitive.
    """

    f: Callable
    example: Callable[[Choices], Example]
    reference: Callable | None = None


PRIMITIVES = ELEMENTWISE | REDUCTIONS | SHAPES | INDEXING | PRODUCTS

CATALOGUE: dict[str, Entry] = {name: Entry(f, example) for name, (f, example) in PRIMITIVES.items()}
CATALOGUE |= {
    name: Entry(adapt(getattr(fused, name)), example, adapt(getattr(fused, f"{name}_reference")))
    for name, (adapt, example) in FUSED.items()
}
