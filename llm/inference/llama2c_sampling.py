"""Drawing tokens as run.c of llama2.c does (https://github.com/karpathy/llama2.c): the same text for the same seed.

Its random numbers are those of xorshift* (Marsaglia 2003, "Xorshift RNGs"; Vigna 2016, arXiv 1402.6246). All sums are
in float32, and are added up in the order of C, because a draw may depend on their last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm.inference.sampling import check_logits

BITS_64 = (1 << 64) - 1


class Llama2cSampler:
    """Takes the logits of the next token and returns its id. The arguments are the options -t, -p and -s of run.c."""

    def __init__(self, temperature: float, top_p: float, seed: int):
        if not 1 <= seed <= BITS_64:  # from 0, xorshift makes nothing but zeros
            raise ValueError(f"the sampler of llama2.c takes seeds from 1 to 2^64 - 1, got {seed}")
        self.temperature, self.top_p, self.state = temperature, top_p, seed

    def __call__(self, logits: np.ndarray, ids: Sequence[int] = ()) -> int:
        """`logits` (V,). The ids of the text so far have no effect."""
        check_logits(logits)
        logits = logits.astype(np.float32)
        if self.temperature == 0:
            return int(logits.argmax())
        probabilities = softmax(logits / np.float32(self.temperature))
        number = self.random()
        if self.top_p == 1:
            return multinomial(probabilities, number)
        return top_p(probabilities, np.float32(self.top_p), number)

    def random(self) -> np.float32:
        """A uniform number from 0 to 1, without 1."""
        x = self.state  # 64 bits
        x ^= x >> 12
        x ^= (x << 25) & BITS_64
        x ^= x >> 27
        self.state = x
        bits = ((x * 0x2545F4914F6CDD1D) & BITS_64) >> 32  # the upper 32 are the random ones
        return np.float32(bits >> 8) / np.float32(1 << 24)  # float32 holds 24 bits


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / np.cumsum(weights)[-1]  # cumsum adds one number after the other, as C does; sum() adds pairs


def multinomial(probabilities: np.ndarray, number: np.float32) -> int:
    """The first index at which the sum of the probabilities is larger than the number."""
    ends = np.cumsum(probabilities)
    return min(int(np.searchsorted(ends, number, side="right")), len(ends) - 1)


def top_p(probabilities: np.ndarray, p: np.float32, number: np.float32) -> int:
    """A draw among the most likely tokens, the fewest whose sum is larger than p."""
    # A token below this limit cannot be among them: all such tokens together have less than 1 - p. (run.c has no
    # candidates at all if p is smaller than 1 / V.)
    limit = (np.float32(1) - p) / np.float32(max(len(probabilities) - 1, 1))
    candidates = np.flatnonzero(probabilities >= min(limit, probabilities.max()))
    candidates = candidates[np.argsort(-probabilities[candidates], kind="stable")]
    ends = np.cumsum(probabilities[candidates])
    last = min(int(np.searchsorted(ends, p, side="right")), len(ends) - 1)  # the token with which the sum exceeds p
    return int(candidates[min(int(np.searchsorted(ends, number * ends[last], side="right")), last)])
