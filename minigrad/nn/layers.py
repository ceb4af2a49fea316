"""The layers with parameters, with the names, arguments and initial distributions of `torch.nn`.

Initial values are drawn from `rng`, a `np.random.Generator` (or a seed for one). Pass one generator to all layers for a
model that can be reproduced. Without it, each layer takes a new generator that is seeded by the operating system, so
that layers differ from each other, and runs differ too. `dtype` is float32 unless given.

`forward_array` is `forward` on a plain array, for generating text token by token: no Tensor is made, nothing is
recorded and shapes are not checked. On small arrays, these would take longer than the arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.fused.dropout import dropout
from minigrad.fused.embedding import embedding
from minigrad.fused.linear import linear, matvec_as_complex
from minigrad.fused.linear_activation import linear_activation
from minigrad.fused.norm import layer_norm, normalize, rms_norm
from minigrad.nn.module import Module, Parameter
from minigrad.ops.arguments import as_int, as_number
from minigrad.tensor import Tensor


class Linear(Module):
    """y = x W^T + b: (..., in_features) -> (..., out_features).

    `weight` is (out_features, in_features), `bias` (out_features,) or None. Both are drawn uniformly from the
    range +-1/sqrt(in_features). With `init=False` both are zero and nothing is drawn, for a caller that sets them.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: np.random.Generator | int | None = None,
        dtype: Any = np.float32,
        init: bool = True,
    ):
        in_features, out_features = _size(in_features, "in_features"), _size(out_features, "out_features")
        if not init:
            self.weight = _zeros(out_features, in_features, dtype=dtype)
            self.bias = _zeros(out_features, dtype=dtype) if bias else None
            return
        # Draws are made in float64 and then rounded, so that a seed means the same weights in every dtype.
        rng = np.random.default_rng(rng)
        bound = in_features**-0.5 if in_features else 0.0  # without inputs there is no weight, and the bias is 0
        self.weight = Parameter(rng.uniform(-bound, bound, (out_features, in_features)), dtype)
        self.bias = Parameter(rng.uniform(-bound, bound, out_features), dtype) if bias else None

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        """`activation`: the name of a function that is applied to y (minigrad.fused.activation.ACTIVATIONS).

        Computing both at once is faster than one after the other.
        """
        # (..., in_features) -> (..., out_features)
        if activation is None:
            return linear(x, self.weight, self.bias)
        return linear_activation(x, self.weight, self.bias, activation=activation)

    def forward_array(self, x: Array) -> Array:
        """`forward` for finite x (N, in_features): a new array (N, out_features)."""
        # The fastest way for one row. It multiplies some numbers by 0, which gives NaN for infinity (fused/linear.py).
        y = matvec_as_complex(x, self.weight.data)
        if self.bias is not None:
            y += self.bias.data  # in place: y is new
        return y

    def extra_repr(self) -> str:
        # Read from the weight each time, so that it stays right if the weight is replaced.
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}" + ("" if self.bias is not None else ", bias=False")


