"""What every tokenizer can do: encode, decode, and look things up in its vocabulary.

Text becomes ids in these steps:

1. Added tokens, such as `<|endoftext|>`, are found in the text (text/special_tokens.py).
2. The text between them may be normalized, and a space may be put before it (text/normalize.py, text/prefix.py).
3. The model encodes it (model.py). In this step the kinds of tokenizers differ.
4. A template may add special tokens before and after all ids (text/template.py).

Decoding joins the bytes of the tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from typing import Any, ClassVar

import numpy as np

from tokenizer.arrays.ragged import Ragged
from tokenizer.fast.many_texts import encode_segments
from tokenizer.formats import files
from tokenizer.formats.records import Record
from tokenizer.models.model import Model, UnknownToken, as_list, encode_aligned, known_ids
from tokenizer.text.aligned_text import Span
from tokenizer.text.chat_template import named_tokens, render_chat
from tokenizer.text.message_text import chat_segments
from tokenizer.text.normalize import Normalizer
from tokenizer.text.prefix import Prefix
from tokenizer.text.segmenter import Segmenter, Special
from tokenizer.text.special_tokens import END_NAMES, PADDING_NAMES, UNKNOWN_NAMES, AddedToken, AddedTokens
from tokenizer.text.template import Template


class BaseTokenizer(ABC):
    """A model, and the steps around it. The kinds of tokenizers are its subclasses."""

    RECORD: ClassVar[type]  # the kind of record from which this kind of tokenizer is made
    KINDS: ClassVar[dict[type, type[BaseTokenizer]]] = {}  # kind of record -> its tokenizer, see below

    def __init_subclass__(cls) -> None:
        if "RECORD" in vars(cls):  # each subclass registers itself, so `load` need not import it
            BaseTokenizer.KINDS[cls.RECORD] = cls

    def __init__(
        self,
        model: Model,
        added_tokens: Iterable[AddedToken],
        normalizer: Normalizer | None = None,
        prefix: Prefix | None = None,
        template: Template | None = None,
    ):
        self.model = model
        self.normalizer = normalizer
        self.prefix = prefix
        self.template = template or Template()
        self.settings: dict[str, Any] = {}  # from the tokenizer_config.json beside the file, such as the chat template
        self._added = AddedTokens(added_tokens, normalizer)
        self._segmenter = Segmenter(self._added, normalizer, prefix)

    @property
    @abstractmethod
    def record(self) -> Record:
        """All that a file must contain to make this tokenizer again. Equal tokenizers have equal records."""

    # Text to ids

    def encode(
        self,
        text: str,
        *,
        allowed_special: Special = (),
        disallowed_special: Special = "all",
        add_special_tokens: bool = False,
    ) -> list[int]:
        """The ids of `text`.

        Special tokens in the text get their ids if they are in `allowed_special` (names, or "all"). It is a ValueError
        if one is in `disallowed_special` ("all": all that are not allowed). Others are ordinary text.
        `add_special_tokens` adds those of the template. Surrogates are replaced, see `pretokenizer.well_formed`.
        """
        ids = self.model.encode_segments(self._segmenter.segments(text, allowed_special, disallowed_special))
        return self.template.fill(ids) if add_special_tokens else ids

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of `text` as ordinary text, whatever special tokens it contains."""
        return self.encode(text, disallowed_special=())

    def encode_bytes(self, data: bytes) -> list[int]:
        """The ids of any bytes, as ordinary text. If they are UTF-8, the ids are those of `encode_ordinary`."""
        return self.model.encode_segments(self._segmenter.segments_of_bytes(data))

    def encode_pair(self, first: str, second: str, **options: Any) -> list[int]:
        """The ids of a pair of texts, put into the template for pairs. `options` are those of `encode`."""
        return self.template.fill(self.encode(first, **options), self.encode(second, **options))

    def encode_array(self, text: str, *, processes: int | None = 1, **options: Any) -> np.ndarray:
        """`encode` as an array, (ids,) uint32, which is faster for long texts. Arguments as in `encode_batch_array`."""
        return self.encode_batch_array([text], processes=processes, **options)[0]

    def encode_batch(self, texts: Iterable[str], *, processes: int | None = 1, **options: Any) -> list[list[int]]:
        """`encode` for each of many texts. Arguments as in `encode_batch_array`."""
        ids, lengths = self.encode_batch_array(texts, processes=processes, **options)
        every_id, ends = ids.tolist(), np.cumsum(lengths).tolist()
        return [every_id[start:end] for start, end in zip([0, *ends], ends)]

    def encode_batch_array(
        self,
        texts: Iterable[str],
        *,
        allowed_special: Special = (),
        disallowed_special: Special = "all",
        add_special_tokens: bool = False,
        processes: int | None = 1,
    ) -> Ragged:
        """`encode` of all texts together, which is much faster than one by one.

        Returns the ids, (ids,) uint32, one text after another, and the number of ids of each text, (texts,) int64.
        `processes` is the number of processes that share the work. With None, the length of the texts decides.
        """
        rows = (list(self._segmenter.segments(text, allowed_special, disallowed_special)) for text in texts)
        return encode_segments(self.model, map(self.template.fill, rows) if add_special_tokens else rows, processes)

    def encode_with_offsets(
        self,
        text: str,
        *,
        allowed_special: Special = (),
        disallowed_special: Special = "all",
        add_special_tokens: bool = False,
    ) -> tuple[list[int], list[Span]]:
        """The ids of `encode`, and for each id its span: the (start, end) of its characters in `text`.

        A token that is only a part of a character has the span of the whole character. Surrogates are replaced.
        """
        segments = self._segmenter.aligned_segments(text, allowed_special, disallowed_special)
        ids, spans = encode_aligned(self.model, segments)
        if add_special_tokens:
            return self.template.fill(ids), self.template.fill(spans, special=(0, 0))
        return ids, spans

    # Ids to text

    def decode(self, ids: Iterable[int], errors: str = "replace", *, skip_special_tokens: bool = False) -> str:
        """The text of `ids`. If they begin or end inside a character, `errors` is used as by `bytes.decode`."""
        data = self._join(ids, skip_special_tokens, mid_text=False, lossy=errors == "replace")
        return data.decode("utf-8", errors)

    def decode_bytes(self, ids: Iterable[int], *, skip_special_tokens: bool = False, mid_text: bool = False) -> bytes:
        """The bytes of `ids`. The bytes of a special token are its name. ValueError for an unknown id.

        `mid_text`: the ids are not the beginning of a text, so that SentencePiece does not remove their first space.
        """
        return self._join(ids, skip_special_tokens, mid_text=mid_text, lossy=False)

    def _join(self, ids: Iterable[int], skip_special_tokens: bool, *, mid_text: bool, lossy: bool) -> bytes:
        # An iterator can be read only once. An array of any other shape is an error of `as_list`.
        ids = ids if isinstance(ids, Collection) and getattr(ids, "ndim", 1) == 1 else as_list(ids)
        fast = None if skip_special_tokens else self.model.decode_fast(ids)
        if fast is not None:
            return fast
        decode = self.model.lossy_decode if lossy else self.model.decode
        return decode(self.visible_ids(ids, skip_special_tokens=skip_special_tokens), mid_text=mid_text)

    def token_bytes(self, ids: Iterable[int]) -> list[bytes]:
        """The bytes of each token."""
        return [self.decode_bytes([i], mid_text=k > 0) for k, i in enumerate(as_list(ids))]

    def visible_ids(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> list[int]:
        """`ids` as a list of int, without special tokens if they are skipped. ValueError for an unknown id."""
        ids = known_ids(ids, self.tokens)
        if skip_special_tokens:
            return [i for i in ids if i not in self._added.special_ids]
        return ids

    # The vocabulary

    @property
    def tokens(self) -> list[bytes | None]:
        """tokens[id]: the bytes of the token; None for an id that is not used."""
        return self.model.tokens

    @property
    def vocab_size(self) -> int:
        """The number of ids, special tokens included: one more than the highest id."""
        return len(self.tokens)

    def id_of(self, token: str | bytes) -> int:
        """The id of a token, ordinary or special. UnknownToken (a ValueError and a KeyError) if there is none."""
        data = token.encode() if isinstance(token, str) else bytes(token)
        if data not in self._id_of_bytes:
            raise UnknownToken(f"there is no token {token!r} among the {self.vocab_size} of this tokenizer")
        return self._id_of_bytes[data]

    @cached_property
    def _id_of_bytes(self) -> dict[bytes, int]:
        added = {token.content.encode(): token.id for token in self.added_tokens}
        return added | {token: i for i, token in enumerate(self.tokens) if token is not None}

    def token_to_id(self, spelling: str) -> int | None:
        """The id of a token as a `tokenizer.json` spells it, or None."""
        return self._id_of_spelling.get(spelling)

    def id_to_token(self, i: int) -> str | None:
        """How a `tokenizer.json` spells a token (an added token may be normalized), or None if there is no such id."""
        (i,) = as_list([i])
        return self.model.spelling(i) if 0 <= i < self.vocab_size and self.tokens[i] is not None else None

    @cached_property
    def _id_of_spelling(self) -> dict[str, int]:
        spelled = {self.model.spelling(i): i for i, token in enumerate(self.tokens) if token is not None}
        return spelled | {token.content: token.id for token in self.added_tokens}

    @property
    def special_tokens(self) -> dict[str, int]:
        """Name -> id."""
        return dict(self._added.ids)

    @property
    def added_tokens(self) -> tuple[AddedToken, ...]:
        """All tokens that are found in a text before it is encoded: the special ones, and others."""
        return self._added.tokens

    @property
    def end_of_text(self) -> int | None:
        """The id of the token that ends a document, such as `<|endoftext|>`. None if there is no such token."""
        return self._added.first_of([*END_NAMES, named_tokens(self.settings).get("eos_token", "")])

    @property
    def padding(self) -> int | None:
        """The id of the token that fills up short rows, such as `<|padding|>`. None if there is no such token."""
        return self._added.first_of([*PADDING_NAMES, named_tokens(self.settings).get("pad_token", "")])

    @property
    def unknown(self) -> int | None:
        """The id of the token for text that has no token of its own, such as `<|unknown|>`; None without one."""
        return self._added.first_of(UNKNOWN_NAMES) if self.model.unknown is None else self.model.unknown

    def render_chat(
        self, messages: Sequence[Mapping[str, Any]], chat_template: str | None = None, **options: Any
    ) -> str:
        """A conversation as the text that the model expects (text/chat_template.py has the options).

        `chat_template` is a template, or the name of a template of the tokenizer. None: the default template.
        """
        return render_chat(self.settings, messages, chat_template, **options)

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], *, allow_special: bool = True, **options: Any
    ) -> list[int]:
        """The ids of `render_chat`. `allow_special`: special tokens in the text of a message are special, as in
        transformers. False: the text of messages is ordinary text, as it must be if others write it."""
        if allow_special:
            return self.encode(self.render_chat(messages, **options), allowed_special="all")
        return self.model.encode_segments(chat_segments(self._segmenter, self.render_chat, messages, **options))

    # Files

    def save(self, path: str | PathLike) -> None:
        """Write NAME.json, or NAME.tiktoken in OpenAI's format, which has no special tokens and no pattern. Any other
        path is that of a folder, which gets a `tokenizer.json`, and the settings such as the chat template."""
        files.write(path, self.record, self.settings)

    @staticmethod
    def load(
        path: str | PathLike,
        pattern: str | None = None,
        special_tokens: Mapping[str, int] | Iterable[str] | None = None,
    ) -> BaseTokenizer:
        """The tokenizer in a file or folder, of any kind and format (formats/files.py lists the formats).

        For formats that contain no pattern, or do not say which tokens are special, give `pattern` and `special_tokens`
        (name -> id, or only names if the file has the ids). FormatError (a ValueError) if the file is damaged or needs
        what is not supported here, FileNotFoundError if there is no file, OSError if it is a device or a pipe.
        """
        record, settings = files.read(path, pattern, special_tokens)
        return BaseTokenizer.of(record, settings)

    @staticmethod
    def of(record: Any, settings: dict[str, Any] | None = None) -> BaseTokenizer:
        """The tokenizer that a record describes. The type of the record decides which kind of tokenizer it is."""
        kind: Any = BaseTokenizer.KINDS[type(record)]
        tokenizer = kind(record)
        tokenizer.settings = settings or {}
        return tokenizer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseTokenizer) and self.record == other.record

    __hash__ = None  # type: ignore[assignment]  # equality compares whole vocabularies: too slow for the key of a dict

    def __reduce__(self) -> tuple:
        return BaseTokenizer.of, (self.record, self.settings)  # for pickle and copy: without caches

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size}, special_tokens={list(self.special_tokens)})"
