"""Byte-pair encoding over characters instead of bytes, as SentencePiece does it (Llama 2).

A character that has no token becomes its bytes, each a token such as `<0xE2>`, or else the unknown token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokenizer.bpe.heap import merge_heap
from tokenizer.bpe.merge_table import MergeTable
from tokenizer.bpe.words import MAX_CACHED_CHARACTERS, MAX_CACHED_WORDS


def table_of_scores(pieces: Mapping[str, int], scores: Sequence[float], piece_count: int) -> MergeTable:
    """All pairs of pieces that together are a piece. The higher the score of a piece, the earlier it is made.

    Equal scores have equal ranks, so that of two such pairs the leftmost is merged first. A part that is a single
    character c, but no piece, has the temporary id `piece_count + ord(c)` (see `CharacterEncoder`).
    """
    rank_of = {score: rank for rank, score in enumerate(sorted(set(scores), reverse=True))}

    def id_of(part: str) -> int:
        return pieces.get(part, piece_count + ord(part) if len(part) == 1 else -1)

    table = {}
    for piece, i in pieces.items():
        for size in range(1, len(piece)):
            left, right = id_of(piece[:size]), id_of(piece[size:])
            if left >= 0 and right >= 0:
                table[left, right] = (rank_of[scores[i]], i)
    return table


class CharacterEncoder(dict):
    """word -> ids, cached as in `words.WordEncoder`.

    A piece may consist of characters that are not pieces themselves. So while a word is encoded, such a character c has
    a temporary id, `piece_count + ord(c)`, which no piece has.
    """

    def __init__(
        self,
        pieces: Sequence[str | None],
        id_of: Mapping[str, int],
        byte_ids: Mapping[int, int],
        unknown: int | None,
        table: MergeTable,
    ):
        """`id_of` has the `pieces` that text may be encoded as. `byte_ids[b]` is the id of the token of the byte b."""
        super().__init__()
        self.id_of = id_of
        self.byte_ids = byte_ids
        self.unknown = unknown
        self.table = table
        self.piece_count = len(pieces)
        self.lengths = [len(piece or "") for piece in pieces]

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = tuple(i for i, _ in self.encode_with_lengths(word))
        if len(word) <= MAX_CACHED_CHARACTERS:
            if len(self) >= MAX_CACHED_WORDS:
                self.clear()
            self[word] = ids
        return ids

    def encode_with_lengths(self, word: str) -> list[tuple[int, int]]:
        """The ids of `word`, each with the number of bytes of the word that it stands for."""
        result: list[tuple[int, int]] = []
        characters = [self.id_of.get(character, self.piece_count + ord(character)) for character in word]
        start = 0  # where in the word the piece begins
        for i in merge_heap(characters, self.table):
            if i < self.piece_count:
                end = start + self.lengths[i]
                result.append((i, byte_length(word[start:end])))
            else:  # the temporary id of a character
                end = start + 1
                self._add_unknown(word[start:end], result)
            start = end
        return result

    def _add_unknown(self, character: str, result: list[tuple[int, int]]) -> None:
        data = character.encode("utf-8", "surrogateescape")
        if all(byte in self.byte_ids for byte in data):
            result += [(self.byte_ids[byte], 1) for byte in data]
        elif result and result[-1][0] == self.unknown:  # a run of unknown characters is a single unknown token
            result[-1] = (result[-1][0], result[-1][1] + len(data))
        elif self.unknown is not None:
            result.append((self.unknown, len(data)))


def byte_length(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))
