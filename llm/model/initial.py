"""Initial weights: the distributions of GPT-2, by the name of the parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatch

import numpy as np


def initial_values(name: str, shape: Sequence[int], layers: int, rng: np.random.Generator) -> np.ndarray:
    """The values of parameter `name` in a new model of so many layers, float32.

    Parameters must be drawn in the order of `named_parameters`: all of them take their numbers from one generator.
    """
    # The residual stream is a sum: each layer adds two outputs. A sum of n independent numbers has n times their
    # variance. Dividing each by sqrt(n) undoes that, so a deep model starts as well-scaled as a shallow one.
    small = 0.02 / math.sqrt(2 * layers)  # n = 2 * layers
    # fmt: off
    table = (
        # tensor                    distribution    std or value
        ("embedding.weight",        "normal",       0.02),
        ("positions.weight",        "normal",       0.02),
        ("*.attention.qkv.weight",  "normal",       0.02),
        ("*.attention.out.weight",  "normal",       small),
        ("*.mlp.*up.weight",        "normal",       0.02),
        ("*.mlp.*down.weight",      "normal",       small),
        ("*.mlp.router.weight",     "normal",       0.02),
        ("head.weight",             "normal",       0.02),
        ("*norm*.weight",           "constant",     1.0),
        ("*.bias",                  "constant",     0.0),
    )
    # fmt: on
    distribution, value = next(row[1:] for row in table if fnmatch(name, row[0]))  # the first row that fits
    if distribution == "constant":
        return np.full(shape, value, np.float32)
    # Drawn in float32 and on the CPU, so a seed gives the same weights in every dtype and on every device.
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(value)
