"""From the logits of the next token to a token: penalties, temperature, filters that leave out tokens, and the draw.

The steps have the same order as in Hugging Face's transformers, so the same options mean the same in both:

    logit bias, penalties, banned words    change single logits                              penalties.py
    temperature                            0 means greedy: always the most likely token      here
    top-k, top-p, min-p, typical           leave out tokens, each of those that are left      filters.py

Each step is a function without side effects on one row (V,), in float64, so the steps can be read, used and tested one
by one. `distribution` puts them together, and `draw` takes a token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np

from llm.inference.filters import keep_min_p, keep_top_k, keep_top_p, keep_typical
from llm.inference.penalties import add_bias, ban_words, penalize_frequency, penalize_presence, penalize_repetition

NO_FLAG = {"flag": False}  # for a field that is not an option on the command line (llm/runs/parsing.py)


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    temperature: float = 0.8
    """Below 1, likely tokens become more likely; above 1, unlikely ones. 0: always the most likely token (greedy)."""
    top_k: int | None = None
    """Choose only among this many of the most likely tokens. none: among all."""
    top_p: float = 0.95
    """Leave out the least likely tokens, so that the others together keep at least this probability. 1: none."""
    min_p: float = 0.0
    """Leave out tokens with less than this fraction of the probability of the most likely token. 0: none."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that are in the text already become less likely. 1 changes nothing."""
    typical_p: float = 1.0
    """Leave out tokens that surprise much more, or much less, than is usual at this place, so that the others together
    keep at least this probability. 1: none.
    """
    frequency_penalty: float = 0.0
    """Above 0, tokens become less likely each time that the model writes them; those of the prompt do not count."""
    presence_penalty: float = 0.0
    """Above 0, tokens that the model has written become less likely, whether once or often; those of the prompt do not
    count.
    """
    sampler: Literal["numpy", "llama2c"] = "numpy"
    """Whose random numbers are drawn: NumPy's, or those of run.c of llama2.c, which with the same temperature, top-p
    and seed then writes the same text. llama2c knows no other options.
    """
    logit_bias: tuple[tuple[int, float], ...] = field(default=(), metadata=NO_FLAG)
    """Numbers to add to the logits of single tokens: {id: number}, or pairs. -inf: never this token."""
    banned_words: tuple[tuple[int, ...], ...] = field(default=(), metadata=NO_FLAG)
    """Words that are never written, each as its ids."""

    def __post_init__(self) -> None:
        self._require("temperature", 0 <= self.temperature < math.inf, "at least 0")
        self._require("top_k", self.top_k is None or self.top_k >= 1, "at least 1, or None for all tokens")
        self._require("top_p", 0 < self.top_p <= 1, "above 0 and at most 1")
        self._require("min_p", 0 <= self.min_p <= 1, "at least 0 and at most 1")
        self._require("repetition_penalty", 0 < self.repetition_penalty < math.inf, "above 0; 1 changes nothing")
        self._require("typical_p", 0 < self.typical_p <= 1, "above 0 and at most 1")
        for name in ("frequency_penalty", "presence_penalty"):
            self._require(name, math.isfinite(getattr(self, name)), "a finite number; 0 changes nothing")
        self._require("sampler", self.sampler in ("numpy", "llama2c"), "numpy or llama2c")
        self._check_ids()
        if self.sampler == "llama2c":
            self._check_llama2c()

    def _check_ids(self) -> None:
        """Check the fields with ids, and make tuples of them, so that a Sampling can be compared and hashed."""
        bias = self.logit_bias.items() if isinstance(self.logit_bias, Mapping) else self.logit_bias
        # The dataclass is frozen, so its fields are set in this way.
        object.__setattr__(self, "logit_bias", tuple(sorted((id, number) for id, number in bias)))
        object.__setattr__(self, "banned_words", tuple(tuple(word) for word in self.banned_words))
        ids, numbers = [id for id, _ in self.logit_bias], [number for _, number in self.logit_bias]
        self._require("logit_bias", all(map(is_id, ids)) and len(set(ids)) == len(ids), "ids, each of them once")
        self._require("logit_bias", all(number < math.inf for number in numbers), "numbers below infinity")
        possible = all(word and all(map(is_id, word)) for word in self.banned_words)
        self._require("banned_words", possible, "words, each of at least one id")

    def _check_llama2c(self) -> None:
        others = [each for each in fields(self) if each.name not in ("temperature", "top_p", "sampler")]
        if any(getattr(self, each.name) != each.default for each in others):
            raise ValueError(
                "the sampler llama2c has no top k, min p, typical p, penalties, bias or banned words; "
                "leave these options out"
            )

    @property
    def changes_logits(self) -> bool:
        """Whether there is a bias, a penalty or a banned word. Only these can forbid all tokens."""
        penalties = self.repetition_penalty != 1 or self.frequency_penalty or self.presence_penalty
        return bool(penalties or self.logit_bias or self.banned_words)

    def check_vocabulary(self, size: int) -> None:
        """Raise ValueError for ids that a vocabulary of this size does not have."""
        ids = [*(id for id, _ in self.logit_bias), *(id for word in self.banned_words for id in word)]
        if ids and max(ids) >= size:
            raise ValueError(f"logit_bias or banned_words has the id {max(ids)}, and the model knows 0 to {size - 1}")

    def _require(self, name: str, is_valid: bool, wanted: str) -> None:
        if not is_valid:
            raise ValueError(f"{name}={getattr(self, name)} is not possible; it must be {wanted}")


