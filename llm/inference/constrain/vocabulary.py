"""What constraints need of a tokenizer: the bytes of its tokens, and the characters that it can write.

Special tokens and the unknown token are left out: they are no text.

Most tokenizers have a token for each byte, and can write every character. Others cannot: a tokenizer of characters
knows those of its training text. Without care, a text could get to a place from which a match exists, but no token
leads to it. So an expression is first reduced to the characters that can be written whatever came before them.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from llm.inference.constrain.code_points import EVERY_CHARACTER, Ranges, intersection, union
from llm.inference.constrain.expressions import Expression, characters, replace_characters
from llm.inference.constrain.tokens import TokenTrie
from tokenizer import BaseTokenizer
from tokenizer.models.model import Model
from tokenizer.text.metaspace import is_utf8

Tokens = list[bytes | None]  # None: never allowed

# The bytes of the characters beyond ASCII. The others of 0x80 to 0xFF are never in UTF-8.
BEYOND_ASCII = {bytes([byte]) for byte in [*range(0x80, 0xC0), *range(0xC2, 0xF5)]}
ABOVE_ASCII: Ranges = ((0x80, EVERY_CHARACTER[0][1]), EVERY_CHARACTER[1])


class Vocabulary:
    """Made once for each tokenizer, by `Vocabulary.of`, and shared by all its constraints."""

    made: WeakKeyDictionary[Model, Vocabulary] = WeakKeyDictionary()  # tokenizers have no hash, but their models do

    def __init__(self, tokenizer: BaseTokenizer):
        self.tokens = usable_tokens(tokenizer)
        self.characters = writable_characters(self.tokens)
        self.inside = TokenTrie(self.tokens)  # tokens in the middle of a text
        self._beginning: TokenTrie | None = None

    @staticmethod
    def of(tokenizer: BaseTokenizer) -> Vocabulary:
        if tokenizer.model not in Vocabulary.made:
            Vocabulary.made[tokenizer.model] = Vocabulary(tokenizer)
        return Vocabulary.made[tokenizer.model]

    def beginning(self, tokenizer: BaseTokenizer) -> TokenTrie:
        """The same tokens at the beginning of a text, where SentencePiece and WordPiece leave out a space."""
        # The tokenizer is an argument, and not kept: it would keep the key of `made` alive.
        if self._beginning is None:
            ids = [None if token is None else i for i, token in enumerate(self.tokens)]
            first = [None if i is None else tokenizer.decode_bytes([i], mid_text=False) for i in ids]
            self._beginning = self.inside if first == self.tokens else TokenTrie(first)
        return self._beginning

    def writable(self, expression: Expression) -> Expression:
        """The expression, reduced to the characters that can be written."""
        if self.characters == EVERY_CHARACTER:
            return expression
        return replace_characters(expression, lambda ranges: characters(intersection(ranges, self.characters)))


def usable_tokens(tokenizer: BaseTokenizer) -> Tokens:
    """For each id the bytes of its token inside a text, or None."""
    never = {*tokenizer.special_tokens.values(), tokenizer.unknown}
    tokens = [None if i in never else token for i, token in enumerate(tokenizer.tokens)]
    if BEYOND_ASCII.issubset(tokens):
        return tokens
    # A token that ends within a character could not always be followed by the rest of that character.
    return [token if token and is_utf8(token) else None for token in tokens]


def writable_characters(tokens: Tokens) -> Ranges:
    """The characters that have a token of their own, or whose bytes have."""
    texts = (token.decode() for token in tokens if token and len(token) <= 4 and is_utf8(token))
    own = union((ord(text), ord(text)) for text in texts if len(text) == 1)
    return union([*own, *ABOVE_ASCII]) if BEYOND_ASCII.issubset(tokens) else own
