"""Ids to bytes for many ids at once. The bytes of all tokens are in one array; a text is copied from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CHUNK_IDS = 1 << 14  # ids that are decoded together, so that their arrays stay in the processor's cache
UINT64_BYTES = 8  # bytes are copied in groups of eight, each as one 64-bit integer


class TokenBytes:
    """The bytes of `tokens`, by id; None for an id that is not used."""

    def __init__(self, tokens: Sequence[bytes | None]):
        present = [token or b"" for token in tokens]
        # Zeros at the end: eight bytes can be read from any position.
        self._data = np.frombuffer(b"".join(present) + bytes(UINT64_BYTES), np.uint8)
        self._lengths = np.fromiter(map(len, present), np.int64, len(present))
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._first_eight = uint64_at(self._data)[self._starts]  # the first eight bytes of each token
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
        result = np.empty(ends[-1] + UINT64_BYTES, np.uint8)
        # Writing eight bytes may write beyond the end of a token. That does no harm as long as the next token is
        # written later. So the bytes of long tokens after the first eight are written first, and then the first eight
        # bytes of all tokens, from left to right.
        long = np.flatnonzero(lengths > UINT64_BYTES)
        for offset in range(UINT64_BYTES, lengths.max(), UINT64_BYTES):
            long = long[lengths[long] > offset]
            uint64_at(result)[starts[long] + offset] = uint64_at(self._data)[self._starts[ids[long]] + offset]
        uint64_at(result)[starts] = self._first_eight.take(ids)
        return result[:-UINT64_BYTES].tobytes()


def uint64_at(data: np.ndarray) -> np.ndarray:
    """For each position of `data`, (n,) uint8, the eight bytes that begin there, as a 64-bit integer: (n - 7,) uint64.

    The result is a view of `data`: its elements overlap, because each begins one byte after the one before it.
    """
    return np.ndarray(len(data) - UINT64_BYTES + 1, "<u8", data, 0, (1,))
