"""The command that trains a run: the preset or --from, and what differs from its defaults, as words.

`parse(words(options))` of command.py gives these options again: tests/llm/test_training_words.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_type_hints

from llm.runs.options import Options, TrainOptions
from llm.runs.parsing import flag
from llm.runs.tuning_options import TuningOptions
from llm.training.command import FirstOptions, defaults_for, described

# Not options of a run, but of one command; and what is given first.
OTHERS = ("out", "resume", "dry_run", "profile", "preset", "from_", "objective")


def words(options: Options) -> list[str]:
    """What stands behind `train.py`."""
    training, tuning = options.training, options.tuning
    tuned = training.from_ is not None
    first = FirstOptions(
        preset=None if tuned else training.preset,
        from_=training.from_,
        objective=training.objective,
        steps=str(training.steps),
        lora_rank=_given(tuning.lora_rank),
        prefix_tokens=_given(tuning.prefix_tokens),
        prompt_tokens=_given(tuning.prompt_tokens),
    )
    found = [f"{flag(name)}={value}" for name in ("preset", "from_") if (value := getattr(first, name)) is not None]
    try:
        default = defaults_for(first)
    except (ValueError, OSError):  # the model at --from is not there any more: its shape is not told then
        training_defaults = described(first).training if tuned else TrainOptions()  # a preset of another version
        default = replace(options, training=training_defaults, tuning=TuningOptions())
    if training.objective != default.training.objective or tuned:
        found.append(f"{flag('objective')}={training.objective}")
    parts = ((getattr(options, name), getattr(default, name)) for name in ("training", "tuning", "model"))
    return found + [word for part, other in parts for word in changed_words(part, other)]


def _given(number: int | None) -> str | None:
    return str(number) if number else None


def changed_words(part: Any, default: Any) -> Iterator[str]:
    """The fields of a part of the options that differ from the default."""
    switches = {name for name, kind in get_type_hints(type(part)).items() if kind is bool}
    for field in fields(part):
        value = getattr(part, field.name)
        if field.name in OTHERS or not field.metadata.get("flag", True) or value == getattr(default, field.name):
            continue
        if field.name in switches:
            yield flag(field.name if value else f"no_{field.name}")
        elif field.name == "eval_task":  # is given several times
            yield from (f"{flag(field.name)}={each}" for each in value)
        else:  # with "=", a value may begin with "-"
            yield f"{flag(field.name)}={shown(value)}"


def shown(value: Any) -> str:
    """A value as llm/runs/parsing.py reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    if is_dataclass(value):
        return json.dumps(value.to_json())  # type: ignore[union-attr]
    return "none" if value is None else str(value)
