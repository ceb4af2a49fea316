"""`train.py --profile`: a few steps under minigrad's profiler. Prints where their time went, and draws their memory."""

from __future__ import annotations

import minigrad
from llm.runs.files import write_file
from llm.runs.run import PROFILE, Run
from llm.training.display import say
from llm.training.step import StepResult
from llm.training.trainer import Trainer

WARM_UP = 2  # the first steps are not measured: in them, memory is requested from the system for the first time
STEPS = 5  # that are measured

NOTE_ON_GPU_TIMES = """\
Times are those until a call returns. The GPU computes on after that, so an op that waits for it is charged with the
time of those before it.
"""


class Profiling:
    """The updates of a trainer, a few of them measured. Measuring changes nothing in them."""

    def __init__(self, trainer: Trainer, run: Run):
        self.trainer, self.run, self.profile = trainer, run, minigrad.profile()
        self.first = trainer.state.step + WARM_UP
        self.end = min(self.first + STEPS, trainer.options.steps)
        if self.first >= self.end:
            say(f"--profile: the first {WARM_UP} steps are not measured, and there are no more; give a larger --steps")

    def update(self) -> StepResult:
        if not self.first <= self.trainer.state.step < self.end:
            return self.trainer.update()
        with self.profile:
            result = self.trainer.update()
        if self.trainer.state.step == self.end:
            self.report()
        return result

    def report(self) -> None:
        path = self.run.folder / PROFILE
        write_file(path, self.profile.draw())
        note = "" if self.trainer.model.device == "cpu" else NOTE_ON_GPU_TIMES
        say(
            f"a step, as the mean of steps {self.first + 1} to {self.end}, by op and by part of the model:\n\n"
            f"{self.profile.table()}\n\n{self.profile.table(by='module')}\n\n"
            f"{note}live memory during step {self.end}: {path}\n"
        )
