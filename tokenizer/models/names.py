"""The same things by the names that other libraries give them, so that code and tests written for those run here.

First those of tiktoken's `Encoding`, then those of Hugging Face's `Tokenizer`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np


class PeerNames:
    """A mixin for `BaseTokenizer`: every method says in a line what it is in terms of the others."""

    tokens: list[bytes | None]

    # Many texts

    def encode_ordinary_batch(self: Any, texts: Iterable[str]) -> list[list[int]]:
        """`encode_ordinary` of each text."""
        return self.encode_batch(texts, disallowed_special=())

    def decode_batch(self: Any, batch: Iterable[Iterable[int]], **options: Any) -> list[str]:
        """`decode` of each row of ids."""
        return [self.decode(ids, **options) for ids in batch]

    # tiktoken

    def encode_to_numpy(self: Any, text: str, **options: Any) -> np.ndarray:
        """`encode_array`."""
        return self.encode_array(text, **options)

    def decode_bytes_batch(self: Any, batch: Iterable[Iterable[int]]) -> list[bytes]:
        """`decode_bytes` of each row of ids."""
        return [self.decode_bytes(ids) for ids in batch]

    def encode_single_token(self: Any, token: str | bytes) -> int:
        """`id_of`."""
        return self.id_of(token)

    def decode_single_token_bytes(self: Any, i: int) -> bytes:
        """The bytes of a token. UnknownToken (a KeyError) for an id that there is not."""
        return self.decode_bytes([i], continues=True)

    def decode_tokens_bytes(self: Any, ids: Iterable[int]) -> list[bytes]:
        """The bytes of each token."""
        return [self.decode_bytes([i], continues=k > 0) for k, i in enumerate(ids)]

    def token_byte_values(self: Any) -> list[bytes]:
        """The bytes of all tokens that are not special, sorted."""
        specials = set(self.special_tokens.values())
        return sorted(token for i, token in enumerate(self.tokens) if token is not None and i not in specials)

    def is_special_token(self: Any, i: int) -> bool:
        """Whether `i` is the id of a special token."""
        return i in self.special_tokens.values()

    @property
    def special_tokens_set(self: Any) -> set[str]:
        """The names of the special tokens."""
        return set(self.special_tokens)

    @property
    def eot_token(self: Any) -> int | None:
        """`end_of_text`."""
        return self.end_of_text

    @property
    def n_vocab(self: Any) -> int:
        """`vocab_size`."""
        return self.vocab_size

    @property
    def max_token_value(self: Any) -> int:
        """The highest id."""
        return self.vocab_size - 1

    # Hugging Face

    def token_to_id(self: Any, spelling: str) -> int | None:
        """The id of a token as a `tokenizer.json` spells it, or None."""
        return self._ids_by_spelling.get(spelling)

    def id_to_token(self: Any, i: int) -> str | None:
        """How a `tokenizer.json` spells a token, or None if there is no such id."""
        return self._spelling(i) if 0 <= i < self.vocab_size and self.tokens[i] is not None else None

    def tokenize(self: Any, text: str, **options: Any) -> list[str]:
        """The tokens of a text as a `tokenizer.json` spells them."""
        return [self._spelling(i) for i in self.encode(text, **options)]

    def vocabulary(self: Any) -> dict[str, int]:
        """Spelling -> id, of all tokens."""
        return dict(self._ids_by_spelling)

    @cached_property
    def _ids_by_spelling(self: Any) -> dict[str, int]:
        return {self._spelling(i): i for i, token in enumerate(self.tokens) if token is not None}

    # transformers

    def apply_chat_template(self: Any, messages: Any, tokenize: bool = True, **options: Any) -> list[int] | str:
        """`encode_chat`, or `render_chat`."""
        return self.encode_chat(messages, **options) if tokenize else self.render_chat(messages, **options)

    def convert_tokens_to_ids(self: Any, spellings: str | Iterable[str]) -> Any:
        """`token_to_id` of one or each; the unknown token's for what is no token."""
        if isinstance(spellings, str):
            found = self.token_to_id(spellings)
            return self.unknown if found is None else found
        return [self.convert_tokens_to_ids(spelling) for spelling in spellings]

    def convert_ids_to_tokens(self: Any, ids: int | Iterable[int]) -> Any:
        """`id_to_token` of one or each."""
        return self.id_to_token(ids) if isinstance(ids, int) else [self.id_to_token(i) for i in ids]
