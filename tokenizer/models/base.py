"""The interface of all tokenizers, and the part of it that is the same for all.

A tokenizer is a list of tokens, each a string of bytes whose id is its place in the list. Text becomes ids in steps:

1. added tokens, such as `<|endoftext|>`, are found in it (special.py);
2. what is between them may be normalized (normalize.py) and get a space before it (prefix.py);
3. it is cut into tokens: this is what makes the kinds of tokenizer differ;
4. a template may put special tokens around it all (postprocess.py).

Decoding is simpler: join the bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from os import PathLike
from typing import Any, ClassVar

from tokenizer.formats import files
from tokenizer.formats.records import Contents
from tokenizer.models.bulk import BulkEncoding
from tokenizer.models.names import PeerNames
from tokenizer.split.pretokenizer import well_formed
from tokenizer.text.aligned import Aligned, Span
from tokenizer.text.chat_template import choose_template, named_tokens, render
from tokenizer.text.normalize import Normalizer
from tokenizer.text.offsets import Offsets
from tokenizer.text.prefix import Prefix
from tokenizer.text.special_tokens import END_OF_TEXT, PADDING, UNKNOWN, AddedToken, AddedTokens
from tokenizer.text.template import Template

# By these names the special tokens of other families are found, in the order of preference.
ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
PADS = (PADDING, "<pad>", "[PAD]")
UNKNOWNS = (UNKNOWN, "<unk>", "[UNK]")


class UnknownToken(KeyError, ValueError):
    """There is no such token, or no token with such an id."""

    __str__ = Exception.__str__  # a KeyError would show the sentence in quotes


class BaseTokenizer(BulkEncoding, Offsets, PeerNames, ABC):
    """`tokens[id]` is the bytes of a token (None where an id is not used); `special_tokens` maps names to ids."""

    FILE: ClassVar[type]  # the kind of Contents that a file of this tokenizer holds
    KINDS: ClassVar[dict[type, type[BaseTokenizer]]] = {}  # ... and which tokenizer it is for each of them

    def __init_subclass__(cls) -> None:
        if "FILE" in vars(cls):  # not those that are variants of a kind
            BaseTokenizer.KINDS[cls.FILE] = cls

    def __init__(
        self,
        tokens: Sequence[bytes | None],
        special_tokens: Mapping[str, int] | Iterable[AddedToken],
        normalizer: Normalizer | None = None,
        prefix: Prefix | None = None,
        template: Template | None = None,
    ):
        self._set_tokens(tokens)
        self.normalizer = normalizer
        self.prefix = prefix
        self.template = template or Template()
        self.settings: dict[str, Any] = {}  # what the tokenizer_config.json beside it says: names, chat template
        self._added = AddedTokens(special_tokens, normalizer)

    def _set_tokens(self, tokens: Iterable[bytes | None]) -> None:
        self.tokens = list(tokens)
        self._unused = {i for i, token in enumerate(self.tokens) if token is None}

    # What the kinds must say for themselves

    @abstractmethod
    def _encode_ordinary(self, text: str) -> list[int]:
        """The ids of text without added tokens, after normalizing. It may hold surrogate escapes, which stand for
        bytes."""

    @abstractmethod
    def _encode_aligned(self, text: Aligned) -> tuple[list[int], list[Span]]:
        """The same ids, and for each of them what it stands for in the original text."""

    @abstractmethod
    def _spelling(self, i: int) -> str:
        """How a `tokenizer.json` spells the token `i`."""

    @abstractmethod
    def _contents(self) -> Contents:
        """All that a file must hold to make this tokenizer again; also what equality compares."""

    # Text to ids

    def encode(
        self,
        text: str,
        allowed_special: Collection[str] | str = (),
        disallowed_special: Collection[str] | str = "all",
        add_special_tokens: bool = False,
    ) -> list[int]:
        """The ids of `text`. A special token within it is encoded as such if it is among `allowed_special` (names, or
        "all"); if it is among `disallowed_special` ("all": those not allowed), that is a ValueError; else it is the
        ordinary text that it is. `add_special_tokens` puts those around it that the tokenizer's template asks for.
        Surrogates: see `pretokenize.well_formed`."""
        text = well_formed(text)
        wanted = self._added.allow(allowed_special)
        self._added.refuse(text, wanted, disallowed_special)
        ids = self._encode(text, wanted)
        return self.template.fill(ids) if add_special_tokens else ids

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of `text` as ordinary text, whatever special tokens it holds."""
        return self.encode(text, disallowed_special=())

    def encode_bytes(self, data: bytes) -> list[int]:
        """The ids of any bytes, no special tokens among them. For bytes that are UTF-8 as `encode_ordinary`."""
        return self._encode(data.decode("utf-8", "surrogateescape"), self._added.allow(()))

    def encode_pair(self, first: str, second: str, **options: Any) -> list[int]:
        """The ids of two texts within the template for two; `options` as for `encode`."""
        return self.template.fill(self.encode(first, **options), self.encode(second, **options))

    def _encode(self, text: str, wanted: frozenset[str]) -> list[int]:
        ids: list[int] = []
        for piece in self._pieces(text, wanted):
            if isinstance(piece, int):
                ids.append(piece)
            else:
                ids += self._encode_ordinary(piece)
        return ids

    def _pieces(self, text: str, wanted: frozenset[str]) -> Iterator[str | int]:
        """Steps 1 and 2: the ids of added tokens, and the text between them as it is to be cut into tokens."""
        is_first = True
        for found in self._added.find(text, wanted):
            if found.id is not None:
                yield found.id
            else:
                piece = text[found.start : found.end]
                piece = self.normalizer(piece) if self.normalizer else piece
                for inner in self._added.find(piece, wanted, normalized=True):
                    if inner.id is not None:
                        yield inner.id
                    else:
                        ordinary = piece[inner.start : inner.end]
                        yield self.prefix(ordinary, is_first) if self.prefix else ordinary
                    is_first = False
            is_first = False

    # Ids to text

    def decode_bytes(self, ids: Iterable[int], skip_special_tokens: bool = False, continues: bool = False) -> bytes:
        """The bytes of `ids`; special tokens are their names, or nothing if they are to be skipped. `continues`: other
        ids came before these, so that a space at the beginning is one. ValueError for an id that there is not."""
        return self._join(self.shown_ids(ids, skip_special_tokens), continues)

    def decode(self, ids: Iterable[int], errors: str = "replace", skip_special_tokens: bool = False) -> str:
        """The text of `ids`. They may begin or end within a character; `errors` is as for `bytes.decode`."""
        return self.decode_bytes(ids, skip_special_tokens).decode("utf-8", errors)

    def _join(self, ids: list[int], continues: bool) -> bytes:
        return b"".join(map(self.tokens.__getitem__, ids))  # type: ignore[arg-type]  # none of them is None

    # For streams: what `decode` shows with errors="replace"

    def readable_bytes(self, ids: list[int], continues: bool = False) -> bytes:
        """The bytes of `ids`, with U+FFFD where this kind of tokenizer has a rule of its own for what is no UTF-8."""
        return self.decode_bytes(ids, continues=continues)

    def settled(self, ids: list[int]) -> int:
        """How many of `ids`, from the first on, have readable bytes that do not depend on what comes after them."""
        return len(ids)

    def shown_ids(self, ids: Iterable[int], skip_special_tokens: bool = False) -> list[int]:
        """The ids that decoding shows. ValueError for an id that there is not."""
        ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        if ids and (min(ids) < 0 or max(ids) >= len(self.tokens) or not self._unused.isdisjoint(ids)):
            stray = next(i for i in ids if not 0 <= i < len(self.tokens) or i in self._unused)
            raise UnknownToken(f"there is no token with id {stray}: ids go from 0 to {len(self.tokens) - 1}")
        if skip_special_tokens:
            specials = set(self._added.ids.values())
            return [i for i in ids if i not in specials]
        return ids

    # What it has

    def id_of(self, token: str | bytes) -> int:
        """The id of a token, ordinary or special. UnknownToken (a ValueError and a KeyError) if there is none."""
        data = token.encode() if isinstance(token, str) else bytes(token)
        if data not in self._ids_by_bytes:
            raise UnknownToken(f"there is no token {token!r} among the {self.vocab_size} of this tokenizer")
        return self._ids_by_bytes[data]

    @cached_property
    def _ids_by_bytes(self) -> dict[bytes, int]:
        added = {token.content.encode(): token.id for token in self.added_tokens}
        return added | {token: i for i, token in enumerate(self.tokens) if token is not None}

    @property
    def vocab_size(self) -> int:
        """The number of ids, special tokens included: one more than the highest id."""
        return len(self.tokens)

    @property
    def special_tokens(self) -> dict[str, int]:
        """Name -> id."""
        return dict(self._added.ids)

    @property
    def added_tokens(self) -> tuple[AddedToken, ...]:
        """The special tokens and others that are found in text before anything else, with how they are found."""
        return self._added.tokens

    @property
    def end_of_text(self) -> int | None:
        """The id of `<|endoftext|>` or its like, which ends a document, or None if there is none."""
        return self._first_of(ENDS)

    @property
    def padding(self) -> int | None:
        """The id of `<|padding|>` or its like, which fills up a row, or None if there is none."""
        return self._first_of(PADS)

    @property
    def unknown(self) -> int | None:
        """The id of `<|unknown|>` or its like, which stands for what has no token, or None if there is none."""
        return self._first_of(UNKNOWNS)

    def _first_of(self, names: Iterable[str]) -> int | None:
        return next((self._added.ids[name] for name in names if name in self._added.ids), None)

    # Conversations

    def render_chat(
        self, messages: Sequence[Mapping[str, Any]], chat_template: str | None = None, **options: Any
    ) -> str:
        """A conversation as the text that the model expects, by the template that came with the tokenizer or the one
        given (or, of several, named); `options` are those of `chat_template.render` and variables of the template."""
        given = chat_template is not None and ("{" in chat_template or "chat_template" not in self.settings)
        has_tools = options.get("tools") is not None
        template = chat_template if given else choose_template(self.settings, chat_template, has_tools)
        return render(template or "", messages, **{**named_tokens(self.settings), **options})

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[int]:
        """The ids of `render_chat`. Beware: special tokens in the text of a message are special, as in transformers."""
        return self.encode(self.render_chat(messages, **options), allowed_special="all")

    # Files

    def save(self, path: str | PathLike) -> None:
        """Write a `tokenizer.json` that Hugging Face's `tokenizers` loads too (a name that ends in `.tiktoken`: that
        format); `path` may be a folder. A crash leaves the previous file as it was."""
        files.write(path, self._contents(), self.settings)

    @staticmethod
    def load(
        path: str | PathLike,
        pattern: str | None = None,
        special_tokens: Mapping[str, int] | Iterable[str] | None = None,
    ) -> BaseTokenizer:
        """The tokenizer in a file or folder, of whatever kind and format it is (files.py lists the formats).
        `pattern` and `special_tokens` (names with their ids, or names that have ids in the file) are for formats that
        do not carry them. FormatError (a ValueError) if the file is damaged or asks for what is not supported,
        FileNotFoundError if there is none."""
        contents, settings = files.read(path, pattern, special_tokens)
        return BaseTokenizer.KINDS[type(contents)].of(contents, settings)

    @classmethod
    def of(cls, contents: Any, settings: dict[str, Any] | None = None) -> BaseTokenizer:
        """The tokenizer that a file describes."""
        tokenizer = cls(*contents)
        tokenizer.settings = settings or {}
        return tokenizer

    # Python's own questions

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseTokenizer) and self._contents() == other._contents()

    __hash__ = None  # type: ignore[assignment]  # equality looks at everything, which is too much for a dict key

    def __reduce__(self) -> tuple:
        return type(self).of, (self._contents(), self.settings)  # pickled without what has been worked out
