"""The normalizer of BERT."""

from __future__ import annotations

from dataclasses import dataclass

import regex

from tokenizer.text.aligned_text import AlignedText, Change
from tokenizer.text.huggingface_unicode import BERT_CONTROL, BERT_MARK
from tokenizer.text.normalize import Lowercase, UnicodeForm, character_class

CONTROL = regex.compile(f"[{character_class(BERT_CONTROL)}]")
WHITE_SPACE = regex.compile(r"\p{White_Space}")
ACCENT = regex.compile(f"[{character_class(BERT_MARK)}]")
CHINESE = regex.compile(
    "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b920-\U0002ceaf\U0002f800-\U0002fa1f]"
)


@dataclass(frozen=True)
class BertNormalizer:
    """Cleans the text, puts spaces around Chinese characters, removes accents, converts to lower case.

    If `strip_accents` is None, accents are removed if `lowercase` is true. The classes of characters are those of
    Unicode 8, as in Hugging Face's library.
    Source: `BasicTokenizer` of github.com/google-research/bert, tokenization.py.
    """

    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True

    def __call__(self, text: str) -> str:
        if self.clean_text:
            text = WHITE_SPACE.sub(" ", CONTROL.sub("", text))
        if self.handle_chinese_chars:
            text = CHINESE.sub(r" \g<0> ", text)
        if self.strips_accents:
            text = ACCENT.sub("", UnicodeForm("NFD")(text))
        return Lowercase()(text) if self.lowercase else text

    @property
    def strips_accents(self) -> bool:
        return self.lowercase if self.strip_accents is None else self.strip_accents

    def align(self, aligned: AlignedText) -> AlignedText:
        if self.clean_text:
            aligned = aligned.filter([not CONTROL.match(character) for character in aligned.text])
            aligned = AlignedText(WHITE_SPACE.sub(" ", aligned.text), aligned.spans)
        if self.handle_chinese_chars:
            aligned = aligned.change(change for character in aligned.text for change in spaced(character))
        if self.strips_accents:
            aligned = UnicodeForm("NFD").align(aligned)
            aligned = aligned.filter([not ACCENT.match(character) for character in aligned.text])
        return Lowercase().align(aligned) if self.lowercase else aligned


def spaced(character: str) -> list[Change]:
    """The changes that put spaces around a Chinese character. All three stand for the character in the original."""
    return [(" ", 0), (character, 1), (" ", 1)] if CHINESE.match(character) else [(character, 0)]
