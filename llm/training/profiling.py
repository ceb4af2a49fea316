"""`train.py --profile`: a few steps under minigrad's profiler, a table of where their time went, and a picture of the
memory in one.
"""

from __future__ import annotations

import minigrad
from llm.runs.files import write_file
from llm.runs.run import PROFILE, Run
from llm.training.display import say
from llm.training.step import StepResult
from llm.training.trainer import Trainer

WARM_UP, STEPS = 2, 5  # updates left alone, in which memory is taken for the first time, and updates that are watched

ON_A_GPU = """These are the times until a call returns. The GPU works on behind it, so an op that waits for it has the time of those before.
"""


class Profiling:
    """The updates of a trainer, of which some are watched. That changes nothing in them."""

    def __init__(self, trainer: Trainer, run: Run):
        self.trainer, self.run, self.profile = trainer, run, minigrad.profile()
        self.first = trainer.state.step + WARM_UP
        self.end = min(self.first + STEPS, trainer.options.steps)
        if self.first >= self.end:
            say(
                f"--profile: nothing is watched in the first {WARM_UP} steps, and there are no more; give a larger "
                "--steps"
            )

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
        say(
            f"a step, as the mean of steps {self.first + 1} to {self.end}, by op and by part of the model:\n\n"
            f"{self.profile.table()}\n\n{self.profile.table(by='module')}\n\n{ON_A_GPU if self.trainer.model.device != 'cpu' else ''}"
            f"live memory during step {self.end}: {path}\n"
        )
