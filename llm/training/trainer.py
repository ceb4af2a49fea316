"""The training loop: batches, updates, evaluations, samples, checkpoints, and a clean stop.

Everything random is a function of the seed and the step (batches, dropout) and everything else is in the checkpoint, so a run that
was killed and resumed ends with the same weights, bit for bit, as one that was not.
"""
from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
from tqdm import tqdm

from llm.data.batches import Batches, evaluation_batches
from llm.data.dataset import Dataset
from llm.evaluation.loss import Evaluation, evaluate
from llm.inference.text import write_text
from llm.model import GPT
from llm.runtime import set_blas_threads, threads_to_use
from llm.training.metrics import Metrics, draw_losses
from llm.training.options import Options
from llm.training.run import Checkpoint, Run
from llm.training.step import StepResult, learning_rate, train_step
from llm.training.workers import Workers
from minigrad.optim import AdamW

PATIENCE = 5            # updates in a row that may be skipped because the loss is not finite
SAMPLE_TOKENS = 100


class TrainingStopped(RuntimeError):
    """Training that cannot go on; the message is a sentence of advice."""


class Trainer:
    """A model in training: what `train.py` runs, a step at a time."""

    def __init__(self, options: Options, run: Run, tokenizer: Any, dataset: Dataset, device: str = "cpu"):
        training, model = options.training, options.model
        self.options, self.run, self.tokenizer = training, run, tokenizer
        self.model = GPT(model, rng=np.random.default_rng(training.seed))
        self.model.to(device)
        self.optimizer = AdamW(self.model.named_parameters(), lr=training.lr, betas=(0.9, training.beta2),
                               weight_decay=training.weight_decay, decay=lambda p: p.ndim >= 2)
        threads = min(threads_to_use(training.threads), training.batch_size) if device == "cpu" else 1
        set_blas_threads(1 if threads > 1 else threads_to_use(training.threads))
        self.workers = Workers(self.model, threads)
        self.batches = Batches(dataset.train, training.batch_size, model.context, training.seed)
        self.validation = evaluation_batches(dataset.val, training.batch_size, model.context, training.eval_batches)
        self.bytes_per_token = dataset.bytes_per_token
        self.rate = learning_rate(training)
        self.data = {"train": dataset.train.checksum, "val": dataset.val.checksum}
        self.step, self.best_loss, self.best_step, self.skipped, self.elapsed = 0, float("inf"), 0, 0, 0.0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where a checkpoint was made. Raises ValueError when it is of another model or other text."""
        state = checkpoint.state
        if state["data"] != self.data:
            raise ValueError(f"the text is not the one {self.run} was trained on so far; give the same --data, or start a new run")
        self.model.load_state_dict(checkpoint.weights)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.step, self.best_step, self.skipped, self.elapsed = (state[k] for k in ("step", "best_step", "skipped", "elapsed"))
        self.best_loss = float("inf") if state["best_loss"] is None else state["best_loss"]

    def train(self) -> None:
        """Train to the last step, or until asked to stop; leaves a checkpoint, metrics and the picture either way."""
        metrics = Metrics(self.run.folder / "metrics.jsonl", self.step)
        bar = tqdm(total=self.options.steps, initial=self.step, unit="step", dynamic_ncols=True, smoothing=0.1)
        saved = self.step
        try:
            with stop_requests() as stopping:
                while self.step < self.options.steps and not stopping:
                    due = self._advance(metrics, bar)
                    if due or self.step == self.options.steps or stopping:
                        self._save(metrics)
                        saved = self.step
        finally:
            metrics.close()
            bar.close()
        if saved < self.options.steps:
            print(f"stopped at step {saved} of {self.options.steps}; go on with: python train.py --resume --out {self.run}")

    def _advance(self, metrics: Metrics, bar: tqdm) -> bool:
        """One step and what follows from it; whether a checkpoint is due."""
        began = time.perf_counter()
        rate = self.rate(self.step)
        result = train_step(self.workers, self.optimizer, *self.batches.batch(self.step), lr=rate, clip=self.options.clip,
                            micro_batches=self.options.micro_batches, seed=(self.options.seed, self.step))
        seconds = time.perf_counter() - began
        self.step, self.elapsed = self.step + 1, self.elapsed + seconds
        tokens_per_second = self.options.batch_size * self.batches.context / seconds
        self._check(result)
        evaluation = self._evaluate() if self._every(self.options.eval_every) else None
        metrics.add(step=self.step, train_loss=result.loss, val_loss=evaluation and evaluation.loss, lr=rate,
                    grad_norm=result.grad_norm, tokens_per_second=round(tokens_per_second), elapsed=round(self.elapsed, 3))
        bar.set_postfix(loss=f"{result.loss:.3f}", lr=f"{rate:.1e}", tokens_per_second=f"{tokens_per_second:,.0f}", refresh=False)
        bar.update()
        better = evaluation is not None and self._report(evaluation)
        if self.options.sample_every and self._every(self.options.sample_every):
            tqdm.write(f"--- step {self.step} writes:\n{self.sample()}\n---")
        return better or self.step % self.options.checkpoint_every == 0

    def _every(self, period: int) -> bool:
        return self.step % period == 0 or self.step == self.options.steps

    def _check(self, result: StepResult) -> None:
        """Count updates skipped in a row; give up after PATIENCE of them."""
        self.skipped = 0 if result.updated else self.skipped + 1
        if not result.updated:
            tqdm.write(f"step {self.step}: loss {result.loss} and gradient norm {result.grad_norm} are not both finite; update skipped")
        if self.skipped >= PATIENCE:
            raise TrainingStopped(f"{PATIENCE} updates in a row had a loss or gradient that is not finite, so training stops at step "
                                  f"{self.step}; try a smaller --lr, a longer --warmup or --clip 1, from the last checkpoint or anew")

    def _evaluate(self) -> Evaluation:
        return evaluate(self.model, self.validation, self.bytes_per_token)

    def _report(self, evaluation: Evaluation) -> bool:
        """Say how the model does; whether it never did better."""
        better = evaluation.loss < self.best_loss
        if better:
            self.best_loss, self.best_step = evaluation.loss, self.step
        tqdm.write(f"step {self.step:6d}: validation {evaluation}{', the best so far' if better else ''}")
        return better

    def sample(self) -> str:
        """What the model writes now, after the prompt of the options."""
        return write_text(self.model, self.tokenizer, self.options.prompt, max_tokens=SAMPLE_TOKENS, seed=self.options.seed)

    def _save(self, metrics: Metrics) -> None:
        metrics.flush()
        state = {"step": self.step, "best_step": self.best_step, "best_loss": self.best_loss if np.isfinite(self.best_loss) else None,
                 "skipped": self.skipped, "elapsed": self.elapsed, "data": self.data}
        self.run.save(self.model.state_dict(), self.optimizer.state_dict(), state)
        draw_losses(metrics.lines, self.run.folder / "loss.png", f"{self.run.folder.name}, step {self.step}")


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect the first Ctrl-C or SIGTERM in a list, instead of breaking off in the middle of an update; a second one breaks off."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
