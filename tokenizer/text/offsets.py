"""Offsets of tokens without the white space at their ends, as some tokenizers report them."""

from __future__ import annotations

from dataclasses import dataclass

import regex

from tokenizer.text.aligned_text import Span

# White space, or "Ġ", as a tokenizer.json spells a space. (?r) searches from the end.
LEADING, TRAILING = regex.compile(r"[\p{White_Space}Ġ]*"), regex.compile(r"(?r)[\p{White_Space}Ġ]*")


@dataclass(frozen=True)
class OffsetTrimming:
    """Removes white space from the spans of tokens.

    `keeps_first`: a single space at the beginning of a text stays in the span. It is thought to be a prefix, which
    stands for no character. Source: `process_offsets` in github.com/huggingface/tokenizers, where the two options are
    called `trim_offsets` and `add_prefix_space`.
    """

    keeps_first: bool = False

    def __call__(self, token: str, span: Span, *, is_first: bool) -> Span:
        """The trimmed `span` of `token`, which is spelled as in a `tokenizer.json`."""
        start, end = span
        leading, trailing = len(LEADING.match(token).group()), len(TRAILING.search(token).group())
        if self.keeps_first and (is_first or start == 0) and leading == 1:
            leading = 0
        start = min(start + leading, end)
        return start, max(end - trailing, start) if end >= trailing else end
