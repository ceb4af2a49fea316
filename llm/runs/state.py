"""state.json: the plain values of a checkpoint, beside its arrays, and the check that they are possible.

`TrainerState` (llm/training/trainer.py) says what the values mean. A file whose checksum was removed may have been
edited by hand, so each value is checked before anything is computed with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm.model.checks import LARGEST_INT
from llm.runs.errors import RunError
from llm.runs.files import read_json

STATE = "state.json"
LARGEST_COUNT = LARGEST_INT - 1  # as of --steps


def read_state(path: Path) -> dict[str, Any]:
    """The state in the file. Raises RunError, naming the file, when it is damaged or has an impossible value."""
    try:
        state = read_json(path)
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from None
    if not state.keys() >= RULES.keys():
        raise RunError(f"{path} is not the state of a checkpoint; it needs {', '.join(sorted(RULES))}")
    for name, (is_possible, wanted) in RULES.items():
        if not is_possible(state[name]):
            raise RunError(f"{path} has {name}={_shortened(state[name])}, which is not possible; expected {wanted}")
    for name in ("best_step", "skipped"):
        if state[name] > state["step"]:
            raise RunError(f"{path} has {name}={state[name]}, which cannot be more than its step, {state['step']}")
    return state


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_COUNT


def _is_number(value: Any) -> bool:
    return type(value) is int and abs(value) <= LARGEST_COUNT or isinstance(value, float) and math.isfinite(value)


def _is_table_of_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


COUNT = (_is_count, f"a whole number from 0 to {LARGEST_COUNT:,}")
TEXTS = (_is_table_of_texts, "an object of strings")
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "step": COUNT,
    "best_step": COUNT,
    "best_loss": (lambda value: value is None or _is_number(value), "a number, or null"),
    "skipped": COUNT,
    "elapsed": (lambda value: _is_number(value) and value >= 0, "a number of at least 0"),
    "data": TEXTS,
    "files": TEXTS,
}
