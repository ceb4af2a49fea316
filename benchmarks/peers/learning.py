"""Learning from text, the same for every library: a stretch of updates, which are timed, then a test, which is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.contestant import Work
from benchmarks.lesson import Lesson


def learner(lesson: Lesson, update: Callable[[int], object], test: Callable[[], float]) -> Work:
    """A call learns until the next stop. `update(step)`, from step 0; `test() -> validation loss`."""

    def stretches() -> Iterator[dict[str, float]]:
        step = 0
        for stop in lesson.stops:
            began = time.perf_counter()
            while step < stop:
                update(step)
                step += 1
            yield {"seconds": time.perf_counter() - began, "loss": test()}

    return stretches().__next__
