"""Learning from text, in the same way for every library: some updates, which are timed, then a test, which is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.competitor import Work
from benchmarks.learning_plan import LearningPlan


def learner(plan: LearningPlan, update: Callable[[int], object], test: Callable[[], float]) -> Work:
    """A call learns until the next stop. `update(step)` is called with 0, 1, ...; `test()` is the validation loss."""

    def measurements() -> Iterator[dict[str, float]]:
        step = 0
        for stop in plan.stops:
            began = time.perf_counter()
            while step < stop:
                update(step)
                step += 1
            yield {"seconds": time.perf_counter() - began, "loss": test()}

    return measurements().__next__