class Embedding(Module):
    """A table of vectors: integers (...) -> (..., embedding_dim), row i of the table for each integer i.

    `weight` is the table (num_embeddings, embedding_dim), drawn from the standard normal distribution. With
    `init=False` it is zero and nothing is drawn.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        rng: np.random.Generator | int | None = None,
        dtype: Any = np.float32,
        init: bool = True,
    ):
        num_embeddings = _size(num_embeddings, "num_embeddings")
        embedding_dim = _size(embedding_dim, "embedding_dim")
        if not init:
            self.weight = _zeros(num_embeddings, embedding_dim, dtype=dtype)
            return
        rng = np.random.default_rng(rng)
        self.weight = Parameter(rng.standard_normal((num_embeddings, embedding_dim)), dtype)

    def forward(self, ids: Any) -> Tensor:
        return embedding(ids, self.weight)  # (...) -> (..., embedding_dim): row i of the weight for each id i

    def extra_repr(self) -> str:
        return "{}, {}".format(*self.weight.shape)


class LayerNorm(Module):
    """Each row shifted and scaled to mean 0 and variance 1, then times `weight` plus `bias`: (..., dim) -> (..., dim).

    `weight` (dim,) begins at 1, `bias` (dim,) at 0. Ba, Kiros and Hinton 2016 (arXiv:1607.06450).
    """

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = True, *, dtype: Any = np.float32):
        # Ones and zeros: at first the layer only normalises.
        self.eps, dim = eps, _norm_size(dim)
        self.weight = Parameter(np.ones(dim), dtype)
        self.bias = Parameter(np.zeros(dim), dtype) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        # (x - mean) / sqrt(var + eps) * weight + bias, with mean and variance over the last axis. `eps` keeps the
        # quotient finite for a row of equal numbers.
        return layer_norm(x, self.weight, self.bias, self.eps)

    def forward_array(self, x: Array) -> Array:
        """`forward` for x (N, dim): a new array."""
        bias = None if self.bias is None else self.bias.data
        return normalize(x, self.weight.data, bias, self.eps, centered=True)[0]

    def extra_repr(self) -> str:
        return f"{self.weight.size}, eps={self.eps:g}" + ("" if self.bias is not None else ", bias=False")


class RMSNorm(Module):
    """Each row scaled to root mean square 1, then times `weight`: (..., dim) -> (..., dim).

    `weight` (dim,) begins at 1. Zhang and Sennrich 2019 (arXiv:1910.07467).
    """

    def __init__(self, dim: int, eps: float = 1e-6, *, dtype: Any = np.float32):
        self.eps, dim = eps, _norm_size(dim)
        self.weight = Parameter(np.ones(dim), dtype)

    def forward(self, x: Tensor) -> Tensor:
        # x / sqrt(mean(x^2) + eps) * weight, with the mean over the last axis. Unlike LayerNorm, it does not subtract
        # the mean and has no bias.
        return rms_norm(x, self.weight, self.eps)

    def forward_array(self, x: Array) -> Array:
        """`forward` for x (N, dim): a new array."""
        return normalize(x, self.weight.data, None, self.eps, centered=False)[0]

    def extra_repr(self) -> str:
        return f"{self.weight.size}, eps={self.eps:g}"


class Dropout(Module):
    """In training, each element is set to 0 with probability `p`, and the others are divided by 1 - p.

    So the expected value of each element stays the same. In evaluation the result is the input. Any shape; Srivastava
    et al. 2014.
    """

    def __init__(self, p: float = 0.5):
        p = as_number(p, "the dropout probability")
        if not 0 <= p <= 1:
            raise ValueError(f"the dropout probability must be between 0 and 1, not {p}")
        self.p = p  # read at every call, so it may be changed during training

    def forward(self, x: Tensor) -> Tensor:
        # The mask comes from this thread's stream of random keys (minigrad/random.py), not from a generator.
        return dropout(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        return f"{self.p:g}"


def _norm_size(dim: Any) -> int:
    """The size of the last axis. As in torch, it may be given as the shape of that axis, (n,)."""
    return _size(dim[0] if isinstance(dim, (tuple, list)) and len(dim) == 1 else dim, "dim")


def _size(n: Any, name: str) -> int:
    """How many elements an axis has. Raises an error unless it is a whole number from 0; `name` is the argument's."""
    if (size := as_int(n, name)) < 0:
        raise ValueError(f"{name} must be 0 or more, not {size}")
    return size


def _zeros(*shape: int, dtype: Any) -> Parameter:
    """A parameter of zeros. Its memory is taken from the system only where it is written or read."""
    parameter = Parameter(0.0, dtype)
    parameter.data = np.zeros(shape, parameter.dtype)  # `Parameter(np.zeros(shape))` would copy, and write all of it
    return parameter
