r"""Text to words, by a regular expression. Here it is decided that "dog", "dog!" and "dogs." share a token.

A word is whatever the pattern matches. What lies between two matches is a word too, so nothing is ever lost.

- `"gpt2"`: the pattern of GPT-2 (r50k_base). Radford et al. 2019, section 2.2.
- `"gpt4"`: the pattern of GPT-4 (cl100k_base): numbers in threes, line ends stay with the punctuation before them.
- `"o200k"`: the pattern of GPT-4o (o200k_base): as GPT-4, but words end where the case changes and with contractions.
- `"llama3"`, `"qwen2"`: those of Llama 3 and Qwen2, which differ little from GPT-4's.
- Any other string is a regular expression of your own, in the part of the language that Python's `regex` shares with
  Oniguruma (which Hugging Face's library uses for a saved `tokenizer.json`). Beware of `^` and `$`: for Oniguruma they
  match at every line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from itertools import accumulate, pairwise

import regex

from tokenizer.split.unicode import with_pinned_classes

# `++`, `?+` and `*+` are possessive: they never give back what they have matched, which saves the search time.
PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s+(?!\S)|\s",
    "gpt4": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}
NAME_OF_PATTERN = {pattern: name for name, pattern in PATTERNS.items()}

# `{1,3}+` is possessive here, but an ordinary repeat of a repeat in Oniguruma: `\p{N}{1,3}+` would match all digits
# there. Likewise (?m) and (?s) mean different things. A pattern that means two things is refused before training.
AMBIGUOUS = regex.compile(r"(?<!\\)\{[\d,]+\}\+|\(\?\^?[a-zA-Z]*[ms]")


class Pretokenizer:
    """Splits text into words. `pattern` is a name from PATTERNS or a regular expression."""

    def __init__(self, pattern: str = "gpt4"):
        self.pattern = NAME_OF_PATTERN.get(pattern, pattern)  # "gpt2", "gpt4", or the expression itself
        self.expression = PATTERNS.get(pattern, pattern)
        self._compiled = compile_pattern(self.expression)
        is_named = self.expression in NAME_OF_PATTERN
        self._compiled_ascii = ascii_pattern(self.expression) if is_named else self._compiled

    def split(self, text: str) -> list[str]:
        """The words of `text`, in order; joined, they are `text` again."""
        if text.isascii():
            return self._search(self._compiled_ascii, text)
        searched = with_pinned_classes(text)
        words = self._search(self._compiled, searched)
        if searched is not text:  # the words are found in `searched`, but cut from `text`
            words = [text[start:end] for start, end in pairwise(accumulate(map(len, words), initial=0))]
        return words

    def _search(self, pattern: re.Pattern | regex.Pattern, text: str) -> list[str]:
        if not pattern.groups:
            words = pattern.findall(text)
            if sum(map(len, words)) == len(text):  # no gaps between the matches; true of all named patterns
                return words if all(words) else [word for word in words if word]
        return self._split_with_gaps(text)

    def _split_with_gaps(self, text: str) -> list[str]:
        edges = [0]
        for match in self._compiled.finditer(text):
            edges += match.span()
        edges.append(len(text))
        return [text[start:end] for start, end in pairwise(edges) if start < end]


class PretokenizerSequence:
    """Several patterns: each splits the words of the one before. SmolLM, for example, isolates digits first."""

    def __init__(self, patterns: Iterable[str]):
        self.steps = [Pretokenizer(pattern) for pattern in patterns]
        self.pattern = tuple(step.pattern for step in self.steps)

    def split(self, text: str) -> list[str]:
        """The words of `text`, in order; joined, they are `text` again."""
        words = [text] if text else []
        for step in self.steps:
            words = [part for word in words for part in step.split(word)]
        return words


def compile_pattern(expression: str) -> regex.Pattern:
    if not isinstance(expression, str) or expression.replace("-", "_").isidentifier():
        known = ", ".join(map(repr, PATTERNS))
        raise ValueError(f"no pattern is called {expression!r}: choose {known} or give a regular expression")
    ambiguous = AMBIGUOUS.search(expression)
    if ambiguous:
        raise ValueError(
            f"the pattern {expression!r} contains {ambiguous.group()!r}, which Hugging Face's library reads "
            "differently: write (?>...{1,3}) for a possessive {1,3}+, and [\\s\\S] for a dot that matches line ends"
        )
    try:
        return regex.compile(expression)
    except regex.error as error:
        raise ValueError(f"the pattern {expression!r} is not a regular expression: {error}") from None


# Texts of nothing but ASCII (many short texts are) need no Unicode. The standard library's `re` searches them three
# times as fast as `regex`. It does not know \p{L}, so the few characters of each class are written out.
ASCII_SPACES = r"\t-\r "
ASCII_CLASSES = {"L": "a-zA-Z", "Lu": "A-Z", "Ll": "a-z", "Lt": "", "Lm": "", "Lo": "", "M": "", "N": "0-9"}
PATTERN_PART = re.compile(r"\\p\{(?P<name>\w+)\}|\\.|.", re.DOTALL)


@cache
def ascii_pattern(expression: str) -> re.Pattern:
    """The same expression for `re` and ASCII. It may hold \\p{...} of the classes above, \\s, and \\S outside of []."""
    written, is_in_brackets = [], False
    for part in PATTERN_PART.finditer(expression):
        if part["name"] is not None or part[0] == r"\s":
            characters = ASCII_CLASSES[part["name"]] if part["name"] else ASCII_SPACES
            written.append(characters if is_in_brackets else f"[{characters}]")
        elif part[0] == r"\S":
            written.append(f"[^{ASCII_SPACES}]")
        else:
            is_in_brackets = part[0] == "[" or is_in_brackets and part[0] != "]"
            written.append(part[0])
    return re.compile("".join(written))


def well_formed(text: str) -> str:
    """`text` with only characters that UTF-8 can encode.

    Surrogates cannot be encoded: a pair becomes the character that it means in UTF-16, and a single one becomes U+FFFD,
    the replacement character (as in tiktoken).
    """
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    except AttributeError:
        raise TypeError(f"a text is a str, not {type(text).__name__} (encode_bytes takes bytes)") from None
