"""Tokens to batches. The order is random, but there is no state: a batch is a function of the seed and the step.

In each epoch, the tokens are cut into windows of T tokens, beginning at a random offset. Every window is used once, in
random order. Window k begins at s = offset + k T and has

    inputs     tokens[s : s + T]
    targets    tokens[s + 1 : s + T + 1]         the token after each input

The last target of a window is the first input of the next one. So no token is a target twice in an epoch. Fewer than
2 T tokens, some at the beginning and some at the end, are left out. Because the offset is random, these are other
tokens in each epoch. If an epoch ends in the middle of a batch, the batch continues with the next epoch.

B: batch size, T: context.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from llm.data.errors import DataError
from llm.data.permutation import ROUNDS, permute


class TokenSequence(Protocol):
    """A sequence of token ids whose slices are one-dimensional arrays: `TokenShards`, or simply an array."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> np.ndarray: ...


class Batches:
    """Training batches. There is no iterator to save and restore: a resumed run asks for the next step."""

    def __init__(self, tokens: TokenSequence, batch_size: int, context: int, seed: int = 0):
        """Raises DataError when there are too few tokens for one window."""
        if min(batch_size, context) < 1 or seed < 0:
            raise DataError(
                f"expected a batch size and a context of at least 1 and a seed of at least 0, "
                f"got {batch_size}, {context} and {seed}"
            )
        _check_length("training", tokens, context)
        self.tokens, self.batch_size, self.context, self.seed = tokens, batch_size, context, seed
        # A window needs T + 1 tokens, and shares one with the next. So (len(tokens) - 1) // T windows would fit. One
        # window fewer is used, to leave room for T different offsets: each epoch cuts the windows at other places.
        self.windows = max(1, (len(tokens) - 1) // context - 1)

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every window has been used. The last batch may also contain windows of the next epoch."""
        return -(-self.windows // self.batch_size)

    def epoch(self, step: int) -> int:
        """The epoch, counted from 0, in which the batch of `step` begins."""
        return step * self.batch_size // self.windows

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The inputs and targets of a step, both (B, T) int64."""
        # The windows of all epochs are numbered: the first has 0 ... windows - 1, and so on. A step uses B of them.
        first = step * self.batch_size
        epochs, indices = np.divmod(np.arange(first, first + self.batch_size), self.windows)  # (B,) each
        # Most batches lie in one epoch. If a batch spans several, each of them has its own offset and order.
        starts = [self._starts(epoch, indices[epochs == epoch]) for epoch in range(epochs[0], epochs[-1] + 1)]
        return _gather(self.tokens, np.concatenate(starts), self.context)

    def _starts(self, epoch: int, indices: np.ndarray) -> np.ndarray:
        """Where windows begin in the tokens. `indices`: their places in the random order of the epoch."""
        # A SeedSequence promises the same numbers in every version of NumPy. A Generator does not promise that.
        random = np.random.SeedSequence((self.seed, epoch)).generate_state(1 + ROUNDS, np.uint64)
        last_offset = len(self.tokens) - 1 - self.windows * self.context  # the largest with which all windows fit
        offset = int(random[0]) % (last_offset + 1)
        # `permute` computes only these places of the random order. All places together may not fit into memory.
        return offset + self.context * permute(indices, self.windows, keys=random[1:])


def evaluation_batches(
    tokens: TokenSequence, batch_size: int, context: int, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """At most `count` batches of windows spread evenly over the tokens, the same at every call.

    No token is a target twice, so a short text gives fewer batches. All batches have B rows, except that a text with
    fewer than B windows gives one batch with fewer rows. Raises DataError when there are too few tokens for one window.
    """
    _check_length("validation", tokens, context)
    available = (len(tokens) - 1) // context
    rows = min(batch_size, available)
    windows = rows * min(count, available // rows)
    # The first window begins at the first token, and the last one ends at the last token. All distances
    # between starts are equal (or differ by one, because starts are rounded).
    starts = np.arange(windows) * (len(tokens) - 1 - context) // max(1, windows - 1)
    return [_gather(tokens, starts[first : first + rows], context) for first in range(0, windows, rows)]


def _gather(tokens: TokenSequence, starts: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray]:
    # Each row has the tokens of a window and one more: the inputs are all but the last, the targets all but the first.
    windows = np.stack([tokens[start : start + context + 1] for start in starts.tolist()]).astype(np.int64)  # (B, T+1)
    return np.ascontiguousarray(windows[:, :-1]), np.ascontiguousarray(windows[:, 1:])  # (B, T) each


def _check_length(split: str, tokens: TokenSequence, context: int) -> None:
    if len(tokens) <= context:
        raise DataError(
            f"the {split} text has {len(tokens):,} tokens, but a context of {context:,} needs {context + 1:,}; "
            "use a smaller --context, or more text"
        )
