"""A regular expression as an `Expression`, by recursive descent. The grammar, from the loosest part to the tightest:

    choice    sequence | sequence | ...
    sequence  repeats one after another
    repeat    atom, atom*, atom+, atom?, atom{3}, atom{2,5}, atom{2,}, atom{,5}
    atom      character   .   [a-z]   [^a-z]   (choice)   (?:choice)   (?P<name>choice)   \\d \\w \\s \\D \\W \\S
              \\n \\t \\r \\f \\v \\a \\0   \\x41   \\u0041   \\U00000041   and \\ before punctuation

It is the syntax of Python's `re`, and the meaning of `re.fullmatch`: a whole text matches. So `^` at the beginning and
`$` at the end change nothing, and are refused elsewhere. `.` is any character but a newline. `*?` is `*`: whether a
repetition is lazy changes which part of a text a group gets, and not which texts match. Classes such as `\\d`:
code_points.py.

Not supported, and refused with a PatternError that says where: looking ahead or behind, references to groups, borders
of words, flags, atomic groups and possessive repetitions, conditions, `\\p{...}`.
"""

from __future__ import annotations

import re

from llm.inference.constrain import code_points
from llm.inference.constrain.code_points import EVERY_CHARACTER, NEWLINE, Ranges, complement
from llm.inference.constrain.expressions import EMPTY, Expression, PatternError, characters, choice, repeat, sequence

MOST_CHARACTERS = 20_000  # of a pattern
DEEPEST = 50  # groups within groups
MOST_REPETITIONS = 1_000_000

ANYTHING = repeat(characters(EVERY_CHARACTER), 0, None)
QUANTIFIER = re.compile(r"\*|\+|\?|\{([0-9]+)\}|\{([0-9]*),([0-9]*)\}")
ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
DIGITS_OF = {"x": 2, "u": 4, "U": 8}  # \x41
GROUP = re.compile(r"\((?:\?:|\?P<\w+>|(?!\?))")
REFUSED_GROUPS = {
    "?=": "a lookahead",
    "?!": "a lookahead",
    "?<=": "a lookbehind",
    "?<!": "a lookbehind",
    "?>": "an atomic group",
    "?P=": "a reference to a group",
    "?#": "a comment",
    "?(": "a condition",
}
REFUSED_ESCAPES = {"b": "a border of a word", "B": "a border of a word", "A": "an anchor", "Z": "an anchor"}
REFUSED_ESCAPES |= dict.fromkeys("123456789", "a reference to a group") | dict.fromkeys("pP", "a Unicode property")


def parse(pattern: str) -> Expression:
    """The texts that `pattern` matches as a whole."""
    return Parser(pattern, search=False).parse()


def parse_search(pattern: str) -> Expression:
    """The texts in which `pattern` matches somewhere, as by `re.search`: what a JSON schema means by a pattern."""
    return Parser(pattern, search=True).parse()


