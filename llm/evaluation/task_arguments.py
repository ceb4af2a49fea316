"""The tasks that are asked for on a command line: KIND=FILE, or the name of a built-in task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from llm.evaluation.builtin.suite import ALL, SUITE, builtin_task, names_of
from llm.evaluation.tasks.description import Description
from llm.evaluation.tasks.items import SEED, Task, read_task
from llm.evaluation.tasks.known import KNOWN, find_description


def open_tasks(
    asked: Sequence[str],
    *,
    limit: int | None = None,
    shots: int = 0,
    seed: int = SEED,
    change: Callable[[Description], Description] = lambda description: description,
) -> list[Task]:
    """The tasks, named by their KIND; and by their file, if there are several of a kind.

    Raises ValueError or OSError, with a sentence for the user, if a task, a file or a line in it cannot be used.
    """
    pairs = list(dict.fromkeys(pair for given in asked for pair in split(given)))
    found = []
    for (kind, file), name in zip(pairs, names_for(pairs), strict=True):
        if not file:
            found.append(builtin_task(kind, limit=limit, shots=shots, seed=seed))
            continue
        description = change(find_description(kind))
        found.append(read_task(name, description, file, limit=limit, shots=shots, seed=seed))
    return found


def names_for(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """A name for each task: its kind; with the name of the file, or its path, as far as that is needed."""
    kinds = [Path(kind).stem if kind.endswith(".json") else kind for kind, _ in pairs]
    levels = [
        [name if file == "" or name not in SUITE else "" for name, (_, file) in zip(kinds, pairs, strict=True)],
        [f"{name}:{Path(file).stem}" for name, (_, file) in zip(kinds, pairs, strict=True)],
        [f"{kind}:{file}" for kind, file in pairs],
    ]
    return [next(names[i] for names in levels if names[i] and names.count(names[i]) == 1) for i in range(len(pairs))]


def split(given: str) -> Iterator[tuple[str, str]]:
    """The kinds and the file that are meant by KIND=FILE; without a file: the built-in tasks of that name."""
    kind, equals, file = given.partition("=")
    if builtin := [] if equals else names_of(kind):
        yield from ((name, "") for name in builtin)
    elif kind and file:
        yield kind, file
    else:
        example = kind if kind in KNOWN else "lambada"
        raise ValueError(
            f"{given!r} is no task; give KIND=FILE, such as {example}={example}.jsonl, or a built-in one: "
            f"{', '.join(SUITE)}, or {ALL} for all of these"
        )
