"""The built-in tasks by name. The same seed makes the same items, and a larger number of items begins with the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from random import Random

from llm.evaluation.builtin.copying import copying, induction
from llm.evaluation.builtin.grammar import agreement, brackets
from llm.evaluation.builtin.groups import Group, Row, rows_of
from llm.evaluation.builtin.questions import arithmetic, spelling
from llm.evaluation.tasks.description import from_dict
from llm.evaluation.tasks.items import SEED, Task, task_of

SUITE: dict[str, Callable[[Random], Group]] = {
    "copying": copying,
    "induction": induction,
    "brackets": brackets,
    "agreement": agreement,
    "arithmetic": arithmetic,
    "spelling": spelling,
}
ALL = "builtin"  # the name that stands for all of them
COUNT = 500  # items, if no number is given

DESCRIPTION = from_dict(
    {
        "score": "choice",
        "shapes": [{"context": "{query}", "choices": "choices"}],
        "metrics": ["acc"],
        "group": "kind",
        "delimiter": "",
    },
    ALL,
)


def names_of(name: str) -> list[str]:
    """The tasks that a name means: one, all, or none of these."""
    return list(SUITE) if name == ALL else [name] if name in SUITE else []


def rows(name: str, count: int, seed: int = SEED) -> list[Row]:
    """`count` items of a task. Raises ValueError if there are not so many."""
    rng = Random(f"{name} {seed}")
    found = list(islice(rows_of(lambda: SUITE[name](rng)), count))
    if len(found) < count:
        raise ValueError(f"the task {name} has only about {len(found):,} items; ask for fewer than {count:,}")
    return found


def builtin_task(name: str, *, limit: int | None = None, shots: int = 0, seed: int = SEED) -> Task:
    """A task of `limit` items. The examples of few-shot prompts are other items."""
    limit = limit or COUNT
    found = rows(name, max(COUNT, limit + shots) if shots else limit, seed)
    return task_of(name, DESCRIPTION, found, limit=limit, shots=shots, seed=seed)
