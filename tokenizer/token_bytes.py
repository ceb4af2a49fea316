"""Ids to bytes, for many ids at once: the bytes of all tokens stand in one array, and a text is gathered from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .pairs import places

CHUNK = 1 << 15  # ids
HEAD = 8  # bytes of a token that are one number of 64 bits


class TokenBytes:
    """The bytes of `tokens`, by id; None for an id that is not used."""

    def __init__(self, tokens: Sequence[bytes | None]):
        present = [token or b"" for token in tokens]
        self._data = np.frombuffer(b"".join(present) + bytes(HEAD), np.uint8)
        self._lengths = np.fromiter(map(len, present), np.int64, len(present))
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._heads = numbers(self._data)[self._starts]
        self._is_used = np.array([token is not None for token in tokens], bool)

    def are_known(self, ids: np.ndarray) -> bool:
        """Whether each of `ids`, (n,) integers, is the id of a token."""
        return bool(ids.min(initial=0) >= 0 and ids.max(initial=0) < len(self._is_used) and self._is_used[ids].all())

    def join(self, ids: np.ndarray) -> bytes:
        """The bytes of `ids`, one after the other."""
        return b"".join(self._join_chunk(ids[i : i + CHUNK]) for i in range(0, len(ids), CHUNK))

    def _join_chunk(self, ids: np.ndarray) -> bytes:
        """First the heads, eight bytes each: what is too much of one is overwritten by the next. Then the rest of the
        tokens that are longer."""
        lengths = self._lengths.take(ids)
        ends = np.cumsum(lengths)
        begins = ends - lengths
        result = np.empty(ends[-1] + HEAD, np.uint8)
        numbers(result)[begins] = self._heads.take(ids)
        long = np.flatnonzero(lengths > HEAD)
        rest = lengths[long] - HEAD
        result[places(begins[long] + HEAD, rest)] = self._data[places(self._starts[ids[long]] + HEAD, rest)]
        return result[:-HEAD].tobytes()


def numbers(data: np.ndarray) -> np.ndarray:
    """The eight bytes from each place on as a number; a view, in which neighbours overlap."""
    return np.ndarray(len(data) - HEAD + 1, "<u8", data, 0, (1,))
