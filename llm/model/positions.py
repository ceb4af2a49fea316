"""Where tokens stand in their text, and the tables that tell a model so.

Positions count real tokens only, from 0 in each document, so that padding and packing change nothing. As an index they
are a slice, where all rows simply count on, or an array (B, T), with PADDING where there is no token.

Sinusoids: Vaswani et al. 2017 (arXiv 1706.03762), section 3.5. RoPE: Su et al. 2021 (arXiv 2104.09864), see
minigrad/fused/rope.py. ALiBi: Press et al. 2021 (arXiv 2108.12409).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.backend import device_of, to_device
from minigrad.tensor import tensor

PADDING = -1


@dataclass(frozen=True)
class Places:
    """Positions of the queries and keys of one call: slices where all rows simply count on, else arrays (B, T) and (B,
    S).
    """

    queries: slice | np.ndarray
    keys: slice | np.ndarray
    runs: np.ndarray | None = None  # (B, T): the number of the document in its row, where texts are packed


def place(
    shape: tuple[int, int],
    *,
    positions: Any = None,
    mask: Any = None,
    documents: Any = None,
    past: slice | np.ndarray = slice(0, 0),
) -> Places:
    """The places of B rows of T tokens after the `past`, the positions of keys in a cache.

    Each (B, T), or (T,) for all rows: `positions` instead of counting; `mask`, False at padding; `documents`, runs of
    equal numbers.
    """
    B, T = shape
    if positions is None and mask is None and documents is None and isinstance(past, slice):
        return Places(slice(past.stop, past.stop + T), slice(0, past.stop + T))
    mask = (
        np.ones(shape, dtype=bool)
        if mask is None
        else _checked("mask", mask, shape, "b", "booleans, True at real tokens")
    )
    runs = None if documents is None else count_runs(_checked("documents", documents, shape, "iu", "integers"))
    past = np.broadcast_to(np.arange(past.stop), (B, past.stop)) if isinstance(past, slice) else past  # (B, S - T)
    if positions is None:
        queries = count_positions(mask, runs, past.max(axis=1, keepdims=True, initial=PADDING) + 1)  # (B, T)
    else:
        queries = np.where(mask, _checked("positions", positions, shape, "iu", "integers of at least 0"), PADDING)
    return Places(queries, np.concatenate([past, queries], axis=1), runs)


def count_runs(documents: np.ndarray) -> np.ndarray:
    """The number, from 0, of the run of equal values that each value belongs to, in each row."""
    return np.cumsum(np.diff(documents, axis=1, prepend=documents[:, :1]) != 0, axis=1)


def count_positions(mask: np.ndarray, runs: np.ndarray | None, start: np.ndarray) -> np.ndarray:
    """Positions (B, T): the real tokens of each run counted from 0, of the first run from `start` (B, 1); PADDING where
    there is none.
    """
    before = np.cumsum(mask, axis=1) - mask + start  # (B, T)
    if runs is not None:
        begins = np.diff(runs, axis=1, prepend=runs[:, :1]) > 0
        before = before - np.maximum.accumulate(np.where(begins, before, 0), axis=1)
    return np.where(mask, before, PADDING)


def _checked(name: str, x: Any, shape: tuple[int, int], kinds: str, wanted: str) -> np.ndarray:
    """`x` on the CPU, of the shape (B, T); as (T,) it holds for all rows."""
    x = to_device(tensor(x).data, "cpu")
    if x.shape not in (shape, shape[1:]) or x.dtype.kind not in kinds:
        raise ValueError(
            f"{name} must be {wanted}, of the shape of ids, {shape}, or {shape[1:]}; got {x.dtype} of shape {x.shape}"
        )
    if name == "positions" and x.min(initial=0) < 0:
        raise ValueError(f"{name} must be {wanted}; the smallest given is {x.min()}")
    return np.broadcast_to(x, shape)


def end_of(index: slice | np.ndarray) -> int:
    """One more than the last position."""
    return index.stop if isinstance(index, slice) else int(index.max(initial=PADDING)) + 1


def index_on(index: slice | np.ndarray, device: str) -> Any:
    """What to index a table with: padding, which nobody looks at, reads the first row."""
    return index if isinstance(index, slice) else to_device(np.maximum(index, 0), device)


class Table:
    """A function of the position, computed once: `make(positions (N,), dtype) -> arrays (N, ...)`.

    It has rows for all positions seen so far, on the device and in the dtype they were last asked for.
    """

    def __init__(self, make: Callable[[np.ndarray, Any], tuple]):
        self.make = make
        self.arrays: tuple = ()

    def __call__(self, index: slice | np.ndarray, like: Any) -> tuple:
        """The rows of each array at `index` (a slice, or positions (B, T)), where the array `like` is and with its
        dtype.
        """
        device, length = device_of(like), max(end_of(index), 1)  # padding alone reads the first row too
        arrays = self.arrays
        if not arrays or len(arrays[0]) < length or arrays[0].dtype != like.dtype or device_of(arrays[0]) != device:
            positions = np.arange(1 << (length - 1).bit_length())  # doubling: few tables are made as texts grow
            arrays = self.arrays = tuple(to_device(a, device) for a in self.make(positions, like.dtype))
        index = index_on(index, device)
        return tuple(a[index] for a in arrays)


def sinusoids(positions: np.ndarray, dim: int, dtype: Any = np.float32) -> np.ndarray:
    """sin and cos of `positions` (N,) in turns: (N, C), with wavelengths from 2 pi to 10000 times that."""
    angles = positions[:, None] / 10000.0 ** (np.arange(0, dim, 2) / dim)  # (N, C / 2)
    waves = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(positions), 2 * angles.shape[1])
    return waves[:, :dim].astype(dtype)  # an odd dim ends with a sine


def alibi_slopes(heads: int) -> np.ndarray:
    """How much the score of a key sinks with each token of distance, for each head: (H,), float64.

    For a power of two: 2^(-8/H), 2^(-16/H), ..., 2^-8; otherwise those of the power below and every other one of the
    power above.
    """
    below = 1 << (heads.bit_length() - 1)
    slopes = 2.0 ** (-8.0 * np.arange(1, below + 1) / below)
    between = 2.0 ** (-8.0 * np.arange(1, 2 * below + 1, 2) / (2 * below))
    return np.concatenate([slopes, between[: heads - below]])
