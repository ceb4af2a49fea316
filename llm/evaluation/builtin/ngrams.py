"""N-gram models: the probability of a token, from counts of what followed the n - 1 tokens before it in a text.

After h, a history of n - 1 tokens, the token w has the probability

    p(w | h) = (count(h w) + kinds(h) p(w | shorter h)) / (count(h) + kinds(h))

where kinds(h) is how many different tokens followed h (Witten and Bell 1991). So a history that was followed by ever
new tokens is trusted less than the next shorter one. A history that never came is not used at all. Before the first
count, all tokens are equally likely. Each p(. | h) sums to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from llm.evaluation.likelihood import LogLikelihood, encode_parts
from llm.evaluation.tasks.outcomes import Predictor
from tokenizer import BaseTokenizer


class Counts:
    """How often each sequence of n tokens comes in a text."""

    def __init__(self, ids: np.ndarray, vocab_size: int, n: int):
        self.vocab_size, self.n = vocab_size, n
        self.keys, self.counts = np.unique(self.pack(ids), return_counts=True)
        # Sequences with the same history are neighbours.
        self.histories, starts = np.unique(self.keys // vocab_size, return_index=True)
        self.totals = np.add.reduceat(self.counts, starts) if len(starts) else starts
        self.kinds = np.diff([*starts, len(self.keys)])

    def pack(self, ids: np.ndarray) -> np.ndarray:
        """Each sequence of n ids in a text, as a number: its ids are the digits."""
        keys = np.zeros(max(0, len(ids) - self.n + 1), np.int64)
        for place in range(self.n):
            keys = keys * self.vocab_size + ids[place : place + len(keys)]
        return keys

    def look_up(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """count(h w), count(h) and kinds(h) for each sequence h w of n tokens in a text."""
        keys = self.pack(ids)
        histories = keys // self.vocab_size
        return (
            found(self.keys, self.counts, keys),
            found(self.histories, self.totals, histories),
            found(self.histories, self.kinds, histories),
        )


def found(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted key; 0 where it is not among the sorted keys."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)


class NGram(Predictor):
    """An n-gram model of the tokens of a text, which solves tasks like a language model does."""

    refusal = "an n-gram model only says how likely texts are after others; choose a task that asks this"

    def __init__(self, tokenizer: BaseTokenizer, ids: np.ndarray, n: int):
        self.tokenizer, self.vocab_size = tokenizer, tokenizer.vocab_size
        if self.vocab_size**n >= 2**63:
            raise ValueError(f"a vocabulary of {self.vocab_size:,} tokens is too large for {n}-grams")
        self.tables = [Counts(ids, self.vocab_size, length) for length in range(1, n + 1)]

    def probabilities(self, ids: np.ndarray) -> np.ndarray:
        """Of each token (T,), after those before it."""
        p = np.full(len(ids), 1 / self.vocab_size)
        for table in self.tables:
            count, total, kinds = table.look_up(ids)
            shorter = p[table.n - 1 :]
            with np.errstate(invalid="ignore"):  # 0 / 0 where a history never came
                p[table.n - 1 :] = np.where(total > 0, (count + kinds * shorter) / (total + kinds), shorter)
        return p

    def log_likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[LogLikelihood]:
        return [self.log_likelihood(*pair) for pair in pairs]

    def log_likelihood(self, context: str, continuation: str) -> LogLikelihood:
        """As that of a language model; but nobody has looked whether there is a likelier continuation."""
        before, after = encode_parts(self.tokenizer, context, continuation)
        p = self.probabilities(np.array(before + after))[len(before) :]
        # fsum: the same factors in another order have exactly the same product.
        return LogLikelihood(math.fsum(np.log(p)), False, len(after))
