"""What train.py says at its end: what the run has produced, or why it has stopped, and what to type next."""

from __future__ import annotations

import os

from llm.console import command_line
from llm.runs.run import PICTURE, Run
from llm.training.trainer import Trainer, TrainerState

ADVICE = "try a smaller --lr, a longer --warmup or --clip 1"  # for a model that has diverged
# How to use a model that has learned an --objective: in words, and as options of generate.py.
USE = {
    "chat": ("talk with it", "--chat"),
    "preference": ("talk with it", "--chat"),
    "reinforce": ("talk with it", "--chat"),
    "classify": ("let it classify", "--classify"),
    "reward": ("let it judge", "--classify"),
    "translate": ("let it translate",),
}


def summary(trainer: Trainer, run: Run, *, picture: bool) -> str:
    """What the run has produced, and what to type next. `picture`: whether there is one of the losses."""
    state = trainer.state
    is_best = state.best_step in (state.step, 0)  # 0: there is no best one
    where = "" if is_best else f", at step {state.best_step:,}"
    option = [] if is_best else ["--checkpoint", "best"]
    skipped = (
        f"the last updates were skipped, {state.skipped} in all, because loss or gradient was not finite; {ADVICE}"
    )
    use, *how = USE.get(trainer.options.objective, ("let it write",))
    best = f"best validation loss {state.best_loss:.4f}{where}" if state.best_step else "no validation loss yet"
    lines = [
        f"done: {state.step:,} steps; {best}",
        # The steps came to an end before there were enough skipped ones to stop training.
        *([skipped] if state.skipped else []),
        f"  model and metrics   {run.folder}{os.sep}",
        *([f"  picture of losses   {run.folder / PICTURE}"] if picture else []),
        f"  {use:<20}{command_line('generate.py', *how, '--run', str(run), *option)}",
    ]
    return "\n".join(lines)


def divergence(state: TrainerState, run: Run, most_skipped: int) -> str:
    """Why training stops, when the weights give losses that are not finite, and what to try."""
    found = "the model has diverged, its losses are not finite"
    if state.skipped >= most_skipped:
        found = f"{state.skipped} updates in a row had a loss or gradient that is not finite"
    return (
        f"{found}, so training stops at step {state.step}; {ADVICE}, in a new run, or from the last checkpoint with: "
        f"{run.resume_command} --lr ..."
    )
