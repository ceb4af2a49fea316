"""Tokens to batches: a seeded order that needs no state but the step number.

An epoch begins with a random offset, cuts the tokens from there into windows, and visits all windows once in
shuffled order. Window k covers the inputs tokens[s : s + T] and the targets tokens[s + 1 : s + T + 1], where
s = offset + k * T: neighbours share a single token, the last target of one being the first input of the next, so
within an epoch no token is a target twice. Left out are only the ragged ends, fewer than 2 T tokens, and others in
each epoch. When an epoch ends within a batch, the batch goes on with the next epoch.

(B, T): batch size, context.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from llm.data.errors import DataError
from llm.data.permutation import ROUNDS, permute


class Tokens(Protocol):
    """A sequence of token ids, sliced into one-dimensional arrays: `TokenShards`, or simply an array."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> np.ndarray: ...


class Batches:
    """Training batches as a pure function of (seed, step): to resume, ask for the next step."""

    def __init__(self, tokens: Tokens, batch_size: int, context: int, seed: int = 0):
        """Raises DataError when there are too few tokens for one window."""
        if min(batch_size, context) < 1 or seed < 0:
            raise DataError(
                f"Expected a batch size and a context of at least 1 and a seed of at least 0, "
                f"not {batch_size}, {context} and {seed}."
            )
        _check_length("training", tokens, context)
        self.tokens, self.batch_size, self.context, self.seed = tokens, batch_size, context, seed
        # One window fewer than would fit leaves the offset at least T places to choose from.
        self.windows = max(1, (len(tokens) - 1) // context - 1)

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every window has been visited, the last one possibly shared with the next epoch."""
        return -(-self.windows // self.batch_size)

    def epoch(self, step: int) -> int:
        """The epoch, counted from 0, in which the batch of `step` begins."""
        return step * self.batch_size // self.windows

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of a step, both (B, T) int64."""
        first = step * self.batch_size
        visits = np.arange(first, first + self.batch_size)  # windows in the order of the visits, through all epochs
        epochs, places = np.divmod(visits, self.windows)
        starts = [self._starts(epoch, places[epochs == epoch]) for epoch in range(epochs[0], epochs[-1] + 1)]
        return _gather(self.tokens, np.concatenate(starts), self.context)

    def _starts(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """The first token of the windows that stand at `places` in the order of an epoch."""
        # A SeedSequence, unlike a Generator, promises the same numbers in every version of NumPy.
        random = np.random.SeedSequence((self.seed, epoch)).generate_state(1 + ROUNDS, np.uint64)
        last_offset = len(self.tokens) - 1 - self.windows * self.context
        offset = int(random[0]) % (last_offset + 1)
        return offset + self.context * permute(places, self.windows, keys=random[1:])


def evaluation_batches(
    tokens: Tokens, batch_size: int, context: int, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """At most `count` batches of windows spread evenly over the tokens, the same at every call.

    Windows share no target, so a short text gives fewer batches; all have B rows, unless the text is too short for
    even one such batch, which then has fewer. Raises DataError when there are too few tokens for one window.
    """
    _check_length("validation", tokens, context)
    available = (len(tokens) - 1) // context
    rows = min(batch_size, available)
    windows = rows * min(count, available // rows)
    starts = np.arange(windows) * (len(tokens) - 1 - context) // max(1, windows - 1)
    return [_gather(tokens, starts[first : first + rows], context) for first in range(0, windows, rows)]


def _gather(tokens: Tokens, starts: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray]:
    windows = np.stack([tokens[start : start + context + 1] for start in starts.tolist()]).astype(np.int64)  # (B, T+1)
    return np.ascontiguousarray(windows[:, :-1]), np.ascontiguousarray(windows[:, 1:])  # (B, T) each


def _check_length(split: str, tokens: Tokens, context: int) -> None:
    if len(tokens) <= context:
        raise DataError(
            f"The {split} text has {len(tokens):,} tokens, but a context of {context:,} needs {context + 1:,}: "
            "use a smaller --context, or more text."
        )
