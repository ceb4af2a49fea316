"""How likely a model finds whole completions: the sum of the log-probabilities of their tokens.

The tokens of the prompt do not count, and the token that ends the turn does. Prompt and completion are joined as ids,
not as texts: a text could be cut into other tokens where the two meet. In the letters of llm/model/config.py, N texts
are in arrays (N, T):

    ids        the tokens that the model reads, all but the last; filled up on the right
    targets    the token that follows each of them, and IGNORED where that is a token of the prompt, or none
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from llm.model.gpt import GPT
from minigrad.backend import Array, array_module
from minigrad.tensor import Tensor

IGNORED = -100


class Text(NamedTuple):
    """The ids of a text, and for each of them whether it counts."""

    ids: Sequence[int]
    counts: Sequence[bool] | np.ndarray


def joined(prompt: Sequence[int], completion: Sequence[int]) -> Text:
    """A completion of a prompt. With an empty prompt, the first token does not count: nothing predicts it."""
    return Text([*prompt, *completion], [False] * len(prompt) + [True] * len(completion))


def cut(text: Text, context: int) -> Text | None:
    """The beginning of the text that a model can read; None if nothing in it counts."""
    ids, counts = text.ids[: context + 1], text.counts[: context + 1]
    return Text(ids, counts) if np.any(counts[1:]) else None


def arrays(texts: Sequence[Text]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and targets, (N, T) int64 each."""
    T = max(len(text.ids) for text in texts) - 1
    ids, targets = np.zeros((len(texts), T), np.int64), np.full((len(texts), T), IGNORED, np.int64)
    for row, text in enumerate(texts):
        n, following = len(text.ids) - 1, np.asarray(text.ids[1:])
        ids[row, :n] = text.ids[:-1]
        targets[row, :n] = np.where(text.counts[1:], following, IGNORED)
    # The padding needs no mask: it is on the right, where no token before it can attend to it, and has no targets.
    return ids, targets


def completion_logps(model: GPT, ids: Any, targets: Any) -> Tensor:
    """The sum of the log-probabilities of the targets of each text, (N,)."""
    return -model.loss(ids, targets, reduction="none").sum(axis=1)  # (N, T) -> (N,); 0 where a target is ignored


def completion_lengths(targets: Array) -> Array:
    """How many targets each text has, (N,)."""
    return array_module(targets).count_nonzero(targets != IGNORED, axis=-1)
