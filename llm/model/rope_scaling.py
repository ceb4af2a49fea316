"""Rotary positions for texts longer than those of the training: other angles, made from the ordinary ones.

Rope rotates pair j of a head by the angle position * f_j, where f_j = base^(-2j/D) is its frequency. A model that was
trained on short texts has never seen the angles of late positions. There are several ways to bring them back into the
range that it knows:

    linear      all frequencies divided by `factor`. Chen et al. 2023, arXiv 2306.15595
    dynamic     a larger base, the longer the text is. As linear for slow pairs, while fast pairs keep their frequency.
                "NTK-aware", by the users bloc97 and emozilla of reddit.com/r/LocalLLaMA, 2023
    llama3      slow pairs divided by `factor`, fast pairs unchanged, those between by interpolation. Llama 3.1
                (Grattafiori et al. 2024, arXiv 2407.21783)
    yarn        the same idea with a ramp over the number of the pair. Peng et al. 2023, arXiv 2309.00071
    longrope    a factor of its own for each pair, found by search: one set for short texts and one for long ones. Ding
                et al. 2024, arXiv 2402.13753

yarn and longrope multiply cosines and sines by `attention_factor` too, so that the softmax stays as sharp as it was.
Names and defaults of the fields in Hugging Face's config.json: llm/hub/families.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np

from llm.model.checks import is_count, is_positive

Kind = Literal["linear", "dynamic", "llama3", "yarn", "longrope"]


@dataclass(frozen=True)
class RopeScaling:
    """How the frequencies are changed. Impossible values raise ValueError."""

    kind: Kind
    factor: float = 1.0  # how much longer the texts are; not of longrope, which has a factor for each pair
    original_context: int | None = None  # length of the texts of the first training; not of linear
    low_factor: float = 1.0  # llama3: pairs that turn less than this often in original_context tokens are slow
    high_factor: float = 4.0  # llama3: pairs that turn more often than this are fast
    beta_fast: float = 32.0  # yarn: the same two numbers
    beta_slow: float = 1.0
    truncate: bool = True  # yarn: begin and end the ramp at whole pairs
    attention_factor: float = 1.0  # yarn, longrope: multiplies cosines and sines
    short_factors: tuple[float, ...] = ()  # longrope: a factor for each pair, for texts up to original_context
    long_factors: tuple[float, ...] = ()  # longrope: for longer texts

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"rope scaling of kind {self.kind!r} is not known; use one of {', '.join(get_args(Kind))}")
        for name in ("short_factors", "long_factors"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON has lists
        numbers = {name: v for name, v in vars(self).items() if name not in ("kind", "truncate", "original_context")}
        for name, value in numbers.items():
            if not all(map(is_positive, value if isinstance(value, tuple) else (value,))):
                raise ValueError(f"{name}={value!r} of rope scaling is not possible; use numbers above 0")
        if not isinstance(self.truncate, bool):
            raise ValueError(f"truncate={self.truncate!r} of rope scaling is not possible; use True or False")
        if self.kind != "linear" and not is_count(self.original_context):
            raise ValueError(f"rope scaling of kind {self.kind} needs original_context, a whole number of at least 1")
        if self.kind == "llama3" and self.low_factor >= self.high_factor:
            raise ValueError(f"low_factor={self.low_factor} must be below high_factor={self.high_factor}")

    def check(self, base: float, dim: int) -> None:
        """Raise ValueError if this does not fit rope with that base over `dim` elements of a head."""
        if self.kind == "longrope" and not len(self.short_factors) == len(self.long_factors) == dim // 2:
            raise ValueError(
                f"longrope needs a factor for each of the {dim // 2} pairs, "
                f"but there are {len(self.short_factors)} short_factors and {len(self.long_factors)} long_factors"
            )
        if self.kind == "dynamic" and dim < 4:
            raise ValueError(f"rope scaling of kind dynamic needs at least 2 pairs to rotate, there is {dim // 2}")
        if self.kind == "yarn" and base <= 1:  # with 1, all pairs turn equally often, so none is fast or slow
            raise ValueError(f"rope scaling of kind yarn needs a rope_base above 1, it is {base}")

    @classmethod
    def from_json(cls, data: Any) -> RopeScaling:
        """The inverse of `to_json`. Raises ValueError when a field is unknown or has an impossible value."""
        known = {field.name for field in fields(cls)}
        if not isinstance(data, dict) or "kind" not in data or not data.keys() <= known:
            raise ValueError(f"rope scaling is a dictionary with kind and some of {', '.join(sorted(known))}: {data!r}")
        if not all(isinstance(data.get(name, ()), (list, tuple)) for name in ("short_factors", "long_factors")):
            raise ValueError(f"short_factors and long_factors of rope scaling are lists of numbers: {data!r}")
        return cls(**data)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def effective_length(self, length: int) -> int:
        """A length of text that has the same frequencies as `length`. Tables are computed again when it changes."""
        original = self.original_context or 0
        if self.kind == "dynamic":
            return max(length, original)
        if self.kind == "longrope":
            return original + 1 if length > original else original
        return 0  # the frequencies do not depend on the length

    def frequencies(self, base: float, dim: int, length: int) -> np.ndarray:
        """The frequency of each pair, in radians a token: (dim / 2,), float64. `length`: of the text, in tokens."""
        original, factor = self.original_context or 1, self.factor
        if self.kind == "dynamic":
            growth = factor * max(length, original) / original - (factor - 1)  # 1 up to the original context
            return plain_frequencies(base * growth ** (dim / (dim - 2)), dim)
        frequency = plain_frequencies(base, dim)  # (dim / 2,)
        if self.kind == "linear":
            return frequency / factor
        if self.kind == "longrope":
            return frequency / np.array(self.long_factors if length > original else self.short_factors)
        fast = self._llama3_share(frequency) if self.kind == "llama3" else self._yarn_share(base, dim)  # (dim / 2,)
        return fast * frequency + (1 - fast) * frequency / factor

    def _llama3_share(self, frequency: np.ndarray) -> np.ndarray:
        """How much of its own frequency each pair keeps: 1 if it is fast, 0 if it is slow, else between: (dim / 2,)."""
        turns = (self.original_context or 1) * frequency / (2 * math.pi)  # how often each pair turns in a text
        return np.clip((turns - self.low_factor) / (self.high_factor - self.low_factor), 0, 1)

    def _yarn_share(self, base: float, dim: int) -> np.ndarray:
        """The same for yarn: from 1 to 0 on a straight line over the numbers of the pairs."""

        def pair(turns: float) -> float:  # the number, not rounded, of the pair that turns so often in original_context
            return dim * math.log((self.original_context or 1) / (turns * 2 * math.pi)) / (2 * math.log(base))

        first, last = pair(self.beta_fast), pair(self.beta_slow)
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, dim - 1)
        last += 0.001 if first == last else 0  # no division by 0
        return 1 - np.clip((np.arange(dim // 2) - first) / (last - first), 0, 1)


def plain_frequencies(base: float, dim: int) -> np.ndarray:
    """The frequencies without scaling, (dim / 2,), float64."""
    # As `rope_frequencies` in minigrad/fused/rope.py. Here it stands again because config.py does not need the engine.
    return base ** (np.arange(0, dim, 2) / -dim)
