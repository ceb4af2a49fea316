"""What the losses share: their options, which rows count, and how the losses of rows become the result."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minigrad.backend import Array, array_module, at_least_float32
from minigrad.ops.arguments import as_number
from minigrad.tensor import as_tensor


class LossOptions(NamedTuple):
    """The options of `cross_entropy`, explained there."""

    ignore_index: int = -100
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    reduction: str = "mean"

    @classmethod
    def of(cls, ignore_index: Any, label_smoothing: Any, z_loss: Any, reduction: str) -> LossOptions:
        """The options with Python numbers: NumPy scalars would promote float32."""
        smoothing, z_loss = as_number(label_smoothing, "label_smoothing"), as_number(z_loss, "z_loss")
        return cls(ignore_index, smoothing, z_loss, reduction)


class Targets(NamedTuple):
    """The target of each row, checked."""

    classes: Array  # (N,) integers in the dtype of indices; 0 where the row does not count
    counted: Array  # (N,) booleans: whether a row counts
    shape: tuple[int, ...]  # of the targets that the caller gave

    def all_count(self) -> bool:
        """Whether it is known that every row counts. On a GPU it is not: the check would have to wait for `counted`."""
        return array_module(self.counted) is np and bool(self.counted.all())

    def only_counted(self, rows: Array, *, copy: bool) -> Array:
        """`rows` (N, C) with zeros in those that do not count, so that an infinity or NaN in them has no effect.

        If all rows count, this is `rows` itself, or with `copy` a copy.
        """
        if not self.all_count():
            return array_module(rows).ascontiguousarray(np.where(self.counted[:, None], rows, 0))
        return rows.copy() if copy else rows

    def chosen(self) -> Array | None:
        """The numbers of the rows that count; None if all count, and on a GPU, which would have to wait for them."""
        return None if array_module(self.counted) is not np or self.all_count() else np.flatnonzero(self.counted)


def check_targets(targets: Any, shape: tuple[int, ...], classes: int, ignore_index: int) -> Targets:
    """Targets of this shape, in the range of the classes or equal to `ignore_index`."""
    targets = as_tensor(targets).data
    if targets.shape != shape or targets.dtype.kind not in "iu":
        raise ValueError(
            f"targets must be integers of shape {shape}, one for each row; got {targets.dtype} of shape {targets.shape}"
        )
    flat = targets.reshape(-1)  # (N,)
    counted = flat != ignore_index
    flat = np.where(counted, flat, 0)  # any valid class will do, because the loss of the row is not used
    # Not on a GPU, where the check would have to wait for the result. There, indices out of range wrap around.
    if array_module(flat) is np and flat.size and not 0 <= flat.min() <= flat.max() < classes:
        wrong = next(t for t in flat.tolist() if not 0 <= t < classes)
        raise IndexError(f"target {wrong} is out of range: there are {classes} classes, 0 to {classes - 1}")
    return Targets(flat.astype(np.intp, copy=False), counted, shape)


class Reduction:
    """How the losses of rows become the result: their mean, their sum, or all of them."""

    def __init__(self, kind: str, targets: Targets, dtype: Any):
        if kind not in ("mean", "sum", "none"):
            raise ValueError(f"reduction {kind!r} is unknown; use 'mean', 'sum' or 'none'")
        self.kind, self.targets = kind, targets
        count = targets.counted.sum() if kind == "mean" else array_module(targets.counted).ones(())
        # Shape (). If no row counts it is 1, so the mean is 0 / 1 = 0. It is not in float16, where a count above 65,504
        # is infinite.
        self.dtype, self.denominator = dtype, np.maximum(count, 1).astype(np.promote_types(dtype, np.float32))

    def __call__(self, losses: Array) -> Array:
        """The result, from the loss of each row (N,)."""
        losses = np.where(self.targets.counted, losses, 0)
        result = losses.reshape(self.targets.shape) if self.kind == "none" else losses.sum() / self.denominator
        return result.astype(self.dtype, copy=False)

    def row_weights(self, g: Array) -> Array:
        """d result / d loss of each row, times the gradient `g` of the result: (N,)."""
        g = at_least_float32(g)
        return self.targets.counted * (g.reshape(-1) if self.kind == "none" else g / self.denominator)
