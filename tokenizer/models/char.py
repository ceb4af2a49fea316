"""The character-level tokenizer: one id for each character of the training text.

The simplest tokenizer there is, good for small models on small texts such as a tiny Shakespeare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tokenizer.formats.records import CharacterRecord
from tokenizer.models.base import BaseTokenizer
from tokenizer.models.model import Model
from tokenizer.split.pretokenizer import well_formed
from tokenizer.text.aligned_text import AlignedText, Span
from tokenizer.text.special_tokens import UNKNOWN, UNKNOWN_NAMES, AddedToken, check_names


class UnknownCharacter(ValueError):
    """A tokenizer has no token for `character`. `known` is the number of characters that have one."""

    def __init__(self, character: str, known: int):
        super().__init__(character, known)  # both, so that the error can be sent from one process to another
        self.character, self.known = character, known

    def __str__(self) -> str:
        return (
            f"the character {self.character!r} is not among the {self.known} of this tokenizer: train it on text that "
            f"has it, or with special_tokens=[{UNKNOWN!r}], which then stands for all others"
        )


class Characters(Model):
    """One token for each character (Unicode code point)."""

    def __init__(self, tokens: list[bytes | None], special_tokens: Mapping[str, int]):
        self.tokens = tokens
        self.unknown = next((special_tokens[name] for name in UNKNOWN_NAMES if name in special_tokens), None)
        specials = set(special_tokens.values())
        self._id_of = {token.decode(): i for i, token in enumerate(tokens) if token and i not in specials}

    def encode(self, text: str) -> list[int]:
        if self.unknown is not None:
            return [self._id_of.get(character, self.unknown) for character in text]
        try:
            return [self._id_of[character] for character in text]
        except KeyError as error:
            raise UnknownCharacter(error.args[0], len(self._id_of)) from None

    def encode_aligned(self, text: AlignedText) -> tuple[list[int], list[Span]]:
        return self.encode(text.text), text.spans

    def spelling(self, i: int) -> str:
        return (self.tokens[i] or b"").decode()


class CharTokenizer(BaseTokenizer):
    """One token for each character. Usually made by `CharTokenizer.train` or `CharTokenizer.load`."""

    RECORD = CharacterRecord

    def __init__(self, record: CharacterRecord):
        specials = {token.content: token.id for token in record.added_tokens if token.special}
        super().__init__(Characters(list(record.tokens), specials), record.added_tokens)

    @classmethod
    def train(cls, texts: Iterable[str], special_tokens: Iterable[str] = ()) -> CharTokenizer:
        """The first ids are for the special tokens, in their order, the next for the sorted characters of `texts`."""
        names = check_names(special_tokens)
        characters: set[str] = set()
        for text in [texts] if isinstance(texts, str) else texts:
            characters.update(well_formed(text))
        for name in characters.intersection(names):
            raise ValueError(f"the special token {name!r} is a character of the text: give it a longer name")
        tokens: list[bytes | None] = [token.encode() for token in [*names, *sorted(characters)]]
        return cls(CharacterRecord(tokens, tuple(AddedToken(name, i) for i, name in enumerate(names))))

    @property
    def record(self) -> CharacterRecord:
        return CharacterRecord(self.tokens, self.added_tokens)
