"""Encoding much: arrays of ids, files, many texts. The ids are always those of `encode`, however the work is shared."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .parallel import share, worthwhile
from .postprocess import Template
from .pretokenize import well_formed
from .special import AddedTokens

SHARE = 1 << 20  # characters that a process takes at a time


class BulkEncoding:
    """A mixin for `BaseTokenizer`. A kind of tokenizer that has a faster way than `_encode_ordinary` overrides the last
    two methods."""

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
        """`encode` of each text; `options` as there. `processes`: None is as many as pay."""
        texts = list(texts)
        count = worthwhile(sum(map(len, texts))) if processes is None else processes
        if count <= 1:
            return [self.encode(text, **options) for text in texts]
        size = -(-len(texts) // (4 * count))  # several groups a process, since texts are not alike
        groups = [texts[i : i + size] for i in range(0, len(texts), size)]
        rows = share(lambda group: [self.encode_array(text, **options) for text in group], groups, count)
        return [row.tolist() for row in chain.from_iterable(rows)]

    def _encode_ordinary_array(self, text: str) -> np.ndarray:
        """`_encode_ordinary` as an array of uint32."""
        return np.array(self._encode_ordinary(text), np.uint32)

    def _cut(self, text: str, size: int) -> list[str]:
        """Pieces of about `size` characters whose ids, one after the other, are those of `text`; [text] where it is not
        known how to cut it."""
        return [text]
