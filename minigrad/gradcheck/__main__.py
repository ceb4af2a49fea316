"""`python -m minigrad.gradcheck [NAME ...]`: a table of gradients compared with finite differences.

Without names, it lists the functions that can be checked.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from minigrad.gradcheck.catalogue import CATALOGUE, Entry
from minigrad.gradcheck.check import Errors, GradientError, gradcheck
from minigrad.gradcheck.choices import Choices, Example
from minigrad.tensor import Tensor, record

BROKEN_BY = 1.001  # the negative control multiplies gradients by this


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m minigrad.gradcheck", description="Compare gradients with finite differences."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="functions to check, or 'all'; none: list them")
    parser.add_argument(
        "--examples", type=int, default=12, help="examples per function, of different shapes and options (default 12)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the first example (default 0)")
    options = parser.parse_args(arguments)
    names = list(CATALOGUE) if options.names == ["all"] else options.names
    for name in names:
        if name not in CATALOGUE:
            print(f"minigrad.gradcheck: {_unknown(name)}", file=sys.stderr)
            return 2
    if not names:
        print(_listing())
    good = [_report(name, range(options.seed, options.seed + options.examples)) for name in names]
    return 0 if all(good) else 1


def _unknown(name: str) -> str:
    similar = difflib.get_close_matches(name, CATALOGUE, cutoff=0.5)
    advice = f"did you mean {' or '.join(similar)}?" if similar else "run it without a name for a list of all functions"
    return f"there is no function called {name!r}; {advice}"


def _listing() -> str:
    primitives = [name for name, entry in CATALOGUE.items() if entry.reference is None]
    fused = [name for name, entry in CATALOGUE.items() if entry.reference is not None]
    return (
        "What can be checked, by `python -m minigrad.gradcheck NAME ...` or `all`:\n\n"
        f"primitives  {_wrapped(primitives)}\n\nfused       {_wrapped(fused)}"
    )


def _wrapped(names: Sequence[str]) -> str:
    return ("\n" + " " * 12).join(" ".join(names[i : i + 10]) for i in range(0, len(names), 10))


def _report(name: str, seeds: Sequence[int]) -> bool:
    """Print the table of a function. Returns whether its gradients are right and the broken ones were caught."""
    entry = CATALOGUE[name]
    examples = [entry.example(Choices(seed)) for seed in seeds]
    print(f"\n{name}: the largest difference between its derivatives and central differences in float64\n")
    print(_line("", "", "first derivatives", "second derivatives"))
    print(_line("inputs", "options", "absolute  relative", "absolute  relative"))
    good = [_check(name, entry.f, example) for example in examples]
    return _check_control(name, entry, examples) and all(good)


def _check(name: str, f: Callable, example: Example) -> bool:
    """Print the row of an example. Returns whether its gradients are right."""
    call = partial(f, **example.options)
    inputs = " ".join(_shape(x) for x in example.inputs)
    options = " ".join(f"{key}={_short(value)}" for key, value in example.options.items())
    try:
        first = gradcheck(call, example.inputs, name=name)
        second = gradcheck(call, example.inputs, name=name, order=2, mode="random")
    except GradientError as error:
        print(_line(inputs, options, "WRONG", ""), f"    {error}", sep="\n")
        return False
    print(_line(inputs, options, _numbers(first), _numbers(second)))
    return True


def _check_control(name: str, entry: Entry, examples: Sequence[Example]) -> bool:
    """The negative control. Prints and returns whether the check catches gradients that are slightly wrong."""
    text = f"control: every gradient deliberately multiplied by {BROKEN_BY}"
    for example in examples:
        f = partial(_broken, partial(entry.f, **example.options))
        try:
            gradcheck(f, example.inputs, name=f"broken {name}")
        except GradientError as error:
            print(_line(text, "", "caught", ""), f"    {error}", sep="\n")
            return True
    print(_line(text, "", "NOT CAUGHT", ""))
    return False


def _broken(f: Callable, *inputs: Tensor) -> Tensor | list[Tensor]:
    """The value of `f(*inputs)` with wrong gradients."""
    out = f(*inputs)
    outs = [out] if isinstance(out, Tensor) else out
    return [record(o.data, (o,), lambda g, _: (g * BROKEN_BY,)) for o in outs]


def _line(inputs: str, options: str, first: str, second: str) -> str:
    """A row of the table. A long text of inputs pushes the options to the right."""
    return f"{f'{inputs:<44} {options}':<105} {first:>20} {second:>20}".rstrip()


def _numbers(errors: Errors) -> str:
    return f"{errors.absolute:.1e}   {errors.relative:.0e}"


def _shape(x: np.ndarray) -> str:
    return f"({','.join(map(str, x.shape))})"


def _short(value: Any) -> str:
    return f"{value.dtype}{_shape(value)}" if isinstance(value, np.ndarray) else repr(value).replace(" ", "")


if __name__ == "__main__":
    sys.exit(main())
