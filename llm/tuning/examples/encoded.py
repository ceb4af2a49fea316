"""Examples of a task: read, divided into those to learn from and those held out, and encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from llm.data.errors import DataError
from llm.runs.options import Options
from llm.training.display import print_line, stages
from llm.tuning.examples.rows import Row
from llm.tuning.examples.split import checksum, read_split

R = TypeVar("R", bound=Row)
E = TypeVar("E")


@dataclass(frozen=True)
class Examples(Generic[E]):
    """Encoded examples, and a checksum of the rows that they were."""

    train: list[E]
    val: list[E]
    checksums: dict[str, str]  # "train", "val"


def read_examples(
    options: Options,
    kind: type[R],
    encode: Callable[[R], E | None],
    choose: Callable[[list[R]], list[R]] = lambda rows: rows,
) -> Examples[E]:
    """The examples in --data, and --val-data if it is given. `choose` picks some of the rows.

    `encode` returns None for an example of which nothing is left that can be learned: it is dropped, and counted.
    """
    training = options.training
    train, val = map(choose, read_split(training.data, options.tuning.val_data, training.val_fraction, (kind,)))
    checksums = {"train": checksum(train), "val": checksum(val)}
    with stages() as report:
        done = 0

        def encoded(rows: Iterable[R]) -> list[E]:
            nonlocal done
            found = []
            for row in rows:
                report("encoding", done := done + 1, len(train) + len(val))
                if (example := encode(row)) is not None:
                    found.append(example)
            return found

        examples = Examples(encoded(train), encoded(val), checksums)
    dropped = len(train) + len(val) - len(examples.train) - len(examples.val)
    if dropped:
        print_line(f"{training.data}: {dropped:,} of {len(train) + len(val):,} examples are left out, because nothing "
                   "that can be learned is within --context")  # fmt: skip
    if not examples.train or not examples.val:
        raise DataError(
            f"in {training.data}, no example is left to {'learn from' if not examples.train else 'validate with'}; "
            "give a longer --context, or another file"
        )
    return examples
