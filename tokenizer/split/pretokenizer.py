r"""Text to words: the first step of byte-pair encoding, and the last one that looks at characters.

Merges never cross the edge of a word, so this is where it is decided that "dog", "dog!" and "dogs." share a token.
A word is whatever the pattern matches; what lies between two matches is a word too, so nothing is ever lost.

- `"gpt2"`: the pattern of GPT-2 (r50k_base). Radford et al. 2019, section 2.2. - `"gpt4"`: the pattern of GPT-4
(cl100k_base): numbers in threes, line ends kept with the punctuation before them. - `"o200k"`: the pattern of GPT-4o
(o200k_base): that of GPT-4, but words end where the case changes and with contractions. - any other string is a regular
expression of your own, in the part of the language that Python's `regex` and
  Oniguruma (which reads a saved `tokenizer.json` in Hugging Face's library) have in common. Beware of `^` and `$`:
  for Oniguruma they match at every line.

`++`, `?+`, `*+` are possessive: what they have taken they never give back, which saves the search the trouble.
What is a letter or a number is said by one version of Unicode, whatever `regex` is installed (steady.py).
"""

from __future__ import annotations

import re
from itertools import accumulate, pairwise

import regex

from tokenizer.split.ascii import ascii_pattern
from tokenizer.split.steady import steady

PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s+(?!\S)|\s",
    "gpt4": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}
NAMES = {pattern: name for name, pattern in PATTERNS.items()}

# Possessive here, an ordinary repeat of a repeat in Oniguruma: `\p{N}{1,3}+` would take all digits there. Likewise
# (?m) and (?s) mean different things. A tokenizer that means two things is refused before it is trained.
AMBIGUOUS = regex.compile(r"(?<!\\)\{[\d,]+\}\+|\(\?\^?[a-zA-Z]*[ms]")


class Pretokenizer:
    """Splits text into words. `pattern` is a name from PATTERNS or a regular expression."""

    def __init__(self, pattern: str = "gpt4"):
        self.pattern = NAMES.get(pattern, pattern)  # "gpt2", "gpt4", or the expression itself
        self.expression = PATTERNS.get(pattern, pattern)
        self._compiled = compile_pattern(self.expression)
        self._ascii = ascii_pattern(self.expression) if self.expression in NAMES else self._compiled

    def split(self, text: str) -> list[str]:
        """The words of `text`, in order; joined, they are `text` again."""
        if text.isascii():
            return self._search(self._ascii, text)
        searched = steady(text)
        words = self._search(self._compiled, searched)
        if searched is not text:
            words = [text[start:end] for start, end in pairwise(accumulate(map(len, words), initial=0))]
        return words

    def _search(self, pattern: re.Pattern | regex.Pattern, text: str) -> list[str]:
        if not pattern.groups:
            words = pattern.findall(text)
            if sum(map(len, words)) == len(text):  # nothing between the matches, as always with the named patterns
                return words if all(words) else [word for word in words if word]
        return self._split_with_gaps(text)

    def _split_with_gaps(self, text: str) -> list[str]:
        edges = [0]
        for match in self._compiled.finditer(text):
            edges += match.span()
        edges.append(len(text))
        return [text[start:end] for start, end in zip(edges, edges[1:]) if start < end]


def compile_pattern(expression: str) -> regex.Pattern:
    if not isinstance(expression, str) or expression.replace("-", "_").isidentifier():
        known = ", ".join(map(repr, PATTERNS))
        raise ValueError(f"no pattern is called {expression!r}: choose {known} or give a regular expression")
    ambiguous = AMBIGUOUS.search(expression)
    if ambiguous:
        raise ValueError(
            f"the pattern {expression!r} holds {ambiguous.group()!r}, which Hugging Face's library reads differently: "
            f"write (?>...{{1,3}}) for a possessive {{1,3}}+, and [\\s\\S] for a dot that matches line ends"
        )
    try:
        return regex.compile(expression)
    except regex.error as error:
        raise ValueError(f"the pattern {expression!r} is not a regular expression: {error}") from None


def well_formed(text: str) -> str:
    """`text` as characters that have a UTF-8 form. Surrogates have none: a pair becomes the character that it stands
    for in UTF-16, and a lone one becomes U+FFFD, the replacement character (as in tiktoken)."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    except AttributeError:
        raise TypeError(f"a text is a str, not {type(text).__name__} (encode_bytes takes bytes)") from None
