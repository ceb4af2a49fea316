"""Encoding much: arrays of ids, files, many texts. The ids are always those of `encode`, however the work is shared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .parallel import share, worthwhile
from .postprocess import Template
from .pretokenize import well_formed
from .special import AddedTokens

SHARE = 1 << 20  # characters of one text that a process takes at a time
GROUP = 1 << 23  # characters of many texts that are encoded together


class BulkEncoding:
    """A mixin for `BaseTokenizer`. A kind of tokenizer that has a faster way than `_encode_ordinary` overrides the last
    three methods."""

    template: Template
    _added: AddedTokens
    encode: Any
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
        text = well_formed(text)
        wanted = self._added.allow(allowed_special)
        self._added.refuse(text, wanted, disallowed_special)
        return self._array(self._pieces(text, wanted), add_special_tokens)

    def _array(self, pieces: Iterable[str | int], add_special_tokens: bool, processes: int = 1) -> np.ndarray:
        """The ids of pieces, which are text or ids, as an array."""
        parts: list[Any] = []
        for piece in pieces:
            parts += [piece] if isinstance(piece, int) or processes == 1 else self._cut(piece, SHARE)
        texts = [part for part in parts if isinstance(part, str)]
        arrays = iter(share(self._encode_ordinary_array, texts, processes))
        parts = [next(arrays) if isinstance(part, str) else part for part in parts]
        if add_special_tokens:
            parts = self.template.fill(parts)
        if len(parts) == 1 and isinstance(parts[0], np.ndarray):
            return parts[0]
        return np.concatenate([np.empty(0, np.uint32), *(np.atleast_1d(np.uint32(part)) for part in parts)])

    def encode_file(
        self,
        path: str | PathLike,
        allowed_special: Collection[str] | str = (),
        disallowed_special: Collection[str] | str = "all",
        add_special_tokens: bool = False,
        processes: int | None = None,
    ) -> np.ndarray:
        """`encode_array` of the text of a file in UTF-8. `processes`: None is as many as pay."""
        try:
            text = Path(path).read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no text in UTF-8: see byte {error.start} (encode_bytes takes any bytes)") from None
        wanted = self._added.allow(allowed_special)
        self._added.refuse(text, wanted, disallowed_special)
        count = worthwhile(len(text)) if processes is None else processes
        return self._array(self._pieces(text, wanted), add_special_tokens, count)

    def encode_batch(
        self, texts: Iterable[str], processes: int | None = None, **options: Any
    ) -> list[list[int]]:
        """`encode` of each text; `options` as there. Many texts together are faster than each alone. `processes`: None is
        as many as pay."""
        texts = list(texts)
        characters = sum(map(len, texts))
        count = worthwhile(characters) if processes is None else processes
        size = min(GROUP, characters // (4 * count)) if count > 1 else GROUP  # several groups a process: they are not alike
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
        rows = []
        for text in map(well_formed, texts):
            self._added.refuse(text, wanted, disallowed_special)
            rows.append(list(self._pieces(text, wanted)))
        found = iter(self._encode_ordinary_lists([piece for row in rows for piece in row if isinstance(piece, str)]))
        ids = [list(chain.from_iterable([piece] if isinstance(piece, int) else next(found) for piece in row)) for row in rows]
        return [self.template.fill(row) for row in ids] if add_special_tokens else ids

    def _encode_ordinary_lists(self, texts: Sequence[str]) -> list[list[int]]:
        """`_encode_ordinary` of each."""
        return [self._encode_ordinary(text) for text in texts]

    def _encode_ordinary_array(self, text: str) -> np.ndarray:
        """`_encode_ordinary` as an array of uint32."""
        return np.array(self._encode_ordinary(text), np.uint32)

    def _cut(self, text: str, size: int) -> list[str]:
        """Pieces of about `size` characters whose ids, one after the other, are those of `text`; [text] where it is not
        known how to cut it."""
        return [text]


def in_groups(texts: Sequence[str], size: int) -> Iterator[list[str]]:
    """`texts` in lists of about `size` characters."""
    ends = np.cumsum([0, *map(len, texts)]) // max(1, size)
    for begin, end in pairwise([0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(texts)]):
        if begin < end:
            yield list(texts[begin:end])
