"""Activation functions as modules, for `Sequential`. Names and arguments are those of `torch.nn`, with NumPy's `axis`.

They have no parameters. In your own `forward`, call the functions themselves: `minigrad.relu(x)`.
"""

from __future__ import annotations

from typing import Any

from minigrad import ops
from minigrad.fused.activation import gelu, gelu_curve, silu
from minigrad.nn.module import Module
from minigrad.tensor import Tensor, as_tensor


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Tensor:
        return ops.relu(x)


class GELU(Module):
    """x Φ(x), with the normal CDF Φ; `approximate="tanh"` is the form that GPT-2 uses."""

    def __init__(self, approximate: str = "none"):
        gelu_curve(approximate)  # raises ValueError if there is no such form
        self.approximate = approximate

    def forward(self, x: Any) -> Tensor:
        return gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"


class SiLU(Module):
    """x sigmoid(x)."""

    def forward(self, x: Any) -> Tensor:
        return silu(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Tensor:
        return ops.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Any) -> Tensor:
        return ops.sigmoid(x)


class Softplus(Module):
    """log(1 + exp(x)), a smooth form of max(x, 0)."""

    def forward(self, x: Any) -> Tensor:
        return ops.softplus(x)


class Softmax(Module):
    """Probabilities along `axis`, exp(x) / sum(exp(x))."""

    def __init__(self, axis: int = -1):
        self.axis = axis

    def forward(self, x: Any) -> Tensor:
        return ops.softmax(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(Softmax):
    """The logarithm of `Softmax`; it is exact even where the probability rounds to 0."""

    def forward(self, x: Any) -> Tensor:
        return ops.log_softmax(x, self.axis)


class Identity(Module):
    """The input itself, for a place in a model where no layer is wanted."""

    def forward(self, x: Any) -> Tensor:
        return as_tensor(x)
