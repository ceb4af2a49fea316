"""Load the model and the tokenizer of a run, ready to write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from llm.console import say
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.runs.checkpoints import MODEL, Checkpoint
from llm.runs.errors import RunError
from llm.runs.run import Run
from minigrad.backend import pick_device
from tokenizer import BaseTokenizer

VALUE_HEAD = "value_head."  # how the names of its weights begin


def load_model(
    run: Run | str | Path, which: Literal["last", "best"] = "last", device: str = "cpu"
) -> tuple[GPT, BaseTokenizer]:
    """The model at the run's "last" checkpoint, or at the "best" one by validation loss, and the run's tokenizer.

    `run`: the folder of a run, such as "runs/default-1". The model is in evaluation mode, on `device`.
    A damaged checkpoint is reported on stderr, and the one before it is used. Raises ValueError (RunError ...) or
    OSError when there is no run in the folder, or when its files cannot be used.
    """
    run = run if isinstance(run, Run) else Run(run)
    config = read_config(run)
    tokenizer, checkpoint = read_tokenizer(run, config), read_checkpoint(run, config, which)
    model = GPT(config, rng=None)  # no initial weights: they are loaded in the next lines
    try:
        model.load_state_dict(checkpoint.weights)
    except ValueError as error:
        raise run.misfit(checkpoint, f"{checkpoint.name(MODEL)}: {error}") from None
    model.to(pick_device(device)).eval()
    return model, tokenizer


# What a run consists of, each part read by itself. Errors are those of `load_model`.


def read_config(run: Run) -> GPTConfig:
    """The shape of the model. Raises RunError if there is no run, or one without a checkpoint."""
    if not run.exists:
        raise RunError(f"{run} holds no run, there is no config.json in it; give the folder that train.py made")
    config = run.model_config()
    if not run.checkpoints.exist:
        raise RunError(f"{run} has no checkpoint yet; let it train on with: {run.resume_command}")
    return config


def read_tokenizer(run: Run, config: GPTConfig) -> BaseTokenizer:
    """The tokenizer. Raises RunError if it does not fit the model."""
    tokenizer = run.tokenizer()
    fits = tokenizer.vocab_size == config.vocab_size
    if not fits and not (run.has_spare_ids and tokenizer.vocab_size < config.vocab_size):
        raise RunError(
            f"the tokenizer in {run} has {tokenizer.vocab_size} tokens and the model {config.vocab_size}; "
            f"put the tokenizer.json that the model was trained with back in its place"
        )
    return tokenizer


def read_checkpoint(run: Run, config: GPTConfig, which: Literal["last", "best"] = "last") -> Checkpoint:
    """The weights. Raises RunError if they are far fewer than those of the model."""
    checkpoint = run.checkpoints.load(which, with_optimizer=False)
    assert checkpoint is not None, "read_config refuses a run without"
    for problem in checkpoint.problems:
        say(f"{problem}; using the checkpoint of step {checkpoint.step}")
    run.check_size(checkpoint, config)
    # PPO (llm/tuning/reinforcement/ppo.py) trains a second head, which no text needs.
    weights = {name: array for name, array in checkpoint.weights.items() if not name.startswith(VALUE_HEAD)}
    return replace(checkpoint, weights=weights)
