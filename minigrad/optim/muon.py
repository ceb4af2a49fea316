"""Muon: the momentum of a matrix, made orthogonal (Jordan 2024, https://kellerjordan.github.io/posts/muon).

For a matrix W with the gradient G, at each step:

    B <- momentum B + (1 - momentum) G       a running mean of the gradient
    U  = momentum B + (1 - momentum) G       Nesterov: the mean after one more such gradient. Without Nesterov: U = B
    O  = the polar factor of U, nearly       orthogonal.py: all singular values become 1
    W <- W - lr weight_decay W - lr scale O

The gradient of a layer is mostly a few directions, with large singular values. A step along it hardly moves the others.
O moves W by the same length in all directions. Like Adam's step, it does not depend on the scale of the gradient. Its
size is chosen by `scale`:

    "original"           sqrt(max(1, rows / columns))
    "match_rms_adamw"    0.2 sqrt(max(rows, columns)): elements change about as much as with AdamW, so that the learning
                         rate and the weight decay of AdamW fit (Liu and others 2025, arXiv:2502.16982)

It is made for the matrices inside of a model. Embeddings, the head, biases and the weights of norms are for AdamW.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.nn.module import Parameter
from minigrad.optim.blocks import Parallel
from minigrad.optim.flat import WholeParameters
from minigrad.optim.optimizer import Optimizer, at_least_zero
from minigrad.optim.orthogonal import FAST, Coefficients, newton_schulz, polar_factor
from minigrad.profiler import span

SCALES: dict[str, Callable[[int, int], float]] = {
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}


def muon_reference(
    w: Array,
    g: Array,
    buffer: Array,
    t: int,
    *,
    lr: float = 1e-3,
    weight_decay: float = 0.1,
    momentum: float = 0.95,
    nesterov: bool = True,
    adjust_lr_fn: str = "original",
    orthogonal: Callable[[Array], Array] = polar_factor,
) -> tuple[Array, Array]:
    """A step for one matrix, as defined: the new (W, B). B begins at 0. Every step `t` is alike."""
    buffer = momentum * buffer + (1 - momentum) * g
    u = momentum * buffer + (1 - momentum) * g if nesterov else buffer
    return w - lr * weight_decay * w - lr * SCALES[adjust_lr_fn](*w.shape) * orthogonal(u), buffer


class Muon(Optimizer):
    """`muon_reference` for all parameters, in place, with `newton_schulz` for the polar factor.

    Arguments as in torch.optim.Muon; `params` and `decay` as in Optimizer. Two more are allowed: a parameter with more
    than two axes is many matrices, in its last two axes; and `ns_coefficients` may have other numbers for each step.
    `rows(parameter)`: in how many rows each matrix of a parameter ends and the next begins, for layers that are several
    matrices in one (the queries, keys and values of attention, or their heads). By default, a parameter is one matrix.
    """

    make_flat = WholeParameters  # ranks that divide the work (llm/parallel) divide it between matrices
    moments = ("momentum_buffer",)
    guard: Array | None = None  # as in AdamW: nothing is updated where this number is not finite
    t_and_lr: Array | None = None  # likewise: what a captured graph reads instead of `lr`

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: Coefficients | Sequence[Coefficients] = FAST,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        decay: Callable[[Parameter], bool] | None = None,
        rows: Callable[[Parameter], int] | None = None,
    ):
        if adjust_lr_fn not in (None, *SCALES):
            raise ValueError(f"adjust_lr_fn must be one of {', '.join(SCALES)}, not {adjust_lr_fn}")
        self.momentum, self.nesterov = at_least_zero("momentum", momentum), nesterov
        self.coefficients, self.eps = each_step(ns_coefficients, ns_steps), at_least_zero("eps", eps)
        self.scale, self.rows = SCALES[adjust_lr_fn or "original"], rows or (lambda p: p.shape[-2])
        super().__init__(params, lr, weight_decay, decay)
        for group in self.groups:
            for name, p in zip(group.names, group.flat.parameters):
                if p.ndim < 2:
                    raise ValueError(
                        f"Muon is for matrices, and parameter {name} has shape {p.shape}; use AdamW for it"
                    )
                if self.rows(p) != p.shape[-2] and (self.rows(p) < 1 or p.shape[-2] % self.rows(p)):
                    raise ValueError(f"parameter {name} has {p.shape[-2]} rows, no multiple of {self.rows(p)}")

    def _update_run(self, group: Any, indices: range, elements: slice, parallel: Parallel) -> None:
        """Update neighbouring parameters, one after the other: a matrix cannot be cut into slices."""
        steps, is_decayed = group.update_key(indices[0])
        group.steps[indices.start : indices.stop] = [steps + 1] * len(indices)
        weight_decay = self.weight_decay if is_decayed else 0.0

        @span(type(self).__name__)
        def update(chosen: slice) -> None:
            for i in indices[chosen]:
                p, of_p = group.flat.parameters[i], slice(*group.flat.bounds[i : i + 2])
                arrays = [array for array in self._arrays(group, of_p) if array.size]  # none, if another rank has it
                matrices = [split_rows(array.reshape(p.shape), self.rows(p)) for array in arrays]
                if matrices:
                    self.update_matrices(*matrices, name=group.names[i], lr=self.lr, weight_decay=weight_decay)

        parallel(update, len(indices))

    def update_matrices(self, w: Array, g: Array, buffer: Array, *, name: str, lr: float, weight_decay: float) -> None:
        """A step for the matrices (..., rows, columns) of a parameter, in place."""
        rate = lr if self.t_and_lr is None else self.t_and_lr[1]
        with undone_unless_finite(self.guard, w, buffer):
            buffer *= self.momentum
            buffer += (1 - self.momentum) * g
            u = self.momentum * buffer + (1 - self.momentum) * g if self.nesterov else buffer
            w *= rounded(1 - rate * weight_decay, w.dtype)
            step = self.direction(name, u)
            step *= rounded(rate, w.dtype)
            w -= step

    def direction(self, name: str, u: Array) -> Array:
        """The polar factors of matrices `u`, times their scale; a new array. `name`: of the parameter."""
        return newton_schulz(u, self.coefficients, self.eps) * self.scale(*u.shape[-2:])


@contextmanager
def undone_unless_finite(guard: Array | None, *arrays: Array) -> Iterator[None]:
    """What is done to the arrays inside is undone if `guard` is not finite; nothing waits for a GPU to know it."""
    if guard is None:
        yield
        return
    before = [array.copy() for array in arrays]
    yield
    for array, old in zip(arrays, before):
        array[...] = np.where(np.isfinite(guard), array, old)


def rounded(number: Any, dtype: Any) -> Any:
    """A number as a factor of arrays of this dtype. Python's are rounded by NumPy; those on a GPU have to be."""
    return number if isinstance(number, float) else number.astype(dtype)


def split_rows(array: Array, rows: int) -> Array:
    """(..., n rows, columns) -> (..., n, rows, columns), a view. Of one matrix: itself."""
    return array if rows == array.shape[-2] else array.reshape(*array.shape[:-2], -1, rows, array.shape[-1])


def each_step(coefficients: Coefficients | Sequence[Coefficients], steps: int) -> list[Coefficients]:
    """The coefficients of each step. A single triple is for all of them; of several, the last is repeated."""
    if steps < 1:
        raise ValueError(f"ns_steps must be at least 1, not {steps}")
    several: Any = [coefficients] if isinstance(coefficients[0], float | int) else coefficients
    if any(len(each) != 3 for each in several):
        raise ValueError(f"ns_coefficients must be three numbers, or three for each step, not {coefficients}")
    return [tuple(map(float, several[min(i, len(several) - 1)])) for i in range(steps)]  # type: ignore[misc]
