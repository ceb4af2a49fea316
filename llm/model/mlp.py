"""The part of a block that works on each token alone: widen, bend, narrow.

The gated ones multiply two branches (Shazeer 2020, arXiv 2002.05202); their two matrices are packed into one, gate
first. ReLU squared: So et al. 2021 (arXiv 2109.08668). GELU: Hendrycks and Gimpel 2016 (arXiv 1606.08415); GPT-2 uses
its tanh approximation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from llm.model.undrawn import UNDRAWN
from minigrad.nn import Linear, Module
from minigrad.tensor import Tensor


class MLP(Module):
    """x (B, T, C) -> (B, T, C)."""

    def __init__(self, config: GPTConfig, dtype: Any = np.float32):
        C, F, branches = config.dim, config.mlp_size, 2 if config.gated else 1
        self.activation = config.mlp
        self.up = Linear(C, branches * F, bias=config.bias, rng=UNDRAWN, dtype=dtype)
        self.down = Linear(F, C, bias=config.bias, rng=UNDRAWN, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x, self.activation)  # (B, T, F)
        return self.down(x)  # (B, T, C)
