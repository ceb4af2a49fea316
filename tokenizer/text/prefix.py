"""A space before a text, so that its first word has the same token as elsewhere: "Hello" is encoded as " Hello"."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizer.text.aligned_text import AlignedText


@dataclass(frozen=True)
class Prefix:
    """Puts `text` before each segment of text (between added tokens) that does not begin with it.

    With `everywhere` False it does so only at the very beginning. This is `add_prefix_space` of ByteLevel and
    `prepend_scheme` of Metaspace in github.com/huggingface/tokenizers.
    """

    text: str = " "
    everywhere: bool = True

    def __call__(self, segment: str, *, is_first: bool) -> str:
        return self.text + segment if self._is_needed(segment, is_first) else segment

    def align(self, segment: AlignedText, *, is_first: bool) -> AlignedText:
        """The same for a text whose characters remember where they come from."""
        return segment.prepend(self.text) if self._is_needed(segment.text, is_first) else segment

    def _is_needed(self, segment: str, is_first: bool) -> bool:
        return segment != "" and (self.everywhere or is_first) and not segment.startswith(self.text)
