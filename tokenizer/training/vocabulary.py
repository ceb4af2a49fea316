"""The tokens and merges that training has learned so far, and the merges that are not allowed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tokenizer.bpe.merge_table import Pair
from tokenizer.text.byte_alphabet import ALPHABET, unspell

ALL_BYTES = bytes(range(256))
BYTE_ORDERS = {  # the 256 bytes in the order of their ids, which decides between equally frequent pairs
    "huggingface": ALPHABET,
    "rustbpe": [bytes([byte]) for byte in ALL_BYTES],
}


class Vocabulary:
    """Special tokens get the first ids, then single bytes, then the tokens that merges make."""

    def __init__(
        self,
        special_tokens: Sequence[str],
        size: int,
        alphabet: Sequence[bytes] = ALPHABET,
        min_frequency: int = 1,
        max_token_length: int | None = None,
    ):
        """`alphabet` are the single bytes that are tokens, in the order of their ids. `learn` explains the limits."""
        smallest = len(special_tokens) + len(alphabet)
        if size < smallest:
            raise ValueError(
                f"vocab_size={size} is too small: {len(alphabet)} bytes and {len(special_tokens)} special tokens "
                f"need {smallest}"
            )
        if max_token_length is not None and max_token_length < 2:
            raise ValueError(f"max_token_length={max_token_length} is too small: a merge joins at least two bytes")
        self.size = size
        self.min_frequency = max(1, min_frequency)
        self.max_token_length = sys.maxsize if max_token_length is None else max_token_length
        self.tokens = [name.encode() for name in special_tokens] + list(alphabet)
        self.merges: list[Pair] = []
        self.counts: list[int] = []  # how often the pair of each merge occurred when it was chosen
        id_of = {byte[0]: len(special_tokens) + i for i, byte in enumerate(alphabet)}
        self.byte_ids = [id_of.get(byte, -1) for byte in ALL_BYTES]
        # A tokenizer.json spells all tokens in printable characters (byte_alphabet.py). A token that is spelled like a
        # special token could not be distinguished from it there.
        self._reserved = {unspell(name) for name in special_tokens}
        for name in special_tokens:
            if unspell(name) in alphabet:
                raise ValueError(f"the special token {name!r} is the spelling of a single byte: give it a longer name")

    @property
    def is_full(self) -> bool:
        return len(self.tokens) >= self.size

    def allows(self, pair: Pair) -> bool:
        return self.allows_token(self.tokens[pair[0]] + self.tokens[pair[1]])

    def allows_token(self, token: bytes) -> bool:
        """False for a token that would be spelled like a special token, or be too long."""
        return token not in self._reserved and (len(token) < self.max_token_length or len(token) == 2)

    def add_merge(self, pair: Pair, count: int) -> int:
        """Learn a merge and return the id of the new token."""
        # The token is always new, because two merges never make the same bytes. Equal bytes go through the same merges
        # in the same order, wherever they are. So the merge that makes them one token does that everywhere.
        self.tokens.append(self.tokens[pair[0]] + self.tokens[pair[1]])
        self.merges.append(pair)
        self.counts.append(count)
        return len(self.tokens) - 1
