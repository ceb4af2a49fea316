"""The subscripts of `einsum`, such as "...ij,jk->...ik", as letters for each input and for the result.

The rules are those of NumPy. `...` stands for all axes that have no letter; these axes broadcast. Without "->", the
result has the axes of `...` and then the letters that occur once, in alphabetical order.
"""

from __future__ import annotations

import string
from collections import Counter
from functools import lru_cache
from typing import Any

from minigrad.ops.arguments import described

LETTERS = string.ascii_uppercase + string.ascii_lowercase  # in the order in which NumPy sorts them
LETTER_OF = dict(enumerate(LETTERS)) | {...: "..."}  # for NumPy's other form, which numbers the axes


@lru_cache(maxsize=256)  # a program calls einsum with few different subscripts, and with each of them often
def parse_subscripts(subscripts: str, ndims: tuple[int, ...]) -> tuple[tuple[str, ...], str]:
    """The letters of each input and of the result. In place of `...`, they have letters that occur nowhere else."""
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ndims):
        raise ValueError(f"einsum {subscripts!r} names {len(inputs)} inputs, but got {len(ndims)}")
    for part in [*inputs, output]:
        _check_letters(subscripts, part)
    ellipsis_ndims = [_ellipsis_ndim(subscripts, part, ndim) for part, ndim in zip(inputs, ndims)]
    new = "".join(c for c in LETTERS if c not in subscripts)[: max(ellipsis_ndims)]
    if not arrow:
        once = [c for c, n in Counter(left).items() if n == 1 and c.isalpha()]
        output = "..." + "".join(sorted(once))
    _check_output(subscripts, left, output, new)
    # Broadcasting aligns shapes at their last axes: the n axes of `...` in an input get the last n of the new letters.
    parts = tuple([part.replace("...", new[len(new) - n :]) for part, n in zip(inputs, ellipsis_ndims)])
    return parts, output.replace("...", new)


def letters_of_lists(*arguments: Any) -> tuple[str, tuple]:
    """NumPy's other form, (x, [0, 1], y, [1, 2], [0, 2]), as the subscripts "AB,BC->AC" and the inputs (x, y)."""
    has_output = len(arguments) % 2 == 1
    pairs = arguments[:-1] if has_output else arguments
    subscripts = ",".join(map(_letters_of_list, pairs[1::2]))
    return subscripts + ("->" + _letters_of_list(arguments[-1]) if has_output else ""), pairs[::2]


def _letters_of_list(numbers: Any) -> str:
    """The letters for a list of numbers, which may hold `...`."""
    try:
        return "".join(LETTER_OF[n] for n in numbers)
    except (TypeError, KeyError):
        raise TypeError(
            f"einsum takes subscripts such as 'ij,jk->ik' first, or after each input a list of numbers from 0 to "
            f"{len(LETTERS) - 1}, not {described(numbers)}"
        ) from None


def _check_letters(subscripts: str, part: str) -> None:
    """Raise ValueError unless a part consists of letters and at most one `...`."""
    if any(c not in LETTERS for c in part.replace("...", "", 1)):
        raise ValueError(
            f"einsum {subscripts!r}: {part!r} is no list of axes; name each with a letter from a to z or A to Z, "
            f"and the rest with '...', once"
        )


def _ellipsis_ndim(subscripts: str, part: str, ndim: int) -> int:
    """How many axes `...` stands for in the subscripts of an input with `ndim` axes."""
    named = len(part.replace("...", ""))
    if named > ndim or (named < ndim and "..." not in part):
        raise ValueError(
            f"einsum {subscripts!r} names {named} axes in {part!r}, but that input has {ndim}; "
            f"'...' stands for axes without a name"
        )
    return ndim - named


def _check_output(subscripts: str, left: str, output: str, new: str) -> None:
    """Raise ValueError unless the result names letters of the inputs, each once, and has `...` if `new` has letters."""
    if new and "..." not in output:
        raise ValueError(
            f"einsum {subscripts!r}: the result leaves out '...', which stands for axes of an input; "
            f"add it, or name these axes to sum over them"
        )
    for c, n in Counter(output.replace("...", "")).items():
        if n > 1:
            raise ValueError(f"einsum {subscripts!r}: the result names {c!r} twice")
        if c not in left:
            raise ValueError(f"einsum {subscripts!r}: the result names {c!r}, which no input has")
