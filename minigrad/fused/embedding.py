"""A table of vectors that are looked up by number: token embeddings and learned positions.

y[n] = W[ids[n]]     dW[v] = Σ dy[n] over all n with ids[n] = v
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, as_array, to_device
from minigrad.fused.record import Needs, record_fused
from minigrad.fused.rows import as_rows
from minigrad.lazy import LazyGradient
from minigrad.sums import add_rows
from minigrad.tensor import Tensor, as_tensor


def embedding_reference(ids: Any, weight: Any) -> Tensor:
    """The definition of `embedding`."""
    weight = as_tensor(weight)
    return weight[_checked_ids(ids, weight)]


def embedding(ids: Any, weight: Any) -> Tensor:
    """A row of weight (V, C) for each id: ids (...) -> (..., C). The ids are integers, in an array or Tensor.

    On the CPU, an id outside 0 ... V-1 is an IndexError. On a GPU such ids wrap around silently, as indices do in CuPy,
    because checking them would stall the GPU. Check them on the CPU.
    """
    weight = as_tensor(weight)
    W, index = weight.data, _checked_ids(ids, weight)

    def vjp(g: Array, needs: Needs) -> tuple:
        # Lazy, with `add`: a batch uses few rows of the table. A full array of zeros would cost more than the sums.
        return (LazyGradient(W, add=lambda out: add_rows(out, index.reshape(-1), as_rows(g))),)

    return record_fused(W[index], (weight,), vjp, lambda weight: embedding_reference(index, weight))


def _checked_ids(ids: Any, weight: Tensor) -> Array:
    """The ids as an array on the device of the weight, in the dtype of indices."""
    ids = as_array(ids.data if isinstance(ids, Tensor) else ids)
    if weight.ndim != 2 or ids.dtype.kind not in "iu":
        raise TypeError(
            f"embedding looks up integer ids in weight (V, C), but was given ids of {ids.dtype} and weight "
            f"{weight.shape}"
        )
    V = weight.shape[0]
    # Negative ids are refused as well. NumPy would count them from the end and hide a mistake.
    if ids.size and array_module(ids) is np and not 0 <= ids.min() <= ids.max() < V:
        wrong = ids[(ids < 0) | (ids >= V)].flat[0]
        raise IndexError(f"id {wrong} is outside a vocabulary of {V}, whose ids go from 0 to {V - 1}")
    # In their own dtype, products such as id * C would be wrong: 300 * 16 is 192 in uint8.
    return to_device(ids, weight.device).astype(np.intp, copy=False)
