"""Tensors as they lie in a file, widened to floating point where they are used.

    weight = Stored(raw, "Q8_0")          raw: the file's bytes, mapped to memory: nothing is read yet
    weight.shape, weight.kind, weight.nbytes
    weight.widen(np.float32)              all of it, as an array
    weight[100:200].widen()               some rows
    weight.take(ids)                      rows by number: an embedding
    product(x, weight)                    x @ weight.widen(x.dtype).T, with a few rows of the weight at a time

Only the last axis is stored in blocks (kinds.py), so rows can be cut, gathered and put in another order as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np

from llm.hub.kinds import KINDS, kind_of_dtype, rounded
from llm.hub.mapped import release

# Numbers that are widened at a time: 512 KB as float32. They are used while they lie in the cache of a processor core.
BLOCK = 1 << 17


class Weight(Protocol):
    """What `Stored` and `Stacked` have in common: all that `product` and an embedding need."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def kind(self) -> str: ...
    @property
    def parts(self) -> Sequence[Stored]: ...
    def widen(self, dtype: Any = np.float32, out: np.ndarray | None = None) -> np.ndarray: ...
    def take(self, ids: np.ndarray, dtype: Any = np.float32) -> np.ndarray: ...


class Stored:
    """One tensor in the form of a kind of kinds.py. Its bytes may be mapped from a file, or be in memory."""

    def __init__(self, raw: np.ndarray, kind: str):
        """`raw`: an array of KINDS[kind].dtype; the last axis holds whole blocks."""
        self.raw, self._kind = raw, KINDS[kind]
        if raw.dtype != self._kind.dtype or (self._kind.numbers > 1 and raw.shape[-1] % self._kind.nbytes):
            raise ValueError(f"{kind} needs {self._kind.dtype} in blocks, not {raw.dtype} of shape {raw.shape}")
        self.shape = self._kind.shape(raw.shape)

    @classmethod
    def from_bytes(cls, data: np.ndarray, kind: str, shape: Sequence[int]) -> Stored:
        """The tensor of that shape whose bytes are `data`, uint8. Nothing is copied."""
        raw_shape = KINDS[kind].raw_shape(tuple(shape))
        return cls(data.view(KINDS[kind].dtype).reshape(raw_shape), kind)

    @classmethod
    def from_array(cls, array: np.ndarray, kind: str | None = None) -> Stored:
        """The array, rounded to `kind`: F64, F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 or Q5_1. None: as it is."""
        return cls(array, kind_of_dtype(array.dtype)) if kind is None else cls(rounded(array, kind), kind)

    @property
    def kind(self) -> str:
        return self._kind.name

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return self.raw.nbytes

    @property
    def parts(self) -> Sequence[Stored]:
        return (self,)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Stored({self.kind}, {self.shape})"

    def __getitem__(self, rows: slice | int) -> Stored:
        """Rows, or one row or matrix of a stack of them. Nothing is copied."""
        if self._kind.numbers > 1 and len(self.shape) == 1:
            raise IndexError(f"a row of {self.kind} cannot be cut")
        return Stored(self.raw[rows], self.kind)

    def reordered(self, order: np.ndarray) -> Stored:
        """The rows `order[0], order[1] ...` in memory, still in the form in which they are stored."""
        return Stored(self.raw[order], self.kind)

    def release(self) -> None:
        """Give the memory of the part of the file back that has been read, once its numbers are elsewhere."""
        release(self.raw)

    def take(self, ids: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
        """Rows by number: (...) -> (..., C). IndexError for numbers of rows that do not exist."""
        rows = self.reordered(np.asarray(ids).reshape(-1))  # a copy of these rows
        return rows.widen(dtype).reshape(*np.shape(ids), *self.shape[1:])

    def widen(self, dtype: Any = np.float32, out: np.ndarray | None = None) -> np.ndarray:
        """The numbers as float32 or float64: a new array of that dtype, or `out`, which keeps its own."""
        out = np.empty(self.shape, dtype) if out is None else out
        if out.shape != self.shape:
            raise ValueError(f"out has the shape {out.shape}, not {self.shape}")
        rows, columns = prod(self.shape[:-1]), (self.shape or (1,))[-1]
        raw = self.raw.reshape(rows, -1 if self.raw.size else 0)
        # (rows, C), without a copy: what is written to it must arrive in `out`. ValueError where that is impossible.
        target = out.reshape(rows, columns, copy=False)
        for start, stop in spans(rows, columns, BLOCK):
            self._widen_block(raw[start:stop], target[start:stop])
        return out

    def _widen_block(self, raw: np.ndarray, out: np.ndarray) -> None:
        if self._kind.to_float32 is None:
            np.copyto(out, raw, casting="unsafe")
        elif out.dtype == np.float32 and out.flags.c_contiguous:
            self._kind.to_float32(raw, out)
        else:
            block = np.empty(out.shape, np.float32)
            self._kind.to_float32(raw, block)
            np.copyto(out, block)


class Stacked:
    """The rows of several tensors, one below another, as if they were one: queries, keys and values, for example."""

    def __init__(self, parts: Sequence[Weight]):
        self.parts = [stored for part in parts for stored in part.parts]
        if not self.parts or len({part.shape[1:] for part in self.parts}) > 1:
            raise ValueError(f"rows of one length can be stacked, not {[part.shape for part in self.parts]}")
        self._ends = np.cumsum([len(part) for part in self.parts])  # the number of the row after each part
        self.shape = (int(self._ends[-1]), *self.parts[0].shape[1:])

    @property
    def kind(self) -> str:
        return "+".join(dict.fromkeys(part.kind for part in self.parts))

    def __repr__(self) -> str:
        return f"Stacked({self.kind}, {self.shape})"

    def widen(self, dtype: Any = np.float32, out: np.ndarray | None = None) -> np.ndarray:
        """As that of `Stored`."""
        out = np.empty(self.shape, dtype) if out is None else out
        if out.shape != self.shape:
            raise ValueError(f"out has the shape {out.shape}, not {self.shape}")
        for part, end in zip(self.parts, self._ends.tolist()):
            part.widen(out=out[end - len(part) : end])
        return out

    def take(self, ids: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
        """As that of `Stored`."""
        flat = np.arange(self.shape[0])[np.asarray(ids).reshape(-1)]  # IndexError for numbers that do not exist
        out = np.empty((len(flat), *self.shape[1:]), dtype)
        owner = np.searchsorted(self._ends, flat, side="right")  # which part has the row
        for number in np.unique(owner).tolist():
            part, here = self.parts[number], owner == number
            out[here] = part.take(flat[here] - (self._ends[number] - len(part)), dtype)
        return out.reshape(*np.shape(ids), *self.shape[1:])


def product(x: np.ndarray, weight: Weight, *, transposed: bool = False) -> np.ndarray:
    """x @ W.T: (..., in) -> (..., out), for W (out, in); transposed: x @ W, for W (in, out). In the dtype of x.

    Some rows of W at a time are widened and multiplied while they are in the cache. So the memory needed is that of the
    result, and the time that of reading W as it is stored, of widening it, and of the product.
    """
    flat = x.reshape(-1, x.shape[-1])  # (N, in)
    rows, columns = weight.shape
    out = np.zeros((len(flat), columns), x.dtype) if transposed else np.empty((len(flat), rows), x.dtype)
    first = 0
    for block in _widened_blocks(weight, x.dtype, len(flat)):  # (some of the rows, columns)
        here = slice(first, first + len(block))
        if transposed:
            out += flat[:, here] @ block
        else:
            np.matmul(flat, block.T, out=out[:, here])
        first += len(block)
    return out.reshape(*x.shape[:-1], out.shape[-1])


def _widened_blocks(weight: Weight, dtype: Any, count: int) -> Iterator[np.ndarray]:
    """All rows of a matrix from the first to the last, a block of them at a time. A block lives until the next one."""
    # Many vectors are multiplied faster by larger blocks: the product takes the time then, and not the widening.
    numbers = BLOCK if count < 32 else 8 * BLOCK
    buffer = np.empty(0, dtype)
    for part in weight.parts:
        columns = part.shape[1]
        for start, stop in spans(len(part), columns, numbers):
            if part.raw.dtype == dtype and KINDS[part.kind].to_float32 is None:
                yield part.raw[start:stop]  # as it is stored
                continue
            needed = (stop - start) * columns
            if buffer.size < needed:
                buffer = np.empty(needed, dtype)
            yield part[start:stop].widen(out=buffer[:needed].reshape(-1, columns))


def same_numbers(a: Stored, b: Stored) -> bool:
    """Whether two matrices of one shape have the same numbers. Few of their rows are in memory at a time."""
    rows = (slice(*span) for span in spans(len(a), prod(a.shape[1:]), BLOCK))
    same = all(np.array_equal(a[r].widen(), b[r].widen(), equal_nan=True) for r in rows)
    for stored in (a, b):
        stored.release()
    return same


def spans(rows: int, columns: int, numbers: int) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of consecutive groups of rows that have about `numbers` numbers together, at least a row."""
    step = max(1, numbers // max(1, columns))
    return ((start, min(start + step, rows)) for start in range(0, rows, step))
