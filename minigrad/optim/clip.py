"""Clipping gradients by their global norm (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063)."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from minigrad.backend import array_module
from minigrad.optim.flat import blocks
from minigrad.optim.optimizer import Optimizer, named_parameters
from minigrad.tensor import Tensor


def clip_grad_norm(parameters: Optimizer | Iterable, max_norm: float) -> Tensor:
    """Scale all gradients so that the norm of them together is at most `max_norm`; returns the norm before, a float64
    Tensor of shape ().

    `parameters`: an optimizer (a loop over its flat gradient; the fast way), or parameters. As in
    torch.nn.utils.clip_grad_norm_ the factor is max_norm / (norm + 1e-6). If the norm is not finite, the gradients
    stay as they are. `float(norm)` waits for the GPU; nothing here does.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be above 0 (or infinity, only to measure), not {max_norm}")
    found = parameters.gradients() if isinstance(parameters, Optimizer) else _own_gradients(parameters)
    grads = [g for g in found if g.size]                # the norm of nothing would be on no device
    with np.errstate(all="ignore"):                     # the result tells of infinities and NaN
        norm = global_norm(grads)
        factor = np.where(np.isfinite(norm), np.minimum(1.0, max_norm / (norm + 1e-6)), 1.0)
    for g in grads:
        if array_module(g) is not np or factor < 1:     # on a GPU, looking would mean waiting
            g *= factor.astype(g.dtype)
    return Tensor(norm)


def global_norm(arrays: Iterable) -> Any:
    """The square root of the sum of the squares of all elements, in float64, on the device of the arrays."""
    flat = [array.reshape(-1) for array in arrays]
    # each block is summed in its own dtype, the sums in float64: exact enough for float32 of any length
    return np.sqrt(sum((g[block] @ g[block]).astype(np.float64) for g in flat for block in blocks(g)))


def _own_gradients(parameters: Iterable) -> list:
    """The gradient arrays, after replacing by a copy each that may be somebody else's, too."""
    grads = []
    for p in named_parameters(parameters).values():
        if p.grad is not None:
            if p.grad.data is not p.grad_buffer:
                p.grad = Tensor(p.grad.data.copy())
            grads.append(p.grad.data)
    return grads
