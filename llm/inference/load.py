"""Load the model and the tokenizer of a run, ready to write."""

from __future__ import annotations

import sys
from typing import Literal

from llm.model.gpt import GPT
from llm.runs.checkpoints import MODEL
from llm.runs.errors import RunError
from llm.runs.run import Run
from tokenizer import BaseTokenizer


def load_model(run: Run, which: Literal["last", "best"] = "last", device: str = "cpu") -> tuple[GPT, BaseTokenizer]:
    """The model at the run's "last" checkpoint, or at the "best" one by validation loss, and the run's tokenizer.

    A damaged checkpoint is reported on stderr, and the one before it is used. Raises ValueError (RunError ...) or
    OSError when there is no run in the folder, or when its files cannot be used.
    """
    if not run.exists:
        raise RunError(f"{run} holds no run, there is no config.json in it; give the folder that train.py made")
    config, tokenizer = run.options().model, run.tokenizer()
    if tokenizer.vocab_size != config.vocab_size:
        raise RunError(
            f"the tokenizer in {run} has {tokenizer.vocab_size} tokens and the model {config.vocab_size}; "
            f"put the tokenizer.json that the model was trained with back in its place"
        )
    checkpoint = run.checkpoints.load(which, with_optimizer=False)
    if checkpoint is None:
        raise RunError(f"{run} has no checkpoint yet; let it train on with: python train.py --resume --out {run}")
    for problem in checkpoint.problems:
        print(f"{problem}; using the checkpoint of step {checkpoint.step}", file=sys.stderr)
    run.check_size(checkpoint, config)
    model = GPT(config, rng=None)  # no initial weights: they are loaded in the next lines
    try:
        model.load_state_dict(checkpoint.weights)
    except ValueError as error:
        raise run.misfit(checkpoint, f"{checkpoint.name(MODEL)}: {error}") from None
    model.to(device).eval()
    return model, tokenizer
