"""The check that a dict of saved arrays fits a module or an optimizer, before it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minigrad.backend import as_array, is_float


def check_state(what: str, shapes: Mapping[str, tuple], required: Iterable[str], state: Mapping[str, Any]) -> None:
    """Raise one ValueError that lists everything in `state` that does not fit.

    `what`: the name of the class that loads it, for the message. `shapes`: the shape of every name that may be there.
    `required`: the names that must be there. To be called before anything is changed.
    """
    # All mistakes are collected before the error is raised: it is tiresome to correct one name at a time.
    arrays = {name: as_array(state[name]) for name in shapes if name in state}
    missing = [name for name in required if name not in state]
    unexpected = [str(name) for name in state if name not in shapes]
    misshapen = [
        f"{name} (given {a.shape}, expected {shapes[name]})" for name, a in arrays.items() if a.shape != shapes[name]
    ]
    # Booleans and integers are numbers too, and are converted.
    not_numbers = [
        f"{name} ({a.dtype})" for name, a in arrays.items() if not is_float(a.dtype) and a.dtype.kind not in "biu"
    ]
    # In the order in which the message lists them; kinds without names are left out.
    wrong = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen, "not numbers": not_numbers}
    if any(wrong.values()):
        lists = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in wrong.items() if names)
        raise ValueError(f"this state does not fit {what}, nothing was loaded: {lists}")
