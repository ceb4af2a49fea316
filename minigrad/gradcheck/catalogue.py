"""All that `python -m minigrad.gradcheck` and the tests know how to check: every differentiable function of
minigrad.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minigrad.fused import functions as fused
from minigrad.gradcheck.choices import Choices, Example
from minigrad.gradcheck.fused import FUSED
from minigrad.gradcheck.primitives import PRIMITIVES


@dataclass(frozen=True)
class Entry:
    """A function, called as `f(*inputs, **options)` with an `Example`; `reference` is the definition of a fused one."""

    f: Callable
    example: Callable[[Choices], Example]
    reference: Callable | None = None


CATALOGUE: dict[str, Entry] = {name: Entry(f, example) for name, (f, example) in PRIMITIVES.items()}
CATALOGUE |= {
    name: Entry(called(getattr(fused, name)), example, called(getattr(fused, f"{name}_reference")))
    for name, (called, example) in FUSED.items()
}
