"""The feed-forward network, applied to each token separately: up-projection, activation, down-projection.

The gated forms (swiglu, geglu) multiply two branches (Shazeer 2020, arXiv 2002.05202). ReLU squared: So et al. 2021
(arXiv 2109.08668). GELU: Hendrycks and Gimpel 2016 (arXiv 1606.08415); GPT-2 uses its tanh approximation. The functions
themselves are in minigrad/fused/activation.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from minigrad.backend import Array
from minigrad.fused.activation import activate
from minigrad.nn import Linear, Module
from minigrad.tensor import Tensor


class MLP(Module):
    """x (..., C) -> (..., C)."""

    def __init__(self, config: GPTConfig, width: int | None = None, dtype: Any = np.float32):
        """`width`: of the hidden layer (F); None: that of the configuration."""
        C, F = config.dim, config.mlp_size if width is None else width
        self.activation = config.mlp
        # A gated MLP computes activation(gate(x)) * up(x). One matrix has the rows of both projections, gate first.
        branches = 2 if config.gated else 1
        self.up = Linear(C, branches * F, bias=config.has_bias("mlp"), dtype=dtype, init=False)
        self.down = Linear(F, C, bias=config.has_bias("mlp"), dtype=dtype, init=False)

    def forward(self, x: Tensor) -> Tensor:
        # Projection and activation in one call: a combined function stores less for the backward pass than two would.
        x = self.up(x, self.activation)  # (..., F)
        return self.down(x)  # (..., C)

    def decode(self, x: Array) -> Array:
        """`forward` for one token in each row, on plain arrays: (B, C) -> (B, C)."""
        x = activate(self.up.forward_array(x), self.activation)  # (B, F)
        return self.down.forward_array(x)  # (B, C)
