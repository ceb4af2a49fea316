r"""Regular expressions that come with a file: what is refused, and how long a search may take.

Whoever wrote the file may want to do harm. `(a|a)*b` needs 2**n steps for n letters, `(?R)*|a` and `a{1000000000}` take
all memory, and `(?r)` reverses a text. Also, some expressions have different meanings in `regex` and in Oniguruma, with
which Hugging Face's library reads a `tokenizer.json`. So only what is usual in tokenizers is compiled, and a search may
not be long.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import pairwise

import regex

MAX_LENGTH = 10_000  # of an expression, in characters
MAX_DEPTH = 50  # of groups in groups
MAX_WRITTEN_OUT = 1_000_000  # characters: `regex` compiles (?:ab){3} as ababab. A million take a second and 300 MB
# The time limit of a search is SECONDS, and a second more for each CHARACTERS_PER_SECOND of the text. With a usual
# pattern, a million characters are searched in a second.
SECONDS, CHARACTERS_PER_SECOND = 2.0, 50_000

# The parts of an expression that are checked. What is escaped or in brackets is "plain", so that "\\(" begins no group.
PART = regex.compile(
    r"(?P<plain>\\[pPNx]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\])"
    r"|(?P<flag>\(\?(?:\^?i|i?-i)\))"  # from here on upper and lower case are the same, or no longer
    r"|(?P<begin>\((?![?*])|\(\?(?:[:=!>]|<[=!]|<\w+>|\^?i:|i?-i:))"  # groups that are read alike everywhere
    r"|(?P<end>\))"
    # Other groups: recursion, flags such as (?r), conditions, verbs such as (*SKIP). Counts in which `regex` reads
    # how many errors a match may have, as in (?:cat){e<=1}, and possessive ones.
    r"|(?P<strange>\([?*][^()]{0,8}|\{\d*,?\d*\}\+|\{[\d<=,+eids]*[eids][\d<=,+eids]*(?::[^{}]*)?\})"
    r"|\{(?P<count>\d+),?\d*\}",
    regex.DOTALL,
)
# For example, `\p{N}{1,3}+` matches at most three digits in `regex` (`{1,3}+` is possessive), but any number of digits
# in Oniguruma (`{1,3}` repeated). The flags (?m) and (?s) have different meanings too.
AMBIGUOUS = regex.compile(r"\{.*\+|\(\?\^?[a-zA-Z]*[ms]")
# Characters and classes one after another, of which only the last may be repeated: the time of a search is proportional
# to the length of the text.
LINEAR = regex.compile(r"(?:\(\?:)?(?:\\p\{\w+\}|\\.|[^\\\[\](){}*+?.|^$])+\+?\)?", regex.DOTALL)


class CustomPattern:
    """A compiled expression. ValueError if it is not one, is not safe, or has different meanings elsewhere."""

    def __init__(self, expression: str):
        self._shown = repr(expression if len(expression) <= 80 else expression[:77] + "...")
        self._has_time_limit = not LINEAR.fullmatch(expression)
        problem = find_problem(expression)
        if problem:
            raise ValueError(f"the pattern {self._shown} {problem}")
        try:
            self._compiled = regex.compile(expression)
        except Exception as error:  # regex.error, and others of any kind: RecursionError, OverflowError, KeyError
            reason = str(error) or type(error).__name__
            raise ValueError(f"the pattern {self._shown} is not a regular expression: {reason}") from None

    def findall(self, text: str) -> list[str]:
        """The matches and the text between them. None is empty; joined, they are `text`. ValueError if this fails."""
        # With a limit, `regex` looks at the clock for each match. The simplest patterns need no limit.
        try:
            words = self._search(text, time_limit(len(text)) if self._has_time_limit else None)
        except (TimeoutError, MemoryError):
            raise self._too_slow() from None
        if "".join(words) != text:
            raise ValueError(f"the pattern {self._shown} does not split a text: its words joined are not the text")
        return words

    def in_time(self, words: list[str]) -> Iterable[str]:
        """Yield `words`, for a loop that searches in each. ValueError when the loop takes longer than a search may."""
        return self._until(words, time_limit(sum(map(len, words)))) if self._has_time_limit else words

    def _until(self, words: list[str], limit: float) -> Iterator[str]:
        start = time.process_time()
        for word in words:
            if time.process_time() - start > limit:
                raise self._too_slow()
            yield word

    def _too_slow(self) -> ValueError:
        advice = "use another pattern, or encode shorter texts"
        return ValueError(f"the pattern {self._shown} takes too much time or memory for this text: {advice}")

    def _search(self, text: str, limit: float | None) -> list[str]:
        if not self._compiled.groups:  # with groups, `findall` would return the groups
            words = self._compiled.findall(text, timeout=limit)
            if sum(map(len, words)) == len(text):  # there is no text between the matches
                return words if all(words) else [word for word in words if word]
        edges = [0]
        for match in self._compiled.finditer(text, timeout=limit):
            edges += match.span()
        edges.append(len(text))
        return [text[start:end] for start, end in pairwise(edges) if start < end]


def time_limit(characters: int) -> float:
    """How many seconds of processor time a search in a text of this length may take."""
    return SECONDS + characters / CHARACTERS_PER_SECOND


def find_problem(expression: str) -> str | None:
    """What is wrong with an expression: the end of a sentence. None if nothing is found."""
    if len(expression) > MAX_LENGTH:
        return f"has {len(expression)} characters: at most {MAX_LENGTH} are supported"
    depth, written_out = 0, float(len(expression))
    for part in PART.finditer(expression):
        text = part.group()
        if part["strange"] and AMBIGUOUS.match(text):
            return (
                f"contains {text!r}, which Hugging Face's library reads differently: write (?>...{{1,3}}) for a "
                "possessive {1,3}+, and [\\s\\S] for a dot that matches line ends"
            )
        if part["strange"]:
            return f"contains {text!r}, which is not supported: use what is usual in the patterns of tokenizers"
        depth += (part["begin"] is not None) - (part["end"] is not None)
        if depth > MAX_DEPTH:
            return f"has more than {MAX_DEPTH} groups within one another"
        written_out *= max(float(part["count"] or 1), 1)  # at most: not all counts are within one another
        if written_out > MAX_WRITTEN_OUT:
            return f"has counts such as {text[:20]} that repeat too much"
    return None
