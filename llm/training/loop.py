"""The training loop: one update after the other, and between them evaluations, samples and checkpoints.

`train` opens and closes everything around the loop. `Loop.advance` is one turn of the loop, `Loop.finish` the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing

import numpy as np
from tqdm import tqdm

from llm.console import NO_ROOM
from llm.evaluation.experts import describe_shares
from llm.evaluation.loss import Evaluation
from llm.runs.checkpoints import Checkpoint
from llm.runs.errors import RunError
from llm.runs.metrics import TASK, TRAIN, VAL, Metrics, named
from llm.runs.run import PICTURE, Run
from llm.training import display
from llm.training.display import print_line
from llm.training.messages import divergence, summary
from llm.training.profiling import Profiling
from llm.training.records import Records
from llm.training.signals import stop_requests
from llm.training.step import StepResult
from llm.training.trainer import Trainer

MAX_SKIPPED = 5  # updates in a row that were skipped because their loss was not finite; then training stops
DRAWING_SHARE = 0.02  # of the time of training, at most, goes into pictures before the last one


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says what to try."""


def train(trainer: Trainer, run: Run, write_sample: Callable[[], str]) -> int:
    """Train to the last step, or until Ctrl-C or SIGTERM. Leaves a checkpoint, the metrics and their picture in `run`.

    `write_sample()` returns a text that the model writes, with the prompt. Returns the exit status: 0, or 128 + the
    number of the signal. Raises TrainingStopped when the loss stays infinite or NaN, RunError when the disk is full.
    """
    steps = trainer.options.steps
    bar = display.bar(total=steps, initial=trainer.state.step, smoothing=0.1, bar_format=display.BAR_FORMAT)
    try:
        # All are closed at the end, also after an error: first the signal handlers, then the files, the bar and the
        # workers.
        with (
            closing(trainer.workers),
            closing(bar),
            closing(run.open_metrics(trainer.state.step)) as metrics,
            closing(Records(trainer, run)) as records,
            stop_requests() as signals,
        ):
            if metrics.unreadable:
                print_line(f"{metrics.path}: lines that cannot be read are left out, {metrics.unreadable:,} in all")
            loop = Loop(trainer, run, metrics, records, bar, write_sample)
            # `signals` is empty until Ctrl-C. The update under way is always finished, so weights and optimizer agree.
            # All ranks stop at the same step, also if only one of them has got the signal.
            while not trainer.finished and not any(trainer.workers.gather(signals)):
                if trainer.state.skipped >= MAX_SKIPPED:
                    break
                loop.advance()
            loop.finish()
    except BrokenPipeError:
        # Also an OSError, but not about the disk: standard output is closed, as in `train.py | head`.
        raise
    except OSError as error:
        raise RunError(
            f"metrics or picture could not be written to {run} ({error.strerror}); make room there, and go on with: "
            f"{run.resume_command}"
        ) from error
    if signals and not trainer.finished:
        print_line(f"stopped at step {trainer.state.step:,} of {steps:,}; go on with: {run.resume_command}")
        return 128 + signals[0]
    print_line(summary(trainer, run, picture=not loop.picture.problem))
    return 0


