"""How our tensors are made of those in a file, and back.

Most are the same under another name. Some models keep as one matrix what others keep as several, or store a matrix
transposed. Each class here is one such way, in both directions:

    fill(out, get)      to load: writes our tensor into the array `out`; `get(name)` is a tensor of the file (stored.py)
    keep(get)           to load with weights="stored": our tensor as it lies in the file; None if that is impossible
    split(array)        to save: the tensors of the file, by name, that our tensor `array` becomes
    pieces(rows)        for LoRA, which has factors for each matrix of a file: which rows of ours are whose
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from llm.hub.errors import HubError
from llm.hub.stored import Stacked, Stored, Weight

Get = Callable[[str], Stored]


class Part(Protocol):
    """One of our tensors, as it is kept in a file. `names`: the tensors of the file that it is made of."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def fill(self, out: np.ndarray, get: Get) -> None: ...

    def split(self, array: np.ndarray) -> dict[str, np.ndarray]: ...

    def keep(self, get: Get) -> Weight | None: ...

    def pieces(self, rows: int) -> list[Piece]: ...


@dataclass(frozen=True)
class OneTensor:
    """What all parts have in common that are kept as one tensor of the file."""

    name: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def fill(self, out: np.ndarray, get: Get) -> None:
        copy(self.pick(get(self.name)), out, self.name)

    def split(self, array: np.ndarray) -> dict[str, np.ndarray]:
        return {self.name: array}

    def keep(self, get: Get) -> Weight | None:
        return self.pick(get(self.name))

    def pick(self, stored: Stored) -> Stored:
        """The part of the tensor that is ours."""
        return stored

    def pieces(self, rows: int) -> list[Piece]:
        return [(self, slice(0, rows))]

    def in_our_order(self, rows: np.ndarray) -> np.ndarray:
        """The rows of the file's matrix, or what belongs to them, in our order."""
        return rows

    def in_their_order(self, rows: np.ndarray) -> np.ndarray:
        """The inverse."""
        return rows


Piece = tuple[OneTensor, slice]  # a tensor of the file, and which of our rows it has


@dataclass(frozen=True)
class Same(OneTensor):
    """The tensor is the same."""


class SameNames(dict[str, Part]):
    """The parts of a file in which each tensor is the same, and has the same name: a run of ours."""

    def __missing__(self, name: str) -> Part:
        return Same(name)


