"""Evaluation mode for a while: to evaluate a model, or to write a sample, in the middle of training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minigrad.nn import Module


@contextmanager
def no_dropout(model: Module) -> Iterator[None]:
    """Evaluation mode inside the block. After it, the model is in the mode in which it was before."""
    # Generation comes here for every token, and setting the mode of all modules takes time: it is set only if needed.
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()
