"""Encoding much: arrays of ids, files, many texts. The ids are always those of `encode`, however the work is shared."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from os import PathLike
from typing import Any, BinaryIO

import numpy as np

from tokenizer.fast.processes import share, worthwhile
from tokenizer.split.pretokenizer import well_formed
from tokenizer.split.scanner import in_groups
from tokenizer.text.special_tokens import AddedTokens
from tokenizer.text.template import Template

SHARE = 1 << 20  # characters of one text that a process takes at a time
GROUP = 1 << 23  # characters of many texts that are encoded together


class BulkEncoding:
    """A mixin for `BaseTokenizer`. A kind of tokenizer that has a faster way than `_encode_ordinary` overrides the last
    three methods."""

    template: Template
    _added: AddedTokens
    _encode_ordinary: Any
    _pieces: Any

    def encode_array(
        self,
        text: str,
        allowed_special: Collection[str] | str = (),
        disallowed_special: Collection[str] | str = "all",
        add_special_tokens: bool = False,
    ) -> np.ndarray:
        """`encode` as an array of uint32, which for long texts is faster than a list."""
        wanted = self._added.allow(allowed_special)
        pieces = self._checked_pieces([well_formed(text)], wanted, disallowed_special)
        return self._array(pieces, add_special_tokens, 1)

    def encode_file(
        self,
        path: str | PathLike,
        allowed_special: Collection[str] | str = (),
        disallowed_special: Collection[str] | str = "all",
        add_special_tokens: bool = False,
        processes: int | None = None,
    ) -> np.ndarray:
        """`encode_array` of the text of a file in UTF-8. `processes`: None is as many as pay."""
        wanted = self._added.allow(allowed_special)
        with open(path, "rb") as file:
            count = worthwhile(os.fstat(file.fileno()).st_size) if processes is None else processes
            texts = decoded(self._sections(file), path)
            return self._array(self._checked_pieces(texts, wanted, disallowed_special), add_special_tokens, count)

    def _checked_pieces(
        self, texts: Iterable[str], wanted: frozenset[str], disallowed: Collection[str] | str
    ) -> Iterator[str | int]:
        """The pieces of a text that comes in sections."""
        characters = 0
        for text in texts:
            self._added.refuse(text, wanted, disallowed, characters)
            characters += len(text)
            yield from self._pieces(text, wanted)

    def _array(self, pieces: Iterable[str | int], add_special_tokens: bool, processes: int) -> np.ndarray:
        """The ids of pieces, which are text or ids, as an array."""
        special: list[int | None] = []  # for each piece its id, None for text

        def texts() -> Iterator[str]:
            for piece in pieces:
                special.append(piece if isinstance(piece, int) else None)
                if isinstance(piece, str):
                    yield piece

        ids, counts = self._encode_many(texts()) if processes <= 1 else self._encode_many_in(processes, texts())
        if any(each is not None for each in special):
            found = iter(np.split(ids, np.cumsum(counts)[:-1]))
            ids = np.concatenate([next(found) if each is None else np.array([each], np.uint32) for each in special])
        if add_special_tokens:
            parts = self.template.fill([ids])
            ids = np.concatenate([np.empty(0, np.uint32), *(np.atleast_1d(np.uint32(part)) for part in parts)])
        return ids

    def _encode_many_in(self, processes: int, texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """`_encode_many` by so many processes."""
        cuts = [self._cut(text, SHARE) for text in texts]
        parts = share(lambda text: self._encode_many([text])[0], list(chain.from_iterable(cuts)), processes)
        owners = np.repeat(np.arange(len(cuts)), list(map(len, cuts)))
        counts = np.bincount(owners, list(map(len, parts)), len(cuts)).astype(np.int64)
        return np.concatenate([np.empty(0, np.uint32), *parts]), counts

    def encode_batch(self, texts: Iterable[str], processes: int | None = None, **options: Any) -> list[list[int]]:
        """`encode` of each text; `options` as there. Many texts together are faster than each alone. `processes`: None
        is as many as pay.
        """
        texts = list(texts)
        characters = sum(map(len, texts))
        count = worthwhile(characters) if processes is None else processes
        size = (
            min(GROUP, characters // (4 * count)) if count > 1 else GROUP
        )  # several groups a process: they are not alike
        rows = share(lambda group: self._encode_group(group, **options), list(in_groups(texts, size)), count)
        return list(chain.from_iterable(rows))

    def _encode_group(
        self,
        texts: Sequence[str],
        allowed_special: Collection[str] | str = (),
        disallowed_special: Collection[str] | str = "all",
        add_special_tokens: bool = False,
    ) -> list[list[int]]:
        wanted = self._added.allow(allowed_special)
        rows = [list(self._checked_pieces([well_formed(text)], wanted, disallowed_special)) for text in texts]
        ids, counts = self._encode_many([piece for row in rows for piece in row if isinstance(piece, str)])
        ends = np.cumsum(counts).tolist()
        every_id, spans = ids.tolist(), iter(zip([0, *ends], ends))
        lists = [
            list(
                chain.from_iterable(
                    [piece] if isinstance(piece, int) else every_id[slice(*next(spans))] for piece in row
                )
            )
            for row in rows
        ]
        return [self.template.fill(row) for row in lists] if add_special_tokens else lists

    def _encode_many(self, texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """`_encode_ordinary` of all texts, one after the other, (ids,) uint32, and how many ids each has, (texts,)."""
        return in_a_row(map(self._encode_ordinary, texts))

    def _cut(self, text: str, size: int) -> list[str]:
        """Pieces of about `size` characters whose ids, one after the other, are those of `text`; [text] where it is not
        known how to cut it."""
        return [text]

    def _sections(self, file: BinaryIO) -> Iterable[bytes]:
        """The same for a file, a text in UTF-8 in which added tokens have not been found yet."""
        return [file.read()]


def in_a_row(lists: Iterable[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """All ids, one list after the other, (ids,) uint32, and how many each list has, (lists,)."""
    lists = list(lists)
    return np.fromiter(chain.from_iterable(lists), np.uint32), np.fromiter(map(len, lists), np.int64)


def decoded(sections: Iterable[bytes], path: str | PathLike) -> Iterator[str]:
    """Sections of a file as text. ValueError if it is none."""
    done = 0
    for section in sections:
        try:
            yield section.decode()
        except UnicodeDecodeError as error:
            place = done + error.start
            raise ValueError(f"{path} is no text in UTF-8: see byte {place} (encode_bytes takes any bytes)") from None
        done += len(section)
