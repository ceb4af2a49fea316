"""How likely a model finds whole completions: the sum of the log-probabilities of their tokens.

The tokens of the prompt do not count, and the token that ends the turn does. In the letters of llm/model/config.py, N
texts are in arrays (N, T):

    ids        the tokens that the model reads, all but the last; filled up on the right
    targets    the token that follows each of them, and IGNORED where that is a token of the prompt, or none
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llm.model.gpt import GPT
from llm.tuning.chat.packing import IGNORED, Tokens, make_batch
from minigrad.backend import Array, array_module
from minigrad.tensor import Tensor


def joined(prompt: Sequence[int], completion: Sequence[int]) -> Tokens:
    """A prompt and its completion, joined as ids: as texts, they could have other tokens where the two meet.

    With an empty prompt, the first token does not count: nothing predicts it.
    """
    learned = np.arange(len(prompt) + len(completion)) >= len(prompt)
    return Tokens(np.array([*prompt, *completion], np.int64), learned)


def ids_and_targets(texts: Sequence[Tokens]) -> tuple[np.ndarray, np.ndarray]:
    """(N, T) int64 each."""
    # The padding needs no mask: it is on the right, where no token before it can attend to it, and has no targets.
    ids, targets, _ = make_batch([[text] for text in texts])
    return ids, targets


def completion_logps(model: GPT, ids: Any, targets: Any) -> Tensor:
    """The sum of the log-probabilities of the targets of each text, (N,)."""
    return -model.loss(ids, targets, reduction="none").sum(axis=1)  # (N, T) -> (N,); 0 where a target is ignored


def completion_lengths(targets: Array) -> Array:
    """How many targets each text has, (N,)."""
    return array_module(targets).count_nonzero(targets != IGNORED, axis=-1)