def is_id(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= 0)


def sample(
    logits: np.ndarray, ids: Sequence[int], sampling: Sampling, rng: np.random.Generator, prompt_length: int = 0
) -> int:
    """Draw the id of the next token. `logits` (V,) are those of the next token, `ids` are those of the text so far."""
    if sampling.temperature == 0:  # there is nothing to draw
        return int(np.argmax(change_logits(logits, ids, sampling, prompt_length)))
    return draw(distribution(logits, ids, sampling, prompt_length), rng)


def distribution(logits: np.ndarray, ids: Sequence[int], sampling: Sampling, prompt_length: int = 0) -> np.ndarray:
    """The probabilities (V,), float64, of the next token. Raises ValueError for logits with NaN or infinity.

    The first `prompt_length` of the ids are the prompt, and the model has written the others.
    """
    logits = change_logits(logits, ids, sampling, prompt_length)
    # Greedy. It is the limit of ever smaller temperatures, but dividing by 0 would not compute it.
    if sampling.temperature == 0:
        return one_hot(int(np.argmax(logits)), logits.size)
    # The order of the filters matters: each one sees only the tokens that the one before has left.
    logits = apply_temperature(np.asarray(logits, dtype=np.float64), sampling.temperature)
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    probabilities = keep_min_p(keep_top_p(softmax(logits), sampling.top_p), sampling.min_p)
    return keep_typical(probabilities, sampling.typical_p)


def change_logits(logits: np.ndarray, ids: Sequence[int], sampling: Sampling, prompt_length: int = 0) -> np.ndarray:
    """The logits (V,) after the bias, the penalties and the banned words; in float64 if there are any.

    Raises ValueError for logits with NaN or infinity, or if no token is left.
    """
    check_logits(logits)
    if not sampling.changes_logits:
        return logits
    sampling.check_vocabulary(logits.size)
    logits = np.asarray(logits, dtype=np.float64)
    with np.errstate(over="ignore"):  # what overflows is seen below
        changed = penalize_repetition(add_bias(logits, sampling.logit_bias), ids, sampling.repetition_penalty)
        if sampling.frequency_penalty or sampling.presence_penalty:
            written = ids[prompt_length:]
            changed = penalize_frequency(changed, written, sampling.frequency_penalty)
            changed = penalize_presence(changed, written, sampling.presence_penalty)
        changed = ban_words(changed, ids, sampling.banned_words)
    if changed is not logits and not np.isfinite(changed.max()):
        raise ValueError("no token can be drawn: the bias, the penalties and the banned words forbid all, or overflow")
    return changed


def check_logits(logits: np.ndarray) -> None:
    """Raise ValueError for logits from which no token can be drawn."""
    # If one logit is NaN, the maximum is NaN. A logit of -inf is allowed: such a token has probability 0.
    if not np.isfinite(logits.max()):
        raise ValueError(
            f"the largest logit of the model is {logits.max()}, so no token can be drawn; "
            f"its training has diverged (a smaller --lr may help), or its weights are damaged; try another checkpoint"
        )


def draw(probabilities: np.ndarray, rng: np.random.Generator) -> int:
    """A random index. Index i is drawn with the probability probabilities[i]."""
    # The probabilities divide the line from 0 to 1 into intervals, one for each token. A uniform random number from 0
    # to 1 falls into one of them.
    ends = np.cumsum(probabilities)
    ends /= ends[-1]  # rounding could leave the last end below 1, and a number after it would have no interval
    return int(np.searchsorted(ends, rng.random(), side="right"))


def apply_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """The logits divided by the temperature."""
    # Subtracting the largest logit changes no probability. Without it, a small temperature makes logits infinite.
    with np.errstate(over="ignore"):  # differences may still become -inf, which is right: a probability of 0
        return (logits - logits.max()) / temperature


def softmax(logits: np.ndarray) -> np.ndarray:
    # Subtracting the largest logit changes no probability, and exp() cannot overflow.
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def one_hot(index: int, size: int) -> np.ndarray:
    """Probability 1 for one token."""
    probabilities = np.zeros(size)
    probabilities[index] = 1.0
    return probabilities
