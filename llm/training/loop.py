"""The training loop: updates, evaluations, samples, checkpoints, and a clean stop."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import Any

import numpy as np
from tqdm import tqdm

from llm.evaluation.loss import Evaluation
from llm.inference.sampling import Sampling
from llm.inference.text import write_text
from llm.runs.metrics import Metrics, draw_losses
from llm.runs.run import METRICS, PICTURE, Run, RunError
from llm.training import display
from llm.training.display import say
from llm.training.profiling import Profiling
from llm.training.step import StepResult
from llm.training.trainer import Trainer

PATIENCE = 5  # updates in a row that may be skipped because the loss is not finite
SAMPLE_TOKENS = 120
SAMPLING = Sampling(temperature=0.6)  # a small model wanders off where less likely tokens get their chance


class TrainingStopped(RuntimeError):
    """Training that cannot go on; the message is a sentence of advice."""


def train(trainer: Trainer, tokenizer: Any, run: Run) -> int:
    """Train to the last step, or until asked to stop by Ctrl-C or SIGTERM; leaves a checkpoint, metrics and the
    picture.

    Returns the exit status: 0, or 128 + the number of the signal. Raises TrainingStopped when the loss stays infinite
    or NaN, RunError when the disk is full.
    """
    print(describe(trainer, tokenizer, run), flush=True)
    progress = display.bar(total=trainer.options.steps, initial=trainer.step, unit="step", smoothing=0.1)
    try:
        with (
            closing(trainer.workers),
            closing(progress),
            closing(Metrics(run.folder / METRICS, trainer.step)) as metrics,
            stop_requests() as stopping,
        ):
            loop = Loop(trainer, tokenizer, run, metrics, progress)
            while not trainer.finished and not stopping and trainer.skipped < PATIENCE:
                loop.advance()
            loop.finish()
    except BrokenPipeError:  # nobody reads what is said any more: no matter of the disk
        raise
    except OSError as error:
        raise RunError(
            f"metrics or picture could not be written to {run} ({error.strerror}); make room there, and go on with: "
            f"{command('train.py --resume --out', run)}"
        ) from error
    if stopping and not trainer.finished:
        print(
            f"stopped at step {trainer.step:,} of {trainer.options.steps:,}; go on with: "
            f"{command('train.py --resume --out', run)}"
        )
        return 128 + stopping[0]
    print(closing_words(trainer, run))
    return 0


class Loop:
    """What comes with updates: a line of metrics, the bar, evaluations, samples and checkpoints when they are due."""

    def __init__(self, trainer: Trainer, tokenizer: Any, run: Run, metrics: Metrics, bar: tqdm):
        self.trainer, self.tokenizer, self.run, self.metrics, self.bar = trainer, tokenizer, run, metrics, bar
        self.saved = trainer.step
        self.update = Profiling(trainer, run).update if trainer.options.profile else trainer.update

    def advance(self) -> None:
        """One update and what follows from it."""
        trainer, options = self.trainer, self.trainer.options
        rate, before = trainer.rate(trainer.step), trainer.elapsed
        result = self.update()
        speed = options.batch_size * trainer.batches.context / (trainer.elapsed - before)
        evaluation, better = trainer.evaluate() if self._due(options.eval_every) or trainer.finished else (None, False)
        self.metrics.add(
            step=trainer.step,
            train_loss=result.loss,
            val_loss=evaluation and evaluation.loss,
            lr=rate,
            grad_norm=result.grad_norm,
            tokens_per_second=round(speed),
            elapsed=round(trainer.elapsed, 3),
        )
        self._show(result, rate, speed, evaluation, better)
        if (better or self._due(options.checkpoint_every)) and trainer.skipped < PATIENCE:
            self.save()
        if options.sample_every and self._due(options.sample_every) and not trainer.finished:
            say(self._sample())

    def finish(self) -> None:
        """Save what is not saved yet, and show a sample at the end; or give up, with advice, leaving the last
        checkpoint as it is.
        """
        trainer = self.trainer
        if trainer.skipped >= PATIENCE:
            self._draw()
            raise TrainingStopped(
                f"{PATIENCE} updates in a row had a loss or gradient that is not finite, so training stops at step "
                f"{trainer.step}; try a smaller --lr, a longer --warmup or --clip 1, in a new run or, from its last "
                f"checkpoint, with: {command('train.py --resume --out', self.run)} --lr ..."
            )
        if self.saved != trainer.step:
            self.save()
        if trainer.finished:
            self._draw()  # again, if a kill came between the last checkpoint and its picture
            say(self._sample())

    def save(self) -> None:
        self.metrics.flush()
        self.run.save(
            self.trainer.model.state_dict(copy=False),
            self.trainer.optimizer.state_dict(copy=False),
            self.trainer.state(),
        )
        self.saved = self.trainer.step
        self._draw()

    def _due(self, period: int) -> bool:
        return self.trainer.step % period == 0

    def _show(self, result: StepResult, rate: float, speed: float, evaluation: Evaluation | None, better: bool) -> None:
        self.bar.set_postfix_str(f"loss={result.loss:.3f}, lr={rate:.1e}, {speed:,.0f} tokens/s", refresh=False)
        self.bar.update()
        if not result.updated:
            say(
                f"step {self.trainer.step}: loss {result.loss} and gradient norm {result.grad_norm} are not both "
                "finite; update skipped"
            )
        if evaluation:
            say(f"step {self.trainer.step:6d}: validation {evaluation}{', the best so far' if better else ''}")

    @np.errstate(all="ignore")  # a model that has gone astray shows in what it writes
    def _sample(self) -> str:
        """What the model writes now, after the prompt of the options."""
        options = self.trainer.options
        text = write_text(
            self.trainer.model,
            self.tokenizer,
            options.prompt,
            max_tokens=SAMPLE_TOKENS,
            sampling=SAMPLING,
            seed=options.seed,
        )
        return f"--- step {self.trainer.step} writes:\n{options.prompt}{text}\n---"

    def _draw(self) -> None:
        draw_losses(self.metrics.lines, self.run.folder / PICTURE, f"{self.run.folder.name}, step {self.trainer.step}")


def describe(trainer: Trainer, tokenizer: Any, run: Run) -> str:
    """What is about to be trained."""
    options, batches = trainer.options, trainer.batches
    begins = f"from step {trainer.step:,}, " if trainer.step else ""
    workers = "1 thread" if len(trainer.workers) == 1 else f"{len(trainer.workers)} {trainer.workers.kind}"
    place = workers if trainer.model.device == "cpu" else trainer.model.device
    return (
        f"{trainer.model.num_parameters():,} parameters, vocabulary {tokenizer.vocab_size:,}, context "
        f"{batches.context:,}, "
        f"{len(batches.tokens):,} training tokens ({options.data})\n"
        f"{begins}{options.steps:,} steps of {options.batch_size} sequences, {batches.steps_per_epoch:,} steps an "
        "epoch, "
        f"on {place}; run folder {run}"
    )


def closing_words(trainer: Trainer, run: Run) -> str:
    """What was made, and what to type next."""
    at, option = (
        ("", "") if trainer.best_step == trainer.step else (f", at step {trainer.best_step:,}", " --checkpoint best")
    )
    return (
        f"done: {trainer.step:,} steps; best validation loss {trainer.best_loss:.4f}{at}\n"
        f"  model and metrics   {run.folder}{os.sep}\n"
        f"  picture of losses   {run.folder / PICTURE}\n"
        f"  let it write        {command('generate.py --run', run)}{option}"
    )


def command(start: str, run: Run) -> str:
    return f"python {start} {shlex.quote(str(run))}"


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect the first Ctrl-C or SIGTERM in a list, instead of breaking off in the middle of an update; a second one
    breaks off.
    """
    caught: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in signals}

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in signals:
            signal.signal(number, note)
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
