"""The merges of a file of byte pairs: pairs of texts become pairs of ids, and are checked.

There may be hundreds of thousands, so the usual ones are looked up all together (`find_parts`). What `find_parts` does
not understand is read one merge after another, by `find_parts_definition`. The two give the same ids.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from tokenizer.arrays.word_ids import NO_ID, WordIds
from tokenizer.bpe.merge_table import Pair, joined
from tokenizer.formats.checks import is_list, shorten
from tokenizer.formats.records import FormatError, Spelling
from tokenizer.text.special_tokens import AddedToken

BETWEEN = "\0"  # stands between texts that are joined
BLOCK_MERGES = 1 << 13  # this many merges are looked up together, so that their arrays stay in the processor's cache
NO_MARKS = bytes(sorted({*range(256)} - {*b" \0"}))


class Parts(NamedTuple):
    """The ids of what merges join, and of what they make, (merges,) int64 each; NO_ID for what is no token."""

    left: np.ndarray
    right: np.ndarray
    made: np.ndarray


def read_merges(
    merges: Any, spelling: Spelling, added: Iterable[AddedToken], outside: Collection[int] = ()
) -> list[Pair]:
    """The merges as pairs of ids. Older files write "left right", newer ones ["left", "right"].

    FormatError if a merge does not join two tokens, or makes no token. The tokens `outside` do not count as tokens.
    """
    if not is_list(merges):
        raise FormatError("is damaged: its merges are not a list")
    parts = find_parts(merges, spelling)
    if parts is None:
        parts = find_parts_definition(merges, spelling)
    no_token = [NO_ID, *outside]
    wrong = np.isin(parts.left, no_token) | np.isin(parts.right, no_token)
    if wrong.any():
        raise FormatError(f"is damaged: the merge {shorten(merges[wrong.argmax()])} is not a pair of its tokens")
    parts = without_special_merges(parts, spelling, added)
    pairs = list(zip(parts.left.tolist(), parts.right.tolist()))
    wrong = np.isin(parts.made, no_token)
    if wrong.any():
        (merged,) = joined(spelling, [pairs[wrong.argmax()]])
        raise FormatError(f"is damaged: a merge makes {merged!r}, which is no token")
    return pairs


def find_parts_definition(merges: list, spelling: Spelling) -> Parts:
    """The ids of the parts of all merges."""
    id_of = {text: i for i, text in enumerate(spelling) if text is not None}
    found = []
    for merge in merges:
        texts = merge.split(" ") if isinstance(merge, str) else merge
        is_pair = is_list(texts) and len(texts) == 2 and all(isinstance(text, str) for text in texts)
        found.append([id_of.get(text, NO_ID) for text in (*texts, "".join(texts))] if is_pair else [NO_ID] * 3)
    return Parts(*np.array(found, np.int64).reshape(-1, 3).T)


def find_parts(merges: list, spelling: Spelling) -> Parts | None:
    """`find_parts_definition` with arrays. None if the merges are not all alike, or contain something unusual."""
    try:
        data = joined_parts(merges)
        words = texts_in(BETWEEN.join([word or "" for word in spelling]).encode())
    except UnicodeEncodeError:  # a surrogate
        return None
    parts = texts_in(data or b"")
    are_pairs = len(parts.lengths) == 2 * len(merges) and parts.lengths.all()
    if data is None or not are_pairs or len(words.lengths) != len(spelling):
        return None
    ids = WordIds(*words)
    blocks = [
        find_block(ids, *parts.between(i, i + 2 * BLOCK_MERGES)) for i in range(0, len(parts.lengths), 2 * BLOCK_MERGES)
    ]
    return Parts(*np.concatenate(blocks, axis=1))


def find_block(ids: WordIds, data: bytes, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The ids of the left parts, of the right parts, and of what they make together: (3, merges)."""
    left, right, starts = lengths[::2], lengths[1::2], starts[::2]
    # The two parts of a merge stand side by side, and together they are what it makes.
    all_starts, all_lengths = [starts, starts + left, starts], [left, right, left + right]
    return ids.find(data, np.concatenate(all_starts), np.concatenate(all_lengths)).reshape(3, -1)


def joined_parts(merges: list) -> bytes | None:
    """The parts of all merges in UTF-8, with BETWEEN between them. None if some merges are no pairs of texts."""
    kinds = set(map(type, merges))
    if kinds == {str}:
        data = BETWEEN.join(merges).encode()
        marks = data.translate(None, NO_MARKS)  # all spaces and separators
        has_pairs = marks == b" \0" * (len(merges) - 1) + b" "  # one space in each merge
        return data.replace(b" ", b"\0") if has_pairs else None
    if kinds == {list} and set(map(len, merges)) == {2}:
        parts = list(chain.from_iterable(merges))
        return BETWEEN.join(parts).encode() if set(map(type, parts)) == {str} else None
    return None


class Texts(NamedTuple):
    """Texts in UTF-8, one after another, and where they begin, and their lengths in bytes, (texts,) int64 each."""

    data: bytes
    starts: np.ndarray
    lengths: np.ndarray

    def between(self, first: int, end: int) -> Texts:
        """The texts from `first` to before `end`."""
        starts, lengths = self.starts[first:end], self.lengths[first:end]
        return Texts(self.data[starts[0] : starts[-1] + lengths[-1]], starts - starts[0], lengths)


def texts_in(joined: bytes) -> Texts:
    """The texts between the separators."""
    data = np.frombuffer(joined, np.uint8)
    separators = np.flatnonzero(data == 0)
    lengths = np.diff(np.append(separators, len(data)), prepend=-1) - 1
    return Texts(joined.replace(b"\0", b""), np.cumsum(lengths) - lengths, lengths)


def without_special_merges(parts: Parts, spelling: Spelling, added: Iterable[AddedToken]) -> Parts:
    """The merges without those that make a special token. FormatError if a merge cannot be left out safely.

    With such a merge, `tokenizers` makes the special token even where the caller wants ordinary text only. Here
    ordinary text never becomes a special token.
    """
    specials = {token.id: token for token in added if token.special}
    is_special = np.isin(parts.made, [*specials])
    for i in set(parts.made[is_special].tolist()):
        token = specials[i]
        if i in parts.left or i in parts.right or token.single_word or "\u2581" in token.content:
            raise FormatError(
                f"asks for merges that make the special token {token.content!r}, which is not supported if other "
                "tokens are made from it, or if it is not found everywhere as a whole"
            )
    return Parts(*(ids[~is_special] for ids in parts)) if is_special.any() else parts
