"""The head of a language model and its loss in one function. The logits, the largest array of a model, never exist all
at once.

    z = x Wᵀ + b     loss and dz as in cross_entropy.py     dx = dz W     dW = dzᵀ x     db = Σ dz

The rows of x are processed in chunks (head_chunks.py), and the forward pass computes the gradients too, while the
logits of a chunk are in memory. It can do so because the result is a single number: whatever its gradient g will be,
the gradients of x, W and b are those for g = 1, times g. That is the idea of Liger Kernel (arXiv 2410.10989). With the
reduction "none", g is a number for each row, so the backward pass computes the logits a second time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.fused.cross_entropy import cross_entropy_reference, softmax_loss
from minigrad.fused.curves import check_soft_cap
from minigrad.fused.head_chunks import Head, RowLosses, times_g
from minigrad.fused.linear import linear_reference
from minigrad.fused.loss_options import LossOptions, Reduction, Targets, check_targets
from minigrad.fused.record import Needs, record_fused
from minigrad.fused.rows import as_rows
from minigrad.modes import mode
from minigrad.ops import where
from minigrad.ops.arguments import as_number
from minigrad.precision import current_precision
from minigrad.tensor import Tensor, as_tensor

CPU_CHUNK_ROWS = 512  # rows of logits at a time
GPU_CHUNK_LOGITS = 1 << 27  # a GPU wants large arrays: rows for this many logits at a time, but at least 512 rows


def linear_cross_entropy_reference(
    x: Any,
    weight: Any,
    targets: Any,
    bias: Any = None,
    *,
    soft_cap: float | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """The definition of `linear_cross_entropy`."""
    x = as_tensor(x)
    counted = check_targets(targets, x.shape[:-1], len(weight), ignore_index).counted.reshape(x.shape[:-1])
    x = where(counted[..., None], x, 0)  # nothing in a row that is ignored has an effect
    logits = linear_reference(x, weight, bias)  # (..., V)
    if soft_cap is not None:
        logits = soft_cap * (logits / soft_cap).tanh()
    options = LossOptions(ignore_index, label_smoothing, z_loss, reduction)
    return cross_entropy_reference(logits, targets, **options._asdict())


def linear_cross_entropy(
    x: Any,
    weight: Any,
    targets: Any,
    bias: Any = None,
    *,
    soft_cap: float | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
    chunk: int | None = None,
) -> Tensor:
    """cross_entropy(linear(x, weight, bias), targets): x (..., C), weight (V, C), bias (V,) or None, targets (...).

    `chunk`: rows of logits at a time. `soft_cap`: logits first become cap * tanh(logits / cap) (Gemma 2, arXiv
    2408.00118). The other options are those of `cross_entropy`.
    """
    options = LossOptions.of(ignore_index, label_smoothing, z_loss, reduction)
    return split_linear_cross_entropy(x, weight, targets, bias, options, soft_cap=soft_cap, chunk=chunk)


def split_linear_cross_entropy(
    x: Any,
    weight: Any,
    targets: Any,
    bias: Any,
    options: LossOptions,
    *,
    soft_cap: float | None,
    chunk: int | None = None,
    softmax: RowLosses = softmax_loss,
    classes: int | None = None,
) -> Tensor:
    """`linear_cross_entropy`, also where weight and bias have only some rows of a larger vocabulary, of size `classes`.

    `softmax`: computes the losses of all rows together with whoever has the other ones, in place of `softmax_loss`.
    """
    inputs = _checked_inputs(x, weight, bias)
    x, weight = inputs[:2]
    soft_cap = None if soft_cap is None else as_number(soft_cap, "soft_cap")
    checked = check_targets(targets, x.shape[:-1], classes or len(weight), options.ignore_index)
    reduce = Reduction(options.reduction, checked, x.dtype)
    chunk = chunk or _chunk_rows(x.data, weight.data)
    counted = _CountedRows(checked)
    rows = counted.of_inputs(as_rows(x.data))  # (n, C)
    soft_cap, bias = check_soft_cap(soft_cap), inputs[2].data if inputs[2:] else None
    precision = current_precision()
    head = Head(rows, weight, bias, counted(checked.classes), options, soft_cap, softmax, precision)
    needs = [t.requires_grad for t in inputs]
    # Whether the gradients are computed here, for g = 1.
    in_forward = mode.recording and any(needs) and options.reduction != "none"
    one = array_module(x.data).ones((), x.dtype)
    row_weights = counted(reduce.row_weights(one)) if in_forward else None
    # With few rows, dz (N, V) of a single chunk takes less memory than dW (V, C). Then dz is saved.
    save_dz = in_forward and needs[1] and 0 < len(rows) <= min(chunk, x.shape[-1])
    losses, gradients = head.losses_and_gradients(chunk, row_weights, needs, save_dz=save_dz)

    def vjp(g: Array, needs: Needs) -> tuple:
        if in_forward:
            dx, dw, db = times_g(g, gradients, head)
        else:
            _, (dx, dw, db, _) = head.losses_and_gradients(chunk, counted(reduce.row_weights(g)), needs)
        return (None if dx is None else counted.among_all(dx).reshape(x.shape), dw, db)[: len(inputs)]

    vjp.__qualname__ = "linear_cross_entropy.<locals>.vjp"  # the name of the op in the graph

    def reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if classes is not None:
            raise NotImplementedError("the head of a split vocabulary has no second derivatives")
        return linear_cross_entropy_reference(x, weight, targets, bias, soft_cap=soft_cap, **options._asdict())

    return record_fused(reduce(counted.among_all(losses)), inputs, vjp, reference)


def _checked_inputs(x: Any, weight: Any, bias: Any) -> tuple[Tensor, ...]:
    """x, weight and, if there is one, bias."""
    inputs = tuple(as_tensor(t) for t in (x, weight, bias) if t is not None)
    x, weight = inputs[:2]
    if weight.ndim != 2 or x.shape[-1:] != weight.shape[1:]:
        raise ValueError(
            f"linear_cross_entropy: x (..., C) and weight (V, C) must share C; got {x.shape} and {weight.shape}"
        )
    return inputs


def _chunk_rows(x: Array, weight: Array) -> int:
    """How many rows of logits to compute at a time."""
    if array_module(x) is np:
        return CPU_CHUNK_ROWS
    return max(CPU_CHUNK_ROWS, GPU_CHUNK_LOGITS // max(1, len(weight)))


class _CountedRows:
    """Takes the rows that count out of an array of all rows, and puts them back. On a GPU it leaves all as they are.

    So the logits of a row that does not count, such as a question in a chat, are not computed.
    """

    def __init__(self, targets: Targets):
        self.targets, self.numbers, self.total = targets, targets.chosen(), len(targets.counted)

    def of_inputs(self, x: Array) -> Array:
        """x (N, C) -> (n, C). On a GPU, rows that do not count become 0, so that a NaN in them has no effect."""
        return self.targets.only_counted(x, copy=False) if self.numbers is None else self(x)

    def __call__(self, rows: Array) -> Array:
        """(N, ...) -> (n, ...)"""
        return rows if self.numbers is None else rows[self.numbers]

    def among_all(self, rows: Array) -> Array:
        """(n, ...) -> (N, ...), with zeros in the rows that do not count."""
        if self.numbers is None:
            return rows
        every = np.zeros((self.total, *rows.shape[1:]), rows.dtype)
        every[self.numbers] = rows
        return every
