"""A table of vectors looked up by number: tokens and learned positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import array_module, as_array, to_device
from minigrad.fused.record import record_fused
from minigrad.fused.rows import blocks, rows
from minigrad.lazy import LazyGradient
from minigrad.tensor import Tensor, tensor


def embedding(ids: Any, weight: Any) -> Tensor:
    """Row ids[...] of weight (V, C) for each id -> (..., C). ids: integers, an array or Tensor of any shape.

    The gradient of a row is the sum over all places that used it. On the CPU an id outside 0 ... V-1 is an IndexError;
    on a GPU looking would stall it, and ids wrap around silently, as indices do in CuPy: check them before they go
    there.
    """
    weight = tensor(weight)
    W, index = weight.data, _index(ids, weight)

    def vjp(g: Any, needs: tuple) -> tuple:
        return (LazyGradient(W, add=lambda out: _scatter(out, index.reshape(-1), rows(g))),)

    return record_fused(W[index], (weight,), vjp, lambda weight: embedding_reference(index, weight))


def embedding_reference(ids: Any, weight: Any) -> Tensor:
    weight = tensor(weight)
    return weight[_index(ids, weight)]


def _scatter(out: Any, index: Any, g: Any) -> None:
    """out[index[n]] += g[n], out (V, C): repeated indices add up, on the CPU always in the same order."""
    xp, width = array_module(out), out.shape[1]
    flat = out.reshape(-1)  # a view: the engine makes gradients in C order
    for s in blocks(g):  # add.at is several times faster on a flat index than on rows
        xp.add.at(flat, (index[s, None] * width + xp.arange(width)).reshape(-1), g[s].reshape(-1))


def _index(ids: Any, weight: Tensor) -> Any:
    """The ids as an array beside the weight, checked."""
    ids = as_array(ids.data if isinstance(ids, Tensor) else ids)
    if weight.ndim != 2 or ids.dtype.kind not in "iu":
        raise TypeError(
            f"embedding looks up integer ids in weight (V, C), but was given ids of {ids.dtype} and weight "
            f"{weight.shape}"
        )
    count = weight.shape[0]
    if ids.size and array_module(ids) is np and not 0 <= ids.min() <= ids.max() < count:
        wrong = ids[(ids < 0) | (ids >= count)].flat[0]
        raise IndexError(f"id {wrong} is outside a vocabulary of {count}, whose ids go from 0 to {count - 1}")
    return to_device(ids, weight.device)
