"""The work on a task, in pieces. With a folder, each piece is written down, so that work that was killed goes on there.

An outcome depends on the model and the item alone. So the folder remembers the model, and beside each outcome the
checksum of its item: what is found there is right even if the file or the number of items has changed since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

from llm.evaluation.tasks.description import Description
from llm.evaluation.tasks.items import Item, Task
from llm.evaluation.tasks.outcomes import Outcome, Predictor, outcomes_of

PIECE = 64  # items


def solve(
    task: Task, predictor: Predictor, folder: Path | None = None, report: Callable[[int], object] = lambda items: None
) -> list[Outcome]:
    """The outcome of each item. `report` is called with the number of items after each piece."""
    path = None if folder is None else folder / f"{quote(task.name, safe=' ', errors='surrogatepass')}.jsonl"
    known = {} if path is None else read_outcomes(path)
    outcomes: list[Outcome] = []
    for start in range(0, len(task.items), PIECE):
        items = task.items[start : start + PIECE]
        checksums = [checksum(item, task.description) for item in items]
        # A piece is computed as a whole: the last bits of a float depend on what else is in its batch.
        if not all(each in known for each in checksums):
            found = outcomes_of(items, task.description, predictor)
            if path is not None:
                append_outcomes(path, checksums, found)
        else:
            found = [known[each] for each in checksums]
        outcomes += found
        report(len(items))
    return outcomes


def checksum(item: Item, description: Description) -> str:
    """Of all that the outcome of an item depends on, besides the model."""
    how = (description.score, description.max_tokens, description.stop, item.delimiter)
    text = json.dumps([how, item.contexts, item.choices, item.target])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_outcomes(path: Path) -> dict[str, Outcome]:
    """The outcomes in a file, by the checksums of their items. A line that is not whole is one that a kill has cut."""
    found = {}
    for line in path.read_text("utf-8", errors="replace").split("\n") if path.exists() else ():
        try:
            row = json.loads(line)
            item = row.pop("item")
            found[item] = Outcome(**row)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return found


def append_outcomes(path: Path, checksums: Sequence[str], outcomes: Sequence[Outcome]) -> None:
    rows = [{"item": each, **asdict(outcome)} for each, outcome in zip(checksums, outcomes, strict=True)]
    with open(path, "a", encoding="utf-8") as file:  # the empty line: a line that was cut ends before it
        file.write("\n" + "".join(json.dumps(row) + "\n" for row in rows))
