"""The training loop: updates, and what is due between them: evaluations, samples, checkpoints, and a clean stop."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from contextlib import closing

import numpy as np
from tqdm import tqdm

from llm.evaluation.loss import Evaluation
from llm.runs.errors import RunError
from llm.runs.metrics import Metrics, draw_losses
from llm.runs.run import METRICS, PICTURE, Run
from llm.training import display
from llm.training.display import say
from llm.training.profiling import Profiling
from llm.training.signals import stop_requests
from llm.training.step import StepResult
from llm.training.trainer import Trainer

MAX_SKIPPED = 5  # updates in a row that were skipped because their loss was not finite; then training stops


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says what to try."""


def train(trainer: Trainer, run: Run, write_sample: Callable[[], str]) -> int:
    """Train to the last step, or until Ctrl-C or SIGTERM. Leaves a checkpoint, the metrics and their picture in `run`.

    `write_sample()` returns a text that the model writes, the prompt included. Returns the exit status: 0, or 128 + the
    number of the signal. Raises TrainingStopped when the loss stays infinite or NaN, RunError when the disk is full.
    """
    steps = trainer.options.steps
    bar = display.bar(total=steps, initial=trainer.state.step, unit="step", smoothing=0.1)
    try:
        # Left in reverse order, also after an error: signals as before, metrics complete, bar gone, workers ended.
        with (
            closing(trainer.workers),
            closing(bar),
            closing(Metrics(run.folder / METRICS, trainer.state.step)) as metrics,
            stop_requests() as signals,
        ):
            loop = Loop(trainer, run, metrics, bar, write_sample)
            while not trainer.finished and not signals and trainer.state.skipped < MAX_SKIPPED:
                loop.advance()
            loop.finish()
    except BrokenPipeError:  # an OSError too, but of a closed standard output (`train.py | head`), not of the disk
        raise
    except OSError as error:
        raise RunError(
            f"metrics or picture could not be written to {run} ({error.strerror}); make room there, and go on with: "
            f"{resume_command(run)}"
        ) from error
    if signals and not trainer.finished:
        print(f"stopped at step {trainer.state.step:,} of {steps:,}; go on with: {resume_command(run)}")
        return 128 + signals[0]
    print(closing_words(trainer, run))
    return 0


class Loop:
    """Updates a model, and after an update does what is due: metrics, the bar, evaluation, checkpoint, sample."""

    def __init__(self, trainer: Trainer, run: Run, metrics: Metrics, bar: tqdm, write_sample: Callable[[], str]):
        self.trainer, self.run, self.metrics, self.bar, self.write_sample = trainer, run, metrics, bar, write_sample
        self.saved_step = trainer.state.step  # of the newest checkpoint
        # With --profile, a few of the updates are measured; they do the same.
        self.update = Profiling(trainer, run).update if trainer.options.profile else trainer.update

    def advance(self) -> None:
        """One update and what follows from it."""
        trainer, options, state = self.trainer, self.trainer.options, self.trainer.state
        rate, before = trainer.schedule(state.step), state.elapsed
        result = self.update()
        speed = result.tokens / (state.elapsed - before)  # of the update alone, without what follows here
        # The model after the last step is always evaluated: it is the one that people will use.
        evaluation, better = trainer.evaluate() if self._due(options.eval_every) or trainer.finished else (None, False)
        # Losses are compared over time, so every step has a line; without an evaluation its val_loss is null.
        self.metrics.add(
            step=state.step,
            train_loss=result.loss,
            val_loss=evaluation and evaluation.loss,
            lr=rate,
            grad_norm=result.grad_norm,
            tokens_per_second=round(speed),
            elapsed=round(state.elapsed, 3),
        )
        self._show(result, rate, speed, evaluation, better=better)
        # Not after MAX_SKIPPED: a model that can no longer learn must not replace the last one that could.
        if (better or self._due(options.checkpoint_every)) and state.skipped < MAX_SKIPPED:
            self.save()
        if options.sample_every and self._due(options.sample_every) and not trainer.finished:
            self._say_sample()

    def finish(self) -> None:
        """Save what is not saved yet, and show a last sample. Raises TrainingStopped after too many skipped updates."""
        state = self.trainer.state
        if state.skipped >= MAX_SKIPPED:
            self._draw()  # the picture shows what happened
            raise TrainingStopped(
                f"{MAX_SKIPPED} updates in a row had a loss or gradient that is not finite, so training stops at step "
                f"{state.step}; try a smaller --lr, a longer --warmup or --clip 1, in a new run or, from its last "
                f"checkpoint, with: {resume_command(self.run)} --lr ..."
            )
        if self.saved_step != state.step:  # stopped by a signal, or the last step was no step for a checkpoint
            self.save()
        if self.trainer.finished:
            self._draw()  # again, because a kill may have come between the last checkpoint and its picture
            self._say_sample()

    def save(self) -> None:
        """Make a checkpoint. The metrics are written first: a resumed run expects all lines up to its step."""
        self.metrics.flush()
        self.run.checkpoints.save(self.trainer.checkpoint())
        self.saved_step = self.trainer.state.step
        self._draw()

    def _due(self, period: int) -> bool:
        return self.trainer.state.step % period == 0

    def _show(
        self, result: StepResult, rate: float, speed: float, evaluation: Evaluation | None, *, better: bool
    ) -> None:
        step = self.trainer.state.step
        self.bar.set_postfix_str(f"loss={result.loss:.3f}, lr={rate:.1e}, {speed:,.0f} tokens/s", refresh=False)
        self.bar.update()  # redraws the bar, so the text above is set without
        if not result.updated:
            say(
                f"step {step}: loss {result.loss} and gradient norm {result.grad_norm} are not both finite; "
                "update skipped"
            )
        if evaluation:
            say(f"step {step:6d}: validation {evaluation}{', the best so far' if better else ''}")

    @np.errstate(all="ignore")  # a model whose numbers overflow shows it in what it writes
    def _say_sample(self) -> None:
        say(f"--- step {self.trainer.state.step} writes:\n{self.write_sample()}\n---")

    def _draw(self) -> None:
        title = f"{self.run.folder.name}, step {self.trainer.state.step}"
        draw_losses(self.metrics.lines, self.run.folder / PICTURE, title)


def closing_words(trainer: Trainer, run: Run) -> str:
    """What was made, and what to type next."""
    state = trainer.state
    is_best = state.best_step == state.step
    where, option = ("", "") if is_best else (f", at step {state.best_step:,}", " --checkpoint best")
    return (
        f"done: {state.step:,} steps; best validation loss {state.best_loss:.4f}{where}\n"
        f"  model and metrics   {run.folder}{os.sep}\n"
        f"  picture of losses   {run.folder / PICTURE}\n"
        f"  let it write        python generate.py --run {quoted(run)}{option}"
    )


def resume_command(run: Run) -> str:
    return f"python train.py --resume --out {quoted(run)}"


def quoted(run: Run) -> str:
    """The folder as a shell takes it, also with spaces in its name."""
    return shlex.quote(str(run))