@dataclass(frozen=True)
class Stack:
    """Our rows are those of several tensors: queries, keys and values; the gate and the up-projection of an MLP."""

    parts: tuple[Part, ...]
    shares: tuple[int, ...]  # how many rows each has, or numbers in the same proportions

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for part in self.parts for name in part.names)

    def fill(self, out: np.ndarray, get: Get) -> None:
        for part, rows in zip(self.parts, self._pieces(out)):
            part.fill(rows, get)

    def split(self, array: np.ndarray) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for part, rows in zip(self.parts, self._pieces(array)):
            found |= part.split(rows)
        return found

    def pieces(self, rows: int) -> list[Piece]:
        ends = [0, *(np.cumsum(self.shares) * rows // sum(self.shares)).tolist()]
        found = [(part.pieces(end - start), start) for part, start, end in zip(self.parts, ends, ends[1:])]
        return [(leaf, slice(s.start + start, s.stop + start)) for pieces, start in found for leaf, s in pieces]

    def _pieces(self, array: np.ndarray) -> list[np.ndarray]:
        ends = np.cumsum(self.shares) * len(array) // sum(self.shares)
        return np.split(array, ends[:-1])  # views

    def keep(self, get: Get) -> Weight | None:
        kept = [part.keep(get) for part in self.parts]
        return None if any(weight is None for weight in kept) else Stacked([w for w in kept if w is not None])


def stack(names: Sequence[str], shares: Sequence[int]) -> Stack:
    return Stack(tuple(Same(name) for name in names), tuple(shares))


def same_layers(names: Mapping[str, str]) -> dict[str, Part]:
    """Weights and biases of layers: our names of the layers -> theirs."""
    return {f"{ours}.{kind}": Same(f"{theirs}.{kind}") for ours, theirs in names.items() for kind in ("weight", "bias")}


@dataclass(frozen=True)
class Transposed(OneTensor):
    """(in, out) in the file, as in GPT-2, (out, in) here."""

    def fill(self, out: np.ndarray, get: Get) -> None:
        copy(get(self.name), out.T, self.name)

    def split(self, array: np.ndarray) -> dict[str, np.ndarray]:
        return {self.name: array.T}

    def keep(self, get: Get) -> Weight | None:
        return None


@dataclass(frozen=True)
class PlusOne(OneTensor):
    """Weights of a norm that are stored as the difference to 1, as in Gemma."""

    def fill(self, out: np.ndarray, get: Get) -> None:
        copy(get(self.name), out, self.name)
        out += 1

    def split(self, array: np.ndarray) -> dict[str, np.ndarray]:
        return {self.name: array - 1}

    def keep(self, get: Get) -> Weight | None:
        return None


@dataclass(frozen=True)
class Reordered(OneTensor):
    """The rows of one tensor in another order: row i of ours is row order[i] of the file's."""

    order: tuple[int, ...]

    def fill(self, out: np.ndarray, get: Get) -> None:
        copy(get(self.name), out, self.name)
        out[...] = self.in_our_order(out)

    def split(self, array: np.ndarray) -> dict[str, np.ndarray]:
        return {self.name: self.in_their_order(array)}

    def in_our_order(self, rows: np.ndarray) -> np.ndarray:
        return rows[list(self.order)]

    def in_their_order(self, rows: np.ndarray) -> np.ndarray:
        theirs = np.empty_like(rows)
        theirs[list(self.order)] = rows
        return theirs

    def keep(self, get: Get) -> Weight | None:
        return get(self.name).reordered(np.array(self.order))


@dataclass(frozen=True)
class RowsAfter(OneTensor):
    """The rows after the first `unused` ones, which no text reads: the table of positions of OPT."""

    unused: int

    def split(self, array: np.ndarray) -> dict[str, np.ndarray]:
        return {self.name: np.pad(array, ((self.unused, 0), (0, 0)))}

    def pick(self, stored: Stored) -> Stored:
        if len(stored.shape) != 2:
            raise HubError(f"the tensor {self.name} has the shape {stored.shape}, and must be a matrix")
        return stored[self.unused :]


@dataclass(frozen=True)
class OneMatrix(OneTensor):
    """One of several matrices that the file keeps as one tensor with three axes: the experts of GGUF files."""

    number: int

    def split(self, array: np.ndarray) -> dict[str, np.ndarray]:
        raise HubError(f"{self.name} is not written: experts are read from GGUF files only")

    def pick(self, stored: Stored) -> Stored:
        if len(stored.shape) != 3 or self.number >= len(stored):
            raise HubError(f"the tensor {self.name} has the shape {stored.shape}, and no matrix number {self.number}")
        return stored[self.number]


# --- orders of rows ---------------------------------------------------------------------------------------------------

# Rope turns pairs of numbers. In Meta's Llama, and with it in llama2.c and in GGUF files of the architecture "llama",
# the two of a pair are beside each other: rows 0 and 1 of a head, 2 and 3 ... (interleaved). In Hugging Face's models
# and here they are half a head apart: rows 0 and D / 2, 1 and D / 2 + 1 ..., for heads of D rows.


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Interleaved rows (heads * D, ...) of queries or keys, in the order of pairs half a head apart."""
    pairs = rows.reshape(heads, -1, 2, *rows.shape[1:])  # (heads, D / 2, 2, ...)
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def interleaved_qkv(names: Sequence[str], heads: int, key_heads: int, width: int) -> Stack:
    """Queries, keys and values of three tensors, of which the first two have interleaved rows."""
    q, k, v = names
    queries, keys = (
        Reordered(name, tuple(unpermute(np.arange(count * width), count).tolist()))
        for name, count in ((q, heads), (k, key_heads))
    )
    return Stack((queries, keys, Same(v)), (heads * width, key_heads * width, key_heads * width))


def heads_in_turns(name: str, heads: int, width: int) -> Reordered:
    """Queries, keys and values of head 0, then those of head 1 ..., as in GPT-NeoX and BLOOM."""
    rows = np.arange(heads * 3 * width).reshape(heads, 3, width).swapaxes(0, 1)  # (3, heads, width)
    return Reordered(name, tuple(rows.ravel().tolist()))


def copy(stored: Stored, out: np.ndarray, name: str) -> None:
    """Write a tensor of the file into `out`. Raises HubError if the shapes differ."""
    if stored.shape != out.shape:
        raise HubError(f"the tensor {name} has the shape {stored.shape}, but the configuration asks for {out.shape}")
    stored.widen(out=out)
    stored.release()
