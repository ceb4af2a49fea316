r"""Text to words, by a regular expression. Because "dog!" is split into "dog" and "!", it shares a token with "dog".

A word is what the pattern matches. The text between two matches is a word too, so that no text is lost. (The matches of
the named patterns cover every text.)

- `"gpt2"`: the pattern of GPT-2 (r50k_base). Radford et al. 2019, section 2.2.
- `"gpt4"`: the pattern of GPT-4 (cl100k_base). Words have at most three digits; line ends belong to the symbols before.
- `"o200k"`: the pattern of GPT-4o (o200k_base). As GPT-4's, but a word also ends where the case changes ("helloWorld"),
  and a contraction belongs to the word before it.
- `"llama3"`, `"qwen2"`: the patterns of Llama 3 and Qwen2, which differ little from GPT-4's.
- Any other string is a regular expression of your own (custom_pattern.py). Use only what Python's `regex` and Oniguruma
  both understand, because Hugging Face's library uses Oniguruma to read a saved `tokenizer.json`. Note that `^` and `$`
  match at every line in Oniguruma.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from itertools import accumulate, pairwise
from typing import Any

import regex

from tokenizer.split.custom_pattern import CustomPattern
from tokenizer.split.unicode import with_pinned_classes

# The alternatives of a pattern are tried from left to right. `++`, `?+` and `*+` are possessive: they never give back
# what they have matched, which makes the search faster.
# fmt: off
UPPERS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"  # what can be in a word before the change from upper to lower case
LOWERS = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"        # ... and after it
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)"            # contractions: 's 't 'll and so on
            r"| ?\p{L}++"                      # letters, with the space before them
            r"| ?\p{N}++"                      # numbers
            r"| ?[^\s\p{L}\p{N}]++"            # symbols
            r"|\s+(?!\S)|\s",                 # white space, without the last character if something follows
    "gpt4": r"'(?i:[sdmt]|ll|ve|re)"
            r"|[^\r\n\p{L}\p{N}]?+\p{L}++"    # letters, with at most one character before them: no number, no line end
            r"|\p{N}{1,3}"                     # at most three digits
            r"| ?[^\s\p{L}\p{N}]++[\r\n]*+"   # symbols, with the line ends after them
            r"|\s++$|\s*[\r\n]"               # white space at the end of the text, or up to the last line end
            r"|\s+(?!\S)|\s",
    "o200k": r"[^\r\n\p{L}\p{N}]?" f"{UPPERS}*{LOWERS}+{CONTRACTION}?"
             r"|[^\r\n\p{L}\p{N}]?" f"{UPPERS}+{LOWERS}*{CONTRACTION}?"
             r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "llama3": CONTRACTION +
              r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": CONTRACTION +
             r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
# fmt: on
NAME_OF_PATTERN = {pattern: name for name, pattern in PATTERNS.items()}


class Pretokenizer:
    """Splits text into words. `pattern` is a name from PATTERNS or a regular expression."""

    def __init__(self, pattern: str = "gpt4"):
        self.pattern = NAME_OF_PATTERN.get(pattern, pattern)  # the name if it has one, or else the expression
        self.expression = PATTERNS.get(pattern, pattern)
        is_named = self.expression in NAME_OF_PATTERN
        self._compiled: Any = regex.compile(self.expression) if is_named else CustomPattern(not_a_name(self.expression))
        self._compiled_ascii: Any = ascii_pattern(self.expression) if is_named else self._compiled

    def split(self, text: str) -> list[str]:
        """The words of `text`, in order; joined, they are `text` again. ValueError if a custom pattern fails."""
        if text.isascii():
            return self._compiled_ascii.findall(text)
        searched = with_pinned_classes(text)
        words = self._compiled.findall(searched)
        if searched is not text:  # the words are found in `searched`, but cut from `text`
            words = [text[start:end] for start, end in pairwise(accumulate(map(len, words), initial=0))]
        return words

    def in_time(self, words: list[str]) -> Iterable[str]:
        """Yield `words`, for a loop that splits each of them. ValueError when the loop takes too long."""
        return self._compiled.in_time(words) if isinstance(self._compiled, CustomPattern) else words


class PretokenizerSequence:
    """Several patterns: each splits the words of the one before it. SmolLM, for example, splits at digits first."""

    def __init__(self, patterns: Iterable[str]):
        self.steps = [Pretokenizer(pattern) for pattern in patterns]
        self.pattern = tuple(step.pattern for step in self.steps)

    def split(self, text: str) -> list[str]:
        """The words of `text`, in order; joined, they are `text` again."""
        words = [text] if text else []
        for step in self.steps:
            words = [part for word in step.in_time(words) for part in step.split(word)]
        return words


def not_a_name(expression: str) -> str:
    """The expression. ValueError if it looks like a name: no pattern has this name."""
    if not isinstance(expression, str) or expression.replace("-", "_").isidentifier():
        known = ", ".join(map(repr, PATTERNS))
        name = repr(expression)[:80]
        raise ValueError(f"no pattern is called {name}: choose {known} or give a regular expression")
    return expression


# Many short texts are all ASCII. The standard library's `re` searches them three times as fast as `regex`. It does not
# know \p{L}, so the ASCII characters of each class are written out.
ASCII_SPACES = r"\t-\r "
ASCII_CLASSES = {"L": "a-zA-Z", "Lu": "A-Z", "Ll": "a-z", "Lt": "", "Lm": "", "Lo": "", "M": "", "N": "0-9"}
ITEM = re.compile(r"\\p\{(?P<name>\w+)\}|\\.|.", re.DOTALL)


@cache
def ascii_pattern(expression: str) -> re.Pattern:
    """The same expression for `re` and ASCII texts.

    \\p{...} and \\s may stand anywhere in the expression, \\S only outside of brackets.
    """
    written, is_in_brackets = [], False
    for part in ITEM.finditer(expression):
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

    Surrogates cannot be encoded. A pair of them becomes the character that it means in UTF-16. A single one becomes
    U+FFFD, the replacement character, as in tiktoken.
    """
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    except AttributeError:
        raise TypeError(f"a text is a str, not {type(text).__name__} (encode_bytes takes bytes)") from None