class Loop:
    """Updates a model, writes metrics, and from time to time evaluates, saves a checkpoint or shows a sample."""

    def __init__(
        self, trainer: Trainer, run: Run, metrics: Metrics, records: Records, bar: tqdm, write_sample: Callable[[], str]
    ):
        self.trainer, self.run, self.metrics, self.records = trainer, run, metrics, records
        self.bar, self.write_sample = bar, write_sample
        self.first_step = self.saved_step = trainer.state.step  # saved_step: of the newest checkpoint
        self.diverged = False  # whether the weights give losses that are not finite
        self.picture = Picture(run)
        # With --profile, a few updates are measured. Their results are the same.
        self.update = Profiling(trainer, run, records.update).update if trainer.options.profile else records.update

    def advance(self) -> None:
        """One update, and what has to be done after it."""
        trainer, options, state = self.trainer, self.trainer.options, self.trainer.state
        # Both are read before the update, because it changes `state`.
        lr, seconds_before = trainer.schedule(state.step), state.elapsed
        result = self.update()
        speed = result.tokens / (state.elapsed - seconds_before)  # tokens per second
        evaluation, better = None, False
        # The model after the last step is always evaluated, because it is the one that will be used.
        if self._is_due(options.eval_every) or trainer.finished:
            evaluation, better = trainer.evaluate()
        # After MAX_SKIPPED skipped updates, the state may be one from which no update succeeds.
        self.diverged = state.skipped >= MAX_SKIPPED or evaluation is not None and not math.isfinite(evaluation.loss)
        # Every step has a line, so that losses can be plotted over time. Without an evaluation, its val_loss is null.
        self.metrics.add(
            step=state.step,
            train_loss=result.loss,
            val_loss=None if evaluation is None else evaluation.loss,
            expert_shares=evaluation.expert_shares if evaluation else (),
            lr=lr,
            grad_norm=result.grad_norm,
            tokens_per_second=round(speed),
            elapsed=round(state.elapsed, 3),
            **named(TRAIN, result.metrics),
            **named(VAL, evaluation.metrics if evaluation else {}),
            **named(TASK, evaluation.tasks if evaluation else {}),
        )
        self._show(result, lr, speed, evaluation, better=better)
        # Weights that have diverged must not replace the checkpoints from which training could go on.
        if (better or self._is_due(options.checkpoint_every)) and not self.diverged:
            self.save()
        # 0 means no samples here. After the last step, `finish` shows one.
        if options.sample_every and self._is_due(options.sample_every) and not trainer.finished:
            self._show_sample()

    def finish(self) -> None:
        """Save what is not saved yet, and show a last sample. Raises TrainingStopped if the model is of no use."""
        # Called after the last step, and also after a signal or MAX_SKIPPED.
        state = self.trainer.state
        # A signal can come at any step, and the last step need not be a multiple of --checkpoint-every.
        if self.saved_step != state.step and not self.diverged:
            self.save()
        if self.diverged and (self.trainer.finished or state.skipped >= MAX_SKIPPED):
            self.metrics.flush()
            self.picture.draw(state.step, last=True)  # the picture shows what the loss did before
            raise TrainingStopped(divergence(state, self.run, MAX_SKIPPED))
        # `save` draws it only from time to time. And a run that was killed between its last checkpoint and its last
        # picture has nothing to save when it is resumed.
        self.picture.draw(state.step, last=True)
        if self.trainer.finished and state.step > self.first_step:
            self._show_sample()

    def save(self) -> None:
        """Make a checkpoint, and draw the picture. Weights that are not finite are not saved."""
        with self.trainer.optimizer.averaged():
            self._save(self.trainer.checkpoint())

    def _save(self, checkpoint: Checkpoint) -> None:
        finite = all(np.isfinite(array).all() for array in checkpoint.weights.values())
        self.diverged = not all(self.trainer.workers.gather(finite))
        if self.diverged:
            return
        # In this order: a run resumed from the checkpoint needs the metrics of all steps before it.
        self.metrics.flush()
        self.records.flush()
        self.run.checkpoints.save(checkpoint)
        self.saved_step = self.trainer.state.step
        self.picture.draw(self.trainer.state.step)

    def _is_due(self, period: int) -> bool:
        """Whether something that is done every `period` steps is done now."""
        return self.trainer.state.step % period == 0

    def _show(
        self, result: StepResult, lr: float, speed: float, evaluation: Evaluation | None, *, better: bool
    ) -> None:
        """Update the progress bar. Print a line if the update was skipped, or if the model was evaluated."""
        step = self.trainer.state.step
        # refresh=False: set the text only; `update` in the next line draws the bar with it.
        first = "".join(f"{name}={value:.3g}, " for name, value in list(result.metrics.items())[:1])
        self.bar.set_postfix_str(f"loss={result.loss:.3f}, {first}lr={lr:.1e}, {speed:,.0f} tokens/s", refresh=False)
        self.bar.update()
        if not result.updated:
            print_line(
                f"step {step}: loss {result.loss} and gradient norm {result.grad_norm} are not both finite; "
                f"update skipped{', loss scale halved' if result.overflow else ''}"
            )
        if evaluation:
            width = len(str(self.trainer.options.steps))
            print_line(f"step {step:{width}d}: validation {evaluation}{', best' if better else ''}")
            self._show_experts(evaluation)

    @np.errstate(all="ignore")  # if numbers overflow, the text shows it well enough; no warnings from NumPy
    def _show_experts(self, evaluation: Evaluation) -> None:
        config = self.trainer.model.config
        if evaluation.expert_shares and config.experts is not None:
            print_line(describe_shares(evaluation.expert_shares, config.experts_per_token / config.experts))

    def _show_sample(self) -> None:
        step = self.trainer.state.step
        try:
            with self.trainer.optimizer.averaged():
                sample = self.write_sample()
            print_line(f"--- step {step} writes:\n{sample}\n---")
            self.records.add_sample(step, sample)
        except ValueError as error:  # the prompt was checked before, so it is the model
            print_line(f"step {step}: no sample, because {error}")


class Picture:
    """The picture of the losses. Drawing it takes little of the time, and never ends training."""

    def __init__(self, run: Run):
        self.run = run
        self.drawn_step = -1  # of the newest picture
        self.next_time = 0.0  # before this time of perf_counter, only the last picture is drawn
        self.problem = ""  # what was printed last
        try:
            import matplotlib.figure  # noqa: F401  now, and not hours later
        except Exception as error:
            self._print(f"no {PICTURE} will be drawn, because matplotlib cannot be imported ({error})")

    def draw(self, step: int, *, last: bool = False) -> None:
        """Draw the picture, if it is the last one of this run or if drawing has not taken too much of the time."""
        began = time.perf_counter()
        if step == self.drawn_step or not last and began < self.next_time:
            return
        try:
            self.run.draw_losses(step)
            self.drawn_step = step
        except ImportError:
            pass  # `__init__` has printed it
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise  # the next checkpoint will not find room either
            self._print(f"{PICTURE} could not be drawn ({error}); training goes on without it")
        now = time.perf_counter()
        self.next_time = now + (now - began) / DRAWING_SHARE

    def _print(self, problem: str) -> None:
        """Print a line, but not the same one again and again."""
        problem = " ".join(problem.split())
        if problem != self.problem:
            print_line(problem)
        self.problem = problem
