"""Whether a dict of saved arrays fits what it is to be loaded into: used by modules and by optimizers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minigrad.backend import as_array, is_float


def check_state(what: str, shapes: Mapping[str, tuple], required: Iterable[str], state: Mapping[str, Any]) -> None:
    """Raise one ValueError that lists everything in `state` that does not fit, to be called before anything is changed.

    `shapes`: the shape of every name that may be there; `required`: the names that must be.
    """
    arrays = {name: as_array(state[name]) for name in shapes if name in state}
    wrong = {
        "missing": [name for name in required if name not in state],
        "unexpected": [str(name) for name in state if name not in shapes],
        "misshapen": [
            f"{name} (given {a.shape}, expected {shapes[name]})"
            for name, a in arrays.items()
            if a.shape != shapes[name]
        ],
        "not numbers": [
            f"{name} ({a.dtype})" for name, a in arrays.items() if not is_float(a.dtype) and a.dtype.kind not in "biu"
        ],
    }
    if any(wrong.values()):
        lists = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in wrong.items() if names)
        raise ValueError(f"this state does not fit {what}, nothing was loaded: {lists}")
