"""Small run folders for tests, as train.py leaves them, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.runs.checkpoints import Checkpoint
from llm.runs.options import Options, TrainOptions
from llm.runs.run import Run


def make_run(folder: Path, tokenizer: Any, steps: tuple[int, ...] = (5,), best: int = 5) -> Run:
    """A run with a checkpoint of random weights at each of `steps`: those of `model_at` the step."""
    run, config = Run(folder), shape(tokenizer)
    run.begin(Options(TrainOptions(), config), tokenizer)
    for step in steps:
        state = {"step": step, "best_step": min(best, step), "best_loss": 1.0, "skipped": 0, "elapsed": 0.0, "data": {}}
        run.checkpoints.save(Checkpoint(model_at(tokenizer, step).state_dict(), {"step": np.array([step])}, state))
    return run


def model_at(tokenizer: Any, step: int) -> GPT:
    return GPT(shape(tokenizer), rng=step).eval()  # type: ignore[return-value]


def shape(tokenizer: Any) -> GPTConfig:
    return GPTConfig(vocab_size=tokenizer.vocab_size, context=32, layers=1, heads=2, dim=16, dropout=0.1)
