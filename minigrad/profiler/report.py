"""What a profile has recorded, as plain data. recorder.py makes it; table.py and picture.py show it.

Times are seconds since the profile began. A profile may run in several blocks, `with profile:`; the time between them
does not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

GRADIENTS = "gradients"  # the label of gradients on their way through the backward pass, among the names of ops


class Event(NamedTuple):
    """Something that took time: an op forward or backward, or a span."""

    name: str  # of the op or span
    module: str  # path of the module it ran in, such as "blocks.0.mlp"; "" outside of all modules
    kind: str  # "forward", "backward" or "span"
    worker: str  # the name of the thread, or of the process if it is another one
    start: float
    end: float
    seconds: float  # end - start, without the events inside
    allocated: int = 0  # bytes
    moved: int = 0  # bytes


Change = tuple[float, str, int]  # of the live memory: time, label, bytes (negative if they were freed)


class Report(NamedTuple):
    """A profile as plain data, which can be sent to another process."""

    clock_start: float  # what `time.perf_counter` showed at second 0; all processes of a machine share that clock
    seconds: float  # how long the profile ran
    blocks: list[tuple[float, float]]  # begin and end of each `with`
    events: list[Event]
    changes: list[Change]
    overhead: float  # seconds that the profiler itself took

    @property
    def peak(self) -> int:
        """The largest number of bytes that were alive at one time."""
        return peak(self.changes)


def peak(changes: Iterable[Change]) -> int:
    """The largest number of bytes that were alive at one time."""
    return max(accumulate((count for _, _, count in changes), initial=0))


def workers(events: Iterable[Event]) -> list[str]:
    """The threads and processes, in the order of their first events."""
    return list(dict.fromkeys(event.worker for event in sorted(events, key=lambda event: event.start)))
