"""A filter that was learned from examples: a rule, as those that people wrote, and a file that keeps it.

    rule = load_filter("spam.safetensors")
    rule("Call 07090!")                 # Verdict(kept=False, rule="filter_spam", number=0.02, threshold=0.41)
    rule.at(0.01)("Call 07090!").kept   # True: the same filter with another threshold

The file is safetensors: the weights, and in its header, as JSON, all that is needed to score a text.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from llm.data.errors import DataError
from llm.data.lab.filters.features import Features
from llm.data.lab.verdict import Verdict
from tokenizer.formats.atomic import new_file

KEY = "minigrad_filter"  # of the JSON in the header
MOST_BITS, MOST_WORDS, MOST_CHARACTERS = 26, 5, 10


@dataclass(frozen=True)
class LearnedFilter:
    """The weights of n-grams, and the threshold below which a text is dropped."""

    name: str  # of the rule, such as "filter_spam"
    weight: np.ndarray = field(repr=False)  # (2**features.bits,) float32
    bias: float
    threshold: float
    features: Features = Features()

    def score(self, text: str) -> float:
        """The probability that the text is good, where good and bad ones are as frequent (training.py)."""
        return self.score_of(self.features(text))

    def score_of(self, ids: np.ndarray) -> float:
        """The same for a text given as its n-grams."""
        z = self.weight[ids].sum(dtype=np.float64) / math.sqrt(len(ids)) + self.bias
        return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))  # never exp of a large number

    def __call__(self, text: str) -> Verdict:
        score = self.score(text)
        return Verdict(score >= self.threshold, self.name, score, self.threshold)

    def at(self, threshold: float) -> LearnedFilter:
        """The same filter with another threshold."""
        return replace(self, threshold=threshold)


def save_filter(rule: LearnedFilter, path: Path) -> None:
    settings = {"name": rule.name, "bias": rule.bias, "threshold": rule.threshold, "features": asdict(rule.features)}
    with new_file(path) as partial:
        save_file({"weight": rule.weight}, partial, {KEY: json.dumps(settings)})


def load_filter(path: str | Path) -> LearnedFilter:
    """The filter in a file of `save_filter`. Raises DataError if it is not such a file."""
    try:
        with safe_open(path, "numpy") as file:
            settings = json.loads((file.metadata() or {})[KEY])
            weight = file.get_tensor("weight")
        features = Features(**settings.pop("features"))
        rule = LearnedFilter(weight=weight, features=features, **settings)
        _check(rule)
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is not a filter that `train-filter` wrote ({_shown(error)}); give the file that its --out named"
        ) from None
    return rule


def _check(rule: LearnedFilter) -> None:
    f = rule.features
    limits = ((f.bits, MOST_BITS), (f.words, MOST_WORDS), (f.longest, MOST_CHARACTERS), (f.shortest, f.longest))
    if not all(type(number) is int and 1 <= number <= most for number, most in limits):
        raise ValueError(f"its n-grams are {f}")
    if rule.weight.shape != (1 << f.bits,) or rule.weight.dtype != np.float32:
        raise ValueError(f"its weights have the shape {rule.weight.shape} and the dtype {rule.weight.dtype}")
    numbers = (rule.bias, rule.threshold)
    if not np.isfinite(rule.weight).all() or not all(type(x) is float and math.isfinite(x) for x in numbers):
        raise ValueError("its weights, its bias and its threshold must be finite")
    if type(rule.name) is not str:
        raise ValueError(f"its name is {rule.name!r}")


def _shown(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)[:200]
