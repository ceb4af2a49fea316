"""`train.py --profile`: a few steps under minigrad's profiler. Prints where their time went, and draws their memory."""

from __future__ import annotations

from collections.abc import Callable

import minigrad
from llm.runs.run import Run
from llm.training.display import print_line
from llm.training.step import StepResult
from llm.training.trainer import Trainer

WARM_UP_STEPS = 2  # the first steps are not measured: in them, memory is requested from the system for the first time
MEASURED_STEPS = 5

NOTE_ON_GPU_TIMES = """\
A call returns before the GPU has finished computing. So these times are not those of the GPU: an op that waits for the
GPU also gets the time of the ops before it.
"""


class Profiling:
    """The updates of a trainer. A few of them are measured, which does not change their results."""

    def __init__(self, trainer: Trainer, run: Run, update: Callable[[], StepResult]):
        """`update`: `Trainer.update`, or what does the same."""
        self.trainer, self.run, self.advance, self.profile = trainer, run, update, minigrad.profile()
        self.first = trainer.state.step + WARM_UP_STEPS
        self.end = min(self.first + MEASURED_STEPS, trainer.options.steps)
        if self.first >= self.end:
            note = f"the first {WARM_UP_STEPS} steps are not measured, and there are no more"
            print_line(f"--profile: {note}; give a larger --steps")

    def update(self) -> StepResult:
        """An update, measured if this is one of the steps to measure."""
        if not self.first <= self.trainer.state.step < self.end:
            return self.advance()
        with self.profile:
            result = self.advance()
        if self.trainer.state.step == self.end:
            self.report()
        return result

    def report(self) -> None:
        path = self.run.write_profile(self.profile.draw())
        note = "" if self.trainer.model.device == "cpu" else NOTE_ON_GPU_TIMES
        print_line(
            f"a step, as the mean of steps {self.first + 1} to {self.end}, by op and by part of the model:\n\n"
            f"{self.profile.table()}\n\n{self.profile.table(by='module')}\n\n"
            f"{note}live memory during step {self.end}: {path}\n"
        )