class Parser:
    def __init__(self, pattern: str, *, search: bool):
        if len(pattern) > MOST_CHARACTERS:
            raise PatternError(
                f"a pattern has at most {MOST_CHARACTERS:,} characters, and this one has {len(pattern):,}"
            )
        self.pattern, self.search = pattern, search
        self.at = self.depth = 0  # where the parser is, and in how many groups

    def parse(self) -> Expression:
        expression = self.parse_choice()
        if self.at < len(self.pattern):
            raise self.error("a ) without its (")
        return expression

    # --- the grammar, from top to bottom ---

    def parse_choice(self) -> Expression:
        options = [self.parse_sequence()]
        while self.takes("|"):
            options.append(self.parse_sequence())
        return choice(*options)

    def parse_sequence(self) -> Expression:
        outermost = self.depth == 0
        from_start = outermost and self.takes("^")
        parts = []
        # Only an option of the outermost choice ends where the text does; within groups, `$` is refused.
        while self.next not in ("", "|", ")") and not (outermost and self.next == "$"):
            parts.append(self.parse_repeat())
        to_end = outermost and self.takes("$")
        if to_end and self.next not in ("", "|"):
            raise self.error("an anchor before the end", self.at - 1)
        if not (self.search and outermost):
            return sequence(*parts)
        return sequence(EMPTY if from_start else ANYTHING, *parts, EMPTY if to_end else ANYTHING)

    def parse_repeat(self) -> Expression:
        atom = self.parse_atom()
        start = self.at
        if (quantifier := QUANTIFIER.match(self.pattern, self.at)) is None:
            return atom
        self.at = quantifier.end()
        low, high = bounds(quantifier)
        if max(low, high or 0) > MOST_REPETITIONS:
            raise self.error(f"more than {MOST_REPETITIONS:,} repetitions", start)
        if high is not None and high < low:
            raise self.error("a repetition with a maximum below its minimum", start)
        self.takes("?")  # lazy: the same texts match
        if self.next == "+":
            raise self.error("a possessive repetition")
        if QUANTIFIER.match(self.pattern, self.at):
            raise self.error("a repetition of a repetition (put a group around the first)")
        return repeat(atom, low, high)

    def parse_atom(self) -> Expression:
        if self.next == "(":
            return self.parse_group()
        if self.takes("["):
            return characters(self.character_set())
        if self.takes("."):
            return characters(complement(NEWLINE))
        if self.next in ("^", "$"):
            raise self.error("an anchor in the middle")
        if QUANTIFIER.match(self.pattern, self.at):
            raise self.error("a repetition of nothing")
        return characters(self.character())

    def parse_group(self) -> Expression:
        start = self.at
        if (opening := GROUP.match(self.pattern, start)) is None:
            kinds = [kind for kind in REFUSED_GROUPS if self.pattern.startswith(kind, start + 1)]
            raise self.error(REFUSED_GROUPS[max(kinds, key=len)] if kinds else "a flag or an unknown group")
        self.at = opening.end()
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.error(f"more than {DEEPEST} groups within one another")
        inside = self.parse_choice()
        self.depth -= 1
        if not self.takes(")"):
            raise self.error("a ( without its )", start)
        return inside

    def character_set(self) -> Ranges:
        """What is between [ and ]."""
        start = self.at - 1
        is_complement = self.takes("^")
        ranges: list[tuple[int, int]] = []
        first = self.at
        while self.at == first or self.next != "]":  # directly after [ or [^, a ] is a character
            if self.next == "":
                raise self.error("a [ without its ]", start)
            ranges += self.character_range(in_complement=is_complement)
        self.at += 1
        joined = code_points.union(ranges)
        return complement(joined) if is_complement else joined

    def character_range(self, *, in_complement: bool) -> Ranges:
        """`a`, `a-z` or `\\d` within a set."""
        start = self.at
        first = self.character(in_set=True, in_complement=in_complement)
        if self.next != "-" or self.pattern[self.at + 1 : self.at + 2] in ("]", ""):
            return first
        self.at += 1
        last = self.character(in_set=True)
        # A class has more than one character.
        if first[0][0] != first[-1][1] or last[0][0] != last[-1][1] or first > last:
            raise self.error("a range of characters that does not go from one to a later one", start)
        return ((first[0][0], last[0][0]),)

    def character(self, *, in_set: bool = False, in_complement: bool = False) -> Ranges:
        """A single character, escaped or not, or a class such as `\\d`."""
        if not self.takes("\\"):
            self.at += 1
            return code_points.ranges_of(self.pattern[self.at - 1])
        letter = self.next
        self.at += 1
        if letter in ("d", "w", "s", "D", "W", "S"):
            return code_points.character_class(letter, in_complement=in_complement)
        return code_points.ranges_of(self.escaped(letter, in_set))

    def escaped(self, letter: str, in_set: bool) -> str:
        """The character that `\\` and `letter` stand for."""
        start = self.at - 2
        if letter in DIGITS_OF:
            return self.numbered_character(DIGITS_OF[letter])
        if letter in ESCAPED:
            return ESCAPED[letter]
        if in_set and letter == "b":
            return "\b"  # outside of a set it is a border of a word
        if letter == "0" and not self.next.isdigit():
            return "\0"
        if letter == "" or (letter.isascii() and letter.isalnum()):
            raise self.error(REFUSED_ESCAPES.get(letter, f"the escape \\{letter}"), start)
        return letter

    def numbered_character(self, digits: int) -> str:
        """The character whose number the next `digits` hexadecimal digits are."""
        number = self.pattern[self.at : self.at + digits]
        if not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", number) or int(number, 16) > code_points.LAST:
            raise self.error("an escape that is not the number of a character", self.at - 2)
        self.at += digits
        return chr(int(number, 16))

    # --- helpers ---

    @property
    def next(self) -> str:
        """The next character; "" at the end."""
        return self.pattern[self.at : self.at + 1]

    def takes(self, character: str) -> bool:
        """Go on by one character, if it is this one."""
        is_next = self.next == character
        self.at += is_next
        return is_next

    def error(self, what: str, at: int | None = None) -> PatternError:
        place = self.at if at is None else at
        shown = self.pattern if len(self.pattern) <= 60 else f"{self.pattern[:57]}..."
        quoted = repr(shown).replace(r"\\", "\\")  # on one line, and its backslashes as they were written
        return PatternError(f"the pattern {quoted} cannot be used here: it has {what} at character {place}")


def bounds(quantifier: re.Match) -> tuple[int, int | None]:
    """The least and the most repetitions."""
    simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
    if quantifier.group() in simple:
        return simple[quantifier.group()]
    exactly, low, high = (to_number(text) for text in quantifier.groups())
    if exactly is not None:
        return exactly, exactly
    return low or 0, high


def to_number(digits: str | None) -> int | None:
    # A number of many digits is too large anyway, and takes Python long to read.
    return min(int(digits[:10]), 10**9) if digits else None
