"""Characters to ids by byte-pair encoding, the inside of sentencepiece.py: pieces, what they stand for, how they join,
and what the text of bytes is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import regex

from tokenizer.bpe.textbook import CACHE_SIZE, LONGEST_CACHED, MergeTable, merge_heap
from tokenizer.text.aligned import Aligned
from tokenizer.text.normalize import Replace
from tokenizer.text.prefix import Prefix

SPACE = "\u2581"
ESCAPE = Replace(" ", SPACE)
BYTE = regex.compile("<0x([0-9A-F]{2})>")
BROKEN = "\ufffd"
ESCAPED = regex.compile("[\udc80-\udcff]")  # what "surrogateescape" makes of a byte


class Metaspace(Prefix):
    """Escapes spaces and puts one (or "": none) before, as a tokenizer.json may ask instead of a normalizer. The
    difference: added tokens that are looked for in normalized text are found before this."""

    def __call__(self, piece: str, is_first: bool) -> str:
        return super().__call__(ESCAPE(piece), is_first)

    def align(self, piece: Aligned, is_first: bool) -> Aligned:
        return super().align(ESCAPE.align(piece), is_first)


def byte_of(piece: str) -> int | None:
    """The byte that a piece such as `<0xE2>` stands for."""
    found = BYTE.fullmatch(piece)
    return int(found[1], 16) if found else None


def surface(piece: str) -> bytes:
    """The bytes that any other piece stands for."""
    return piece.replace(SPACE, " ").encode()


def mend_each(run: bytes) -> bytes:
    """What SentencePiece shows of the byte tokens in a row: U+FFFD for each byte that is not part of a character."""
    return ESCAPED.sub(BROKEN, run.decode("utf-8", "surrogateescape")).encode()


def mend_all(run: bytes) -> bytes:
    """What Hugging Face's ByteFallback shows of them: U+FFFD for each, whole characters too, if one byte is amiss."""
    return run if is_utf8(run) else BROKEN.encode() * len(run)


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def byte_length(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def table_of_scores(pieces: Mapping[str, int], scores: Sequence[float], n: int) -> MergeTable:
    """Every way to join two pieces (or characters: see `CharacterEncoder`) to a third. Equal scores have equal ranks,
    so that the leftmost comes first."""
    rank_of = {score: rank for rank, score in enumerate(sorted(set(scores), reverse=True))}
    table = {}
    for piece, i in pieces.items():
        for cut in range(1, len(piece)):
            left, right = (
                pieces.get(part, n + ord(part) if len(part) == 1 else -1) for part in (piece[:cut], piece[cut:])
            )
            if left >= 0 and right >= 0:
                table[left, right] = (rank_of[scores[i]], i)
    return table


class CharacterEncoder(dict):
    """word -> ids, remembered as in `bpe.WordEncoder`. While it is worked out, a character c that is no piece has the
    id n + ord(c), with n pieces."""

    def __init__(
        self,
        pieces: Sequence[str | None],
        id_of: Mapping[str, int],
        byte_ids: Mapping[int, int],
        unknown: int | None,
        table: MergeTable,
    ):
        """`id_of`: those of `pieces` that a character may be; `byte_ids[b]` is the token of the byte b."""
        super().__init__()
        self.id_of, self.byte_ids, self.unknown, self.table = id_of, byte_ids, unknown, table
        self.n = len(pieces)
        self.lengths = [len(piece or "") for piece in pieces]

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = tuple(i for i, _ in self.measure(word))
        if len(word) <= LONGEST_CACHED:
            if len(self) >= CACHE_SIZE:
                self.clear()
            self[word] = ids
        return ids

    def measure(self, word: str) -> list[tuple[int, int]]:
        """The ids of `word`, each with the number of its bytes."""
        result: list[tuple[int, int]] = []
        end = 0  # in characters: which piece is where
        for i in merge_heap([self.id_of.get(character, self.n + ord(character)) for character in word], self.table):
            start, end = end, end + (self.lengths[i] if i < self.n else 1)
            if i < self.n:
                result.append((i, byte_length(word[start:end])))
            else:
                self.add_unknown(word[start:end], result)
        return result

    def add_unknown(self, character: str, result: list[tuple[int, int]]) -> None:
        """A character without a token: its bytes, or else the unknown token, one for all in a row."""
        data = character.encode("utf-8", "surrogateescape")
        if all(byte in self.byte_ids for byte in data):
            result += [(self.byte_ids[byte], 1) for byte in data]
        elif result and result[-1][0] == self.unknown:
            result[-1] = (result[-1][0], result[-1][1] + len(data))
        elif self.unknown is not None:
            result.append((self.unknown, len(data)))
