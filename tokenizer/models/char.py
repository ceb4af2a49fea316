"""The character-level tokenizer: one id for each character that the training text has. The simplest there is; good
for small models on small texts, such as a tiny Shakespeare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tokenizer.formats.records import CharacterContents
from tokenizer.models.base import BaseTokenizer
from tokenizer.split.pretokenizer import well_formed
from tokenizer.text.aligned import Aligned, Span
from tokenizer.text.special_tokens import UNKNOWN, AddedToken, check_names


class CharTokenizer(BaseTokenizer):
    """One token per character (Unicode code point)."""

    FILE = CharacterContents

    def __init__(self, tokens: Sequence[bytes | None], special_tokens: Mapping[str, int] | Iterable[AddedToken]):
        """`tokens[id]` is a character in UTF-8, or the name of a special token."""
        super().__init__(tokens, special_tokens)
        specials = set(self.special_tokens.values())
        self._id_of = {token.decode(): i for i, token in enumerate(self.tokens) if token and i not in specials}

    @classmethod
    def train(cls, texts: Iterable[str], special_tokens: Iterable[str] = ()) -> CharTokenizer:
        """Ids for the special tokens in the order given, then for the characters of `texts` (read once) in order."""
        names = check_names(special_tokens)
        characters: set[str] = set()
        for text in [texts] if isinstance(texts, str) else texts:
            characters.update(well_formed(text))
        for name in characters.intersection(names):
            raise ValueError(f"the special token {name!r} is a character of the text: give it a longer name")
        tokens = [token.encode() for token in [*names, *sorted(characters)]]
        return cls(tokens, {name: i for i, name in enumerate(names)})

    def _encode_ordinary(self, text: str) -> list[int]:
        if self.unknown is not None:
            return [self._id_of.get(character, self.unknown) for character in text]
        try:
            return [self._id_of[character] for character in text]
        except KeyError as error:
            raise ValueError(
                f"the character {error} is not among the {len(self._id_of)} of this tokenizer: train it on text that "
                f"has it, or with special_tokens=[{UNKNOWN!r}], which then stands for all others"
            ) from None

    def _encode_aligned(self, text: Aligned) -> tuple[list[int], list[Span]]:
        return self._encode_ordinary(text.text), text.spans

    def _spelling(self, i: int) -> str:
        return (self.tokens[i] or b"").decode()

    def _contents(self) -> CharacterContents:
        return CharacterContents(self.tokens, self.added_tokens)

    def __repr__(self) -> str:
        return f"CharTokenizer(vocab_size={self.vocab_size}, special_tokens={list(self.special_tokens)})"
