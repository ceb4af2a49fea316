"""Ids to bytes, for many ids at once: the bytes of all tokens stand in one array, and a text is gathered from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CHUNK = 1 << 14  # ids
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
        self._are_all_used = self._is_used.all()

    def are_known(self, ids: np.ndarray) -> bool:
        """Whether each of `ids`, (n,) integers, is the id of a token."""
        are_ids = ids.min(initial=0) >= 0 and ids.max(initial=0) < len(self._is_used)
        return bool(are_ids and (self._are_all_used or self._is_used[ids].all()))

    def join(self, ids: np.ndarray) -> bytes:
        """The bytes of `ids`, one after the other."""
        return b"".join(self._join_chunk(ids[i : i + CHUNK]) for i in range(0, len(ids), CHUNK))

    def _join_chunk(self, ids: np.ndarray) -> bytes:
        """Eight bytes at a time. What is too much at the end of a token is overwritten by the head of the next one: so
        the heads come last, in order.
        """
        lengths = self._lengths.take(ids)
        ends = np.cumsum(lengths)
        begins = ends - lengths
        result = np.empty(ends[-1] + HEAD, np.uint8)
        long = np.flatnonzero(lengths > HEAD)
        for offset in range(HEAD, lengths.max(), HEAD):
            long = long[lengths[long] > offset]
            numbers(result)[begins[long] + offset] = numbers(self._data)[self._starts[ids[long]] + offset]
        numbers(result)[begins] = self._heads.take(ids)
        return result[:-HEAD].tobytes()


def numbers(data: np.ndarray) -> np.ndarray:
    """The eight bytes from each place on as a number; a view, in which neighbours overlap."""
    return np.ndarray(len(data) - HEAD + 1, "<u8", data, 0, (1,))
