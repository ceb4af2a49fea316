"""The position of each token in its text, and the tables that tell the model about positions.

Positions count real tokens only, and begin at 0 in each document. So neither padding nor packing changes them. There
are two forms:

    slice           all rows have the same consecutive positions, as in training and in ordinary generation
    array (B, T)    rows differ: there is padding, or there are packed documents, or the caller has given positions,
                    or the rows are the new tokens of texts of different lengths (cache_pool.py)
    OnDevice        the host does not know them, because a CUDA graph moves them (llm/inference/captured.py)

In an array, padding has the position PADDING.

Sinusoids: Vaswani et al. 2017 (arXiv 1706.03762), section 3.5. RoPE: Su et al. 2021 (arXiv 2104.09864), see
minigrad/fused/rope.py. ALiBi: Press et al. 2021 (arXiv 2108.12409).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minigrad.backend import Array, device_of, to_device
from minigrad.tensor import as_tensor

PADDING = -1


class OnDevice(NamedTuple):
    """Positions that only the GPU knows: integers (B, T), all of them below `end`. There is no padding."""

    array: Array
    end: int


@dataclass(frozen=True)
class TokenPositions:
    """Positions for one call of the model. The queries are its T tokens; the keys are the cached tokens and these T.

    Of texts of different lengths (cache_pool.py), queries are an array (N, 1) and keys a slice, the positions of the
    longest text. There each query may attend to the keys of its text up to its own.
    """

    queries: slice | np.ndarray | OnDevice  # a slice of T positions, or (B, T)
    keys: slice | np.ndarray  # a slice of S positions, or (B, S)
    document_ids: np.ndarray | None = None  # (B, T): 0, 0, 0, 1, 1, ... in each row; None: each row is one document


def token_positions(
    shape: tuple[int, int],
    *,
    positions: Any = None,
    mask: Any = None,
    documents: Any = None,
    cached: slice | np.ndarray | TokenPositions = slice(0, 0),
) -> TokenPositions:
    """Positions of T new tokens in each of B rows. `cached`: the positions of the tokens in the cache, if there is one.

    If the new tokens continue several texts (cache_pool.py), `cached` has the positions of all of them, (N,): each is a
    row. A cache may also know the positions of the new tokens. `positions`, `mask` and `documents` are those of
    `GPT.forward`. Raises ValueError for a wrong shape or dtype.
    """
    if isinstance(cached, TokenPositions):
        return cached
    T, is_plain = shape[1], positions is None and mask is None and documents is None
    if isinstance(cached, np.ndarray) and cached.ndim == 1:
        if shape != (len(cached), 1) or not is_plain:
            raise ValueError(
                f"several texts are continued by rows of one token each, without padding, ({len(cached)}, 1); "
                f"got {shape}"
            )
        return TokenPositions(cached[:, None], slice(0, int(cached.max()) + 1))
    if is_plain and isinstance(cached, slice):
        return TokenPositions(slice(cached.stop, cached.stop + T), slice(0, cached.stop + T))
    return _positions_of_rows(shape, positions, mask, documents, cached)


def _positions_of_rows(
    shape: tuple[int, int], positions: Any, mask: Any, documents: Any, cached: slice | np.ndarray
) -> TokenPositions:
    """`token_positions` where rows may differ: all positions are arrays."""
    real = np.ones(shape, dtype=bool)
    if mask is not None:
        real = _checked("mask", mask, shape, "b", "booleans, True at real tokens")
    document_ids = None
    if documents is not None:
        document_ids = number_documents(_checked("documents", documents, shape, "iu", "integers"))
    if isinstance(cached, slice):
        cached = np.broadcast_to(np.arange(cached.stop), (shape[0], cached.stop))  # (B, S - T)
    if positions is None:
        start = cached.max(axis=1, keepdims=True, initial=PADDING) + 1  # (B, 1): one after the last cached token
        queries = count_positions(real, document_ids, start)  # (B, T)
    else:
        queries = np.where(real, _checked("positions", positions, shape, "iu", "integers of at least 0"), PADDING)
    return TokenPositions(queries, np.concatenate([cached, queries], axis=1), document_ids)


def number_documents(documents: np.ndarray) -> np.ndarray:
    """Number the documents of each row from 0: [[7, 7, 2, 2, 2, 7]] becomes [[0, 0, 1, 1, 1, 2]]."""
    # A document is a run of equal numbers. The same number later in the row is another document.
    return np.cumsum(np.diff(documents, axis=1, prepend=documents[:, :1]) != 0, axis=1)


def count_positions(real: np.ndarray, document_ids: np.ndarray | None, start: np.ndarray) -> np.ndarray:
    """Count the real tokens (B, T): from 0 in each document, but in the first one from `start` (B, 1)."""
    # The first document of a row may continue the text in the cache, so it does not always start at 0.
    positions = np.cumsum(real, axis=1) - real + start  # (B, T): how many real tokens stand before each one
    if document_ids is not None:
        # Subtract the count at each document's first token; `maximum.accumulate` carries it to the tokens after it.
        first = np.diff(document_ids, axis=1, prepend=document_ids[:, :1]) > 0
        positions = positions - np.maximum.accumulate(np.where(first, positions, 0), axis=1)
    return np.where(real, positions, PADDING)


def _checked(name: str, x: Any, shape: tuple[int, int], kinds: str, wanted: str) -> np.ndarray:
    """`x` as a NumPy array (B, T); (T,) is repeated for all rows. `kinds`: letters of NumPy's `dtype.kind`."""
    x = to_device(as_tensor(x).data, "cpu")
    if x.shape not in (shape, shape[1:]) or x.dtype.kind not in kinds:
        raise ValueError(
            f"{name} must be {wanted}, of the shape of ids, {shape}, or {shape[1:]}; got {x.dtype} of shape {x.shape}"
        )
    if name == "positions" and x.min(initial=0) < 0:
        raise ValueError(f"{name} must be {wanted}; the smallest given is {x.min()}")
    # In their own dtype, a difference of two positions could be wrong, and PADDING, -1, may not exist.
    return np.broadcast_to(x if x.dtype == bool else x.astype(np.int64), shape)


