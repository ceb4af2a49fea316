"""The interface of all tokenizers, and the part of it that is the same for all.

A tokenizer is a list of tokens, each a string of bytes whose id is its place in the list. Some are special tokens.
Decoding is the same for all: join the bytes. How ordinary text is cut into tokens is what makes the kinds differ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from os import PathLike
from typing import Self

from . import files, formats
from .pretokenize import well_formed
from .special import END_OF_TEXT, PADDING, UNKNOWN, SpecialTokens


class BaseTokenizer(ABC):
    """`tokens[id]` is the bytes of a token; `special_tokens` maps names to ids."""

    FILE: type  # the kind of formats.Contents that a file of this tokenizer holds

    def __init__(self, tokens: Sequence[bytes], special_tokens: Mapping[str, int]):
        self.tokens = list(tokens)
        self._special = SpecialTokens(special_tokens)

    # What the kinds must say for themselves

    @abstractmethod
    def _encode_ordinary(self, text: str) -> list[int]:
        """The ids of text without special tokens. It may hold surrogate escapes, which stand for bytes."""

    @abstractmethod
    def _contents(self) -> formats.Contents:
        """All that a file must hold to make this tokenizer again; also what equality compares."""

    # Text to ids

    def encode(self, text: str, allowed_special: Collection[str] | str = ()) -> list[int]:
        """The ids of `text`. A special token within it is encoded as such only if it is among `allowed_special`
        (names, or "all"), otherwise as the ordinary text that it is. Surrogates: see `pretokenize.well_formed`."""
        ids: list[int] = []
        for piece in self._special.split(well_formed(text), allowed_special):
            if isinstance(piece, int):
                ids.append(piece)
            else:
                ids += self._encode_ordinary(piece)
        return ids

    def encode_bytes(self, data: bytes) -> list[int]:
        """The ids of any bytes, no special tokens among them. For bytes that are UTF-8 the same as `encode`."""
        return self._encode_ordinary(data.decode("utf-8", "surrogateescape"))

    # Ids to text

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of `ids` (special tokens as their names). ValueError for an id that there is not."""
        ids = list(ids)
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            stray = next(i for i in ids if not 0 <= i < self.vocab_size)
            raise ValueError(f"there is no token with id {stray}: ids go from 0 to {self.vocab_size - 1}")
        return b"".join(map(self.tokens.__getitem__, ids))

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """The text of `ids`. They may begin or end within a character; `errors` is as for `bytes.decode`."""
        return self.decode_bytes(ids).decode("utf-8", errors)

    # What it has

    @property
    def vocab_size(self) -> int:
        """The number of ids, special tokens included."""
        return len(self.tokens)

    @property
    def special_tokens(self) -> dict[str, int]:
        """Name -> id."""
        return dict(self._special.ids)

    @property
    def end_of_text(self) -> int | None:
        """The id of `<|endoftext|>`, which ends a document, or None if there is none."""
        return self._special.ids.get(END_OF_TEXT)

    @property
    def padding(self) -> int | None:
        """The id of `<|padding|>`, which fills up a row, or None if there is none."""
        return self._special.ids.get(PADDING)

    @property
    def unknown(self) -> int | None:
        """The id of `<|unknown|>`, which stands for what has no token, or None if there is none."""
        return self._special.ids.get(UNKNOWN)

    # Files

    def save(self, path: str | PathLike) -> None:
        """Write a `tokenizer.json` that Hugging Face's `tokenizers` loads too; `path` may be a folder. A crash leaves
        the previous file as it was."""
        files.write(path, self._contents())

    @classmethod
    def load(cls, path: str | PathLike) -> Self:
        """Read what `save` wrote. FormatError (a ValueError) for a file that cannot be read or holds another kind."""
        contents = files.read(path)
        if not isinstance(contents, cls.FILE):
            raise formats.FormatError(f"{path} holds another kind of tokenizer than {cls.__name__}: use tokenizer.load")
        return cls(*contents)

    # Python's own questions

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseTokenizer) and self._contents() == other._contents()

    __hash__ = None  # type: ignore[assignment]  # equality looks at everything, which is too much for a dict key
