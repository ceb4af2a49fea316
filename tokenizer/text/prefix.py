"""A space before a text, so that its first word has the same token as anywhere else ("Hello" as " Hello")."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizer.text.aligned import Aligned


@dataclass(frozen=True)
class Prefix:
    """Puts `text` before each piece of text (between added tokens) that does not begin with it; if not `everywhere`,
    only at the very beginning. This is `add_prefix_space` of ByteLevel and `prepend_scheme` of Metaspace in
    github.com/huggingface/tokenizers."""

    text: str = " "
    everywhere: bool = True

    def __call__(self, piece: str, is_first: bool) -> str:
        return self.text + piece if self.wanted(piece, is_first) else piece

    def align(self, piece: Aligned, is_first: bool) -> Aligned:
        return piece.prepend(self.text) if self.wanted(piece.text, is_first) else piece

    def wanted(self, piece: str, is_first: bool) -> bool:
        return piece != "" and (self.everywhere or is_first) and not piece.startswith(self.text)
