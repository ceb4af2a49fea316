"""A GPT whose matrices stay as they are in the file: bfloat16, float16, or blocks of 8 bits.

Each use of a matrix widens some of its rows to float32, multiplies them, and goes on (stored.py). So a model of 1.5
billion parameters takes 3 GB, as in its file, and not 6. It writes text and computes losses; its matrices cannot be
trained, but gradients go through them, to what stands before.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from llm.hub.errors import HubError
from llm.hub.source import Source
from llm.hub.stored import Stored, Weight, product
from llm.model.gpt import GPT
from minigrad.backend import Array
from minigrad.fused.activation import ACTIVATIONS
from minigrad.fused.cross_entropy import cross_entropy
from minigrad.fused.record import Needs, record_fused
from minigrad.nn import Embedding, Linear, Module, Parameter
from minigrad.tensor import Tensor, as_tensor

KEPT = {
    "BF16",
    "F16",
    "Q8_0",
}  # the kinds that stay as they are; matrices of other kinds are widened when they are read


class StoredLinear(Module):
    """As `Linear`: (..., in) -> (..., out), with a stored matrix (out, in)."""

    def __init__(self, matrix: Weight, bias: Tensor | None):
        self.matrix, self.bias = matrix, bias

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        y = stored_product(x, self.matrix)
        y = y if self.bias is None else y + self.bias
        return y if activation is None else ACTIVATIONS[activation].function(y)

    def forward_array(self, x: Array) -> Array:
        y = product(x, self.matrix)
        return y if self.bias is None else y + self.bias.data


class StoredEmbedding(Module):
    """As `Embedding`: a row of a stored matrix (V, C) for each id."""

    def __init__(self, matrix: Weight, dtype: Any):
        self.matrix, self.dtype = matrix, np.dtype(dtype)

    def forward(self, ids: Any) -> Tensor:
        return Tensor(self.matrix.take(as_tensor(ids).data, self.dtype))


STORED_LAYERS = (StoredLinear, StoredEmbedding)


def stored_product(x: Tensor, matrix: Weight) -> Tensor:
    """x Wᵀ for a stored W, which gets no gradient."""

    def vjp(g: Array, needs: Needs) -> tuple:
        return (product(g, matrix, transposed=True),)  # dx = dy W

    def reference(x: Tensor) -> Tensor:
        return x @ Tensor(matrix.widen(x.dtype)).swapaxes(0, 1)

    return record_fused(product(x.data, matrix), (x,), vjp, reference)


class StoredGPT(GPT):
    """A GPT with stored matrices."""

    def keep_matrices(self, source: Source) -> None:
        """Replace the layers whose matrices can stay as they are. The weights of the others are still to be read."""
        # The zeros of the layers that are replaced were never written, and so took no memory.
        for name, module in list(self.named_modules()):
            if not isinstance(module, (Linear, Embedding)) or name == "positions":
                continue
            matrix = source.parts[f"{name}.weight"].keep(source.tensors.__getitem__)
            if matrix is None or not {part.kind for part in matrix.parts} <= KEPT:
                continue
            if matrix.shape != module.weight.shape:
                raise HubError(f"{source.where}: {name}.weight has the shape {matrix.shape}, not {module.weight.shape}")
            if isinstance(module, Linear):
                replace_module(self, name, StoredLinear(matrix, module.bias))
            else:
                replace_module(self, name, StoredEmbedding(matrix, self.dtype))

    def _head_product(self, x: Tensor) -> Tensor:
        if self._head_matrix is None:
            return super()._head_product(x)
        logits = stored_product(x, self._head_matrix)
        return logits if self.head_bias is None else logits + self.head_bias

    def _head_loss(self, x: Tensor, targets: Array, **options: Any) -> Tensor:
        return cross_entropy(self.logits(x), targets, **options)

    def num_parameters(self) -> int:
        matrices = [module.matrix for _, module in self.named_modules() if isinstance(module, STORED_LAYERS)]
        return super().num_parameters() + sum(prod(matrix.shape) for matrix in matrices)

    @property
    def _head_matrix(self) -> Weight | None:
        head = self.embedding if self.config.tied_head else self.head
        return head.matrix if isinstance(head, STORED_LAYERS) else None

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def dtype(self) -> np.dtype:
        return self.embedding.dtype if isinstance(self.embedding, StoredEmbedding) else self.embedding.weight.dtype


def stored_in(model: GPT, kind: str = "BF16") -> StoredGPT:
    """A model with the same weights, whose matrices are rounded to `kind` and stored so. It shares all others.

    Raises ValueError for a model that is more than a GPT, such as one with an adapter.
    """
    if type(model) is not GPT:
        raise ValueError(f"only a plain GPT can be stored in half of the memory, not a {type(model).__name__}")
    result = StoredGPT(model.config, rng=None, dtype=model.dtype)
    modules = dict(result.named_modules())
    for name, module in list(model.named_modules()):
        if isinstance(module, Linear):
            replace_module(result, name, StoredLinear(Stored.from_array(module.weight.data, kind), module.bias))
        elif isinstance(module, Embedding) and name != "positions":
            replace_module(result, name, StoredEmbedding(Stored.from_array(module.weight.data, kind), model.dtype))
        else:
            for own, value in vars(module).items():
                if isinstance(value, Parameter):
                    setattr(modules[name], own, value)
    result.eval()
    return result


def replace_module(model: Module, name: str, module: Module) -> None:
    """Put a module in the place of the one called `name`, such as "blocks.0.mlp.up"."""
    *path, last = name.split(".")
    for step in path:
        model = getattr(model, step)
    setattr(model, last, module)
