"""Ids to bytes for many ids at once: the bytes of all tokens are in one array, from which a text is gathered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CHUNK_IDS = 1 << 14  # ids that are decoded together, so that their arrays stay in the processor's cache
WORD_BYTES = 8  # bytes of a token that are moved at once, as one 64-bit number


class TokenBytes:
    """The bytes of `tokens`, by id; None for an id that is not used."""

    def __init__(self, tokens: Sequence[bytes | None]):
        present = [token or b"" for token in tokens]
        self._data = np.frombuffer(b"".join(present) + bytes(WORD_BYTES), np.uint8)
        self._lengths = np.fromiter(map(len, present), np.int64, len(present))
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._heads = uint64_at(self._data)[self._starts]
        self._is_used = np.array([token is not None for token in tokens], bool)
        self._are_all_used = self._is_used.all()

    def are_known(self, ids: np.ndarray) -> bool:
        """Whether each of `ids`, (n,) integers, is the id of a token."""
        in_range = ids.min(initial=0) >= 0 and ids.max(initial=0) < len(self._is_used)
        return bool(in_range and (self._are_all_used or self._is_used[ids].all()))

    def join(self, ids: np.ndarray) -> bytes:
        """The bytes of `ids`, (n,), joined."""
        return b"".join(self._join_chunk(ids[i : i + CHUNK_IDS]) for i in range(0, len(ids), CHUNK_IDS))

    def _join_chunk(self, ids: np.ndarray) -> bytes:
        lengths = self._lengths.take(ids)
        ends = np.cumsum(lengths)
        starts = ends - lengths
        result = np.empty(ends[-1] + WORD_BYTES, np.uint8)
        # Eight bytes are written at a time, which may be too many at the end of a token: the next token overwrites
        # them. So what lies within long tokens is written first, and the heads of all tokens last, in order.
        long = np.flatnonzero(lengths > WORD_BYTES)
        for offset in range(WORD_BYTES, lengths.max(), WORD_BYTES):
            long = long[lengths[long] > offset]
            uint64_at(result)[starts[long] + offset] = uint64_at(self._data)[self._starts[ids[long]] + offset]
        uint64_at(result)[starts] = self._heads.take(ids)
        return result[:-WORD_BYTES].tobytes()


def uint64_at(data: np.ndarray) -> np.ndarray:
    """For each position of `data`, (n,) uint8, the eight bytes from there on as a number: (n - 7,) uint64.

    The result is a view in which neighbours overlap.
    """
    return np.ndarray(len(data) - WORD_BYTES + 1, "<u8", data, 0, (1,))
