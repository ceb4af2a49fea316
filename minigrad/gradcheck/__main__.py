"""`python -m minigrad.gradcheck [NAME ...]`: gradients against finite differences, as a table; without names, what
there is to check.
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

BROKEN_BY = 1.001


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m minigrad.gradcheck", description="Check gradients against finite differences."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="functions to check, or 'all'; leave out for a list")
    parser.add_argument(
        "--examples", type=int, default=12, help="examples a function, of different shapes and options (default 12)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which examples (default 0)")
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
    near = difflib.get_close_matches(name, CATALOGUE, cutoff=0.5)
    advice = f"did you mean {' or '.join(near)}?" if near else "leave the name out for a list of what can be checked."
    return f"nothing is called {name!r}; {advice}"


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
    """Print the table of a function; whether all its gradients are right and the broken one was caught."""
    entry = CATALOGUE[name]
    examples = [entry.example(Choices(seed)) for seed in seeds]
    print(f"\n{name}: gradients against central differences in float64\n")
    print(f"{'inputs':<44} {'options':<60} {'1st: abs':>9} {'rel':>8} {'2nd: abs':>9} {'rel':>8}")
    good = [_row(name, entry.f, example) for example in examples]
    caught = _broken_row(name, entry, examples)
    return all(good) and caught


def _row(name: str, f: Callable, example: Example) -> bool:
    call = partial(f, **example.options)
    shapes, options = (
        " ".join(_shape(x) for x in example.inputs),
        " ".join(f"{k}={_short(v)}" for k, v in example.options.items()),
    )
    try:
        first = gradcheck(call, example.inputs, name=name)
        second = gradcheck(call, example.inputs, name=name, order=2, mode="random")
    except GradientError as error:
        print(f"{shapes:<44} {options:<60} WRONG\n    {error}")
        return False
    print(f"{shapes:<44} {options:<60} {_numbers(first)} {_numbers(second)}")
    return True


def _broken_row(name: str, entry: Entry, examples: Sequence[Example]) -> bool:
    """A check is worth something if it can fail: the same function with a gradient that is a little too large must be
    caught.
    """
    text = f"deliberately broken: its gradient times {BROKEN_BY}"
    for example in examples:
        try:
            gradcheck(
                lambda *xs, options=example.options: broken(entry.f(*xs, **options)),
                example.inputs,
                name=f"broken {name}",
            )
        except GradientError as error:
            print(f"{text:<105} caught\n    {error}")
            return True
    print(f"{text:<105} NOT CAUGHT")
    return False


def broken(out: Any) -> Any:
    """The same value with a wrong gradient."""
    if not isinstance(out, Tensor):
        return [broken(part) for part in out]
    return record(out.data, (out,), lambda g, _: (g * BROKEN_BY,))


def _numbers(errors: Errors) -> str:
    return f"{errors.absolute:9.1e} {errors.relative:8.0e}"


def _shape(x: np.ndarray) -> str:
    return f"({','.join(map(str, x.shape))})"


def _short(value: Any) -> str:
    return f"{value.dtype}{_shape(value)}" if isinstance(value, np.ndarray) else repr(value).replace(" ", "")


if __name__ == "__main__":
    sys.exit(main())
