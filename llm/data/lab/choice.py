"""Which rules and edits `clean` applies: presets and single ones by name, other thresholds, a list of words,
filters that were learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from llm.data.lab.filters.learned import LearnedFilter, load_filter
from llm.data.lab.rules.steps import Limit
from llm.data.lab.rules.table import find_steps, nearest
from llm.data.lab.rules.words import unwanted_words
from llm.data.lab.verdict import Step
from llm.data.records import read_text

NO_RULES = "none"
WITH_THRESHOLD = (Limit, LearnedFilter)


def choose_steps(
    names: str, thresholds: Sequence[str] = (), words: str | None = None, filters: Sequence[str] = ()
) -> list[Step]:
    """The steps of "gopher,language" and the like. `thresholds`: RULE=NUMBER each; `words`, `filters`: files.

    Raises ValueError for what is not known.
    """
    wanted = [name.strip() for name in names.split(",")]
    steps: list[Step] = [*find_steps([name for name in wanted if name != NO_RULES])]
    if words is not None:
        steps.append(unwanted_words(read_text(Path(words).expanduser()).split("\n")))
    steps += [load_filter(Path(path).expanduser()) for path in filters]
    for each in thresholds:
        name, number = _threshold(each)
        chosen = [step for step in steps if isinstance(step, WITH_THRESHOLD) and step.name == name]
        if not chosen:
            known = [step.name for step in steps if isinstance(step, WITH_THRESHOLD)]
            names = nearest(name, known) or f": {', '.join(known)}"
            raise ValueError(f"--threshold {each}: there is no rule {name!r} among those chosen{names}")
        steps = [step.at(number) if isinstance(step, WITH_THRESHOLD) and step.name == name else step for step in steps]
    return steps


def _threshold(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    with suppress(ValueError):
        if not math.isnan(threshold := float(number)):  # to which no number compares, so that all would be dropped
            return name, threshold
    raise ValueError(f"--threshold {text} is not RULE=NUMBER, such as gopher_short_doc=20")
