"""The model and the tokenizer of a run, ready to write."""

from __future__ import annotations

import sys
from typing import Literal

from llm.model.gpt import GPT
from llm.runs.run import Run, RunError
from tokenizer.models.base import BaseTokenizer


def load_model(run: Run, which: Literal["last", "best"] = "last", device: str = "cpu") -> tuple[GPT, BaseTokenizer]:
    """The model at the run's "last" checkpoint, or at the "best" one by validation loss, and the run's tokenizer.

    A damaged checkpoint is reported on stderr and the one before it used. Raises RunError or another ValueError, or
    OSError, with a sentence, when there is no run or nothing in it can be used.
    """
    if not run.exists:
        raise RunError(f"{run} holds no run, there is no config.json in it; give the folder that train.py made")
    config, tokens = run.options().model, run.tokenizer()
    if tokens.vocab_size != config.vocab_size:
        raise RunError(
            f"the tokenizer in {run} has {tokens.vocab_size} tokens and the model {config.vocab_size}; "
            f"put the tokenizer.json that the model was trained with back in its place"
        )
    checkpoint = run.load(which, optimizer=False)
    if checkpoint is None:
        raise RunError(f"{run} has no checkpoint yet; let it train on with: python train.py --resume --out {run}")
    for complaint in checkpoint.complaints:
        print(f"{complaint}; using the checkpoint of step {checkpoint.step}", file=sys.stderr)
    model = GPT(config, rng=None)
    model.load_state_dict(checkpoint.weights)
    model.to(device).eval()
    return model, tokens