# --- tables -----------------------------------------------------------------------------------------------------------


def table_length(positions: slice | np.ndarray | OnDevice) -> int:
    """The largest position plus one: a table needs this many rows."""
    if isinstance(positions, OnDevice):
        return positions.end
    return positions.stop if isinstance(positions, slice) else int(positions.max(initial=PADDING)) + 1


def table_index(positions: slice | np.ndarray | OnDevice, device: str) -> slice | Array:
    """What to index a table with. Padding reads row 0. Any row would do, because results at padding are never used."""
    if isinstance(positions, OnDevice):
        return positions.array
    return positions if isinstance(positions, slice) else to_device(np.maximum(positions, 0), device)


class PositionTable:
    """Arrays with a row for each position. They are computed at the first use, and again when a longer text comes.

    `compute(positions (N,), dtype, length)` returns a tuple of arrays (N, ...): the rows of positions 0 ... N - 1.
    `effective_length`: if the rows depend on the length of the text (rope_scaling.py), a function of the length. The
    rows are computed again when its value is another one, which `compute` then gets as `length`.
    """

    def __init__(
        self,
        compute: Callable[[np.ndarray, Any, int], tuple[np.ndarray, ...]],
        effective_length: Callable[[int], int] | None = None,
    ):
        self.compute, self.effective_length = compute, effective_length
        self.computed: tuple[int, tuple[Array, ...]] = (0, ())  # the effective length, and the arrays

    def __call__(self, positions: slice | np.ndarray | OnDevice, like: Array) -> tuple[Array, ...]:
        """The rows at `positions`, a slice or an array (B, T), on the device and in the dtype of the array `like`."""
        device, length = device_of(like), max(table_length(positions), 1)  # at least the row that padding reads
        effective = 0 if self.effective_length is None else self.effective_length(length)
        computed_for, arrays = self.computed
        fits = bool(arrays) and computed_for == effective and len(arrays[0]) >= length
        if not fits or arrays[0].dtype != like.dtype or device_of(arrays[0]) != device:
            rows = np.arange(1 << (length - 1).bit_length())  # a power of two: a growing text seldom needs a new table
            arrays = tuple(to_device(a, device) for a in self.compute(rows, like.dtype, effective))
            self.computed = effective, arrays  # in one assignment, because several threads may use the table
        index = table_index(positions, device)
        return tuple(a[index] for a in arrays)


def sinusoids(positions: np.ndarray, dim: int, dtype: Any = np.float32) -> np.ndarray:
    """For `positions` (N,) an array (N, dim): sin and cos in turns, with wavelengths from 2 pi to 10000 times that."""
    angles = positions[:, None] / 10000.0 ** (np.arange(0, dim, 2) / dim)  # (N, C / 2)
    waves = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(positions), 2 * angles.shape[1])
    return waves[:, :dim].astype(dtype)  # an odd dim ends with a sine


def alibi_slopes(heads: int) -> np.ndarray:
    """By how much each head lowers the score of a key for each token of distance: (H,), float64."""
    # If H is a power of two: 2^(-8/H), 2^(-16/H), ..., 2^-8. Otherwise, as in the authors' code: the slopes for the
    # largest power of two below H, then every second slope for twice that power, until there are H.
    power = 1 << (heads.bit_length() - 1)
    slopes = 2.0 ** (-8.0 * np.arange(1, power + 1) / power)
    every_second = 2.0 ** (-8.0 * np.arange(1, 2 * power + 1, 2) / (2 * power))
    return np.concatenate([slopes, every_second[: heads - power]])
