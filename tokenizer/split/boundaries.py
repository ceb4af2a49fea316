r"""Where words begin, for all characters of a text at once, by the rules of the usual patterns.

A regular expression walks along the text. Here the decision is made for all characters at once, from the class of each
and of its two neighbours; the few rules that must see further look at a few positions only.

- `gpt2_starts`: ` ?\p{L}+`, ` ?\p{N}+`, ` ?[^\s\p{L}\p{N}]+`, contractions, white space
- `gpt4_starts` (cl100k, Llama 3, Qwen2): any symbol or blank may lead a word of letters; numbers in groups; line ends
  belong to the symbols before them, and divide white space
- boundaries_o200k.py, which also looks at case, uses `general_starts`, the part that it shares with GPT-4

Each function takes `classes` and `codes`, (n,) each, and returns (n,) bool: whether a word begins at each character.
n is at least 1. There may be several texts, with a character of the class EDGE between two of them; `firsts` are the
positions where the texts begin.
"""

from __future__ import annotations

import numpy as np

from tokenizer.arrays.ragged import position_in_run
from tokenizer.split.text_arrays import LONG_S
from tokenizer.split.unicode import BLANK, EDGE, MARK, NEWLINE, NUMBER, SPACE, SYMBOL

WORD = MARK  # whatever can be in a word of letters has this class, or a lower one

APOSTROPHE = ord("'")


def neighbours(classes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three views, (n,) each: the class before each character, its own, and the one after it."""
    padded = np.empty(len(classes) + 2, np.uint8)
    padded[0] = padded[-1] = EDGE
    padded[1:-1] = classes
    return padded[:-2], padded[1:-1], padded[2:]


def choose(condition: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """np.where for three arrays of bool. 40 times as fast, because it has no branch for each element."""
    return condition & yes | ~condition & no


# GPT-2


def gpt2_starts(classes: np.ndarray, codes: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    before, here, after = neighbours(classes)
    starts = (here != before) & (before != BLANK)  # a run of one class is a word, and so is a blank with such a run
    # White space before something else: its last character is not part of that word. At the end of the text it is.
    at_edge = (before < SPACE) | (after < SPACE)
    starts = choose(here >= SPACE, at_edge, starts)
    starts[firsts] = True
    leading = np.flatnonzero((codes == APOSTROPHE) & starts)
    positions, lengths = contractions(leading, codes, any_case=False)
    starts[positions + 1] = False
    begin_words(starts, positions + lengths)
    return starts


def contractions(apostrophes: np.ndarray, codes: np.ndarray, *, any_case: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which `apostrophes` (positions) begin one of 's 't 'd 'm 'll 've 're, and the lengths of these, (k,) each."""
    if not len(apostrophes):
        return apostrophes, apostrophes
    if apostrophes[-1] + 2 >= len(codes):
        codes = np.append(codes, [0, 0])
    first, second = codes[apostrophes + 1], codes[apostrophes + 2]
    if any_case:
        first, second = lower(first), lower(second)
    s, d, m, t, l, v, r, e = b"sdmtlvre"  # noqa: E741
    short = (first == s) | (first == d) | (first == m) | (first == t)
    long = (first == l) & (second == l) | ((first == v) | (first == r)) & (second == e)
    found = short | long
    return apostrophes[found], np.where(short, 2, 3)[found]


def lower(codes: np.ndarray) -> np.ndarray:
    """ASCII in lower case; the long s is an s too."""
    small = np.where((codes >= ord("A")) & (codes <= ord("Z")), codes + 32, codes)
    return np.where(codes == LONG_S, ord("s"), small)


def begin_words(starts: np.ndarray, positions: np.ndarray) -> None:
    """Let a word begin at each of `positions`. The last one may be the end of the text."""
    starts[positions[positions < len(starts)]] = True


# GPT-4 and later ones


def gpt4_starts(
    classes: np.ndarray, codes: np.ndarray, firsts: np.ndarray, max_digits: int = 3, *, whole_end: bool = True
) -> np.ndarray:
    """`max_digits` of a word. `whole_end`: white space at the end of a text is one word, even if it has line ends."""
    starts = general_starts(classes, firsts, max_digits, whole_end=whole_end)
    leading = np.flatnonzero((codes == APOSTROPHE) & starts)
    positions, lengths = contractions(leading, codes, any_case=True)
    begin_words(starts, positions + lengths)
    return starts


def general_starts(classes: np.ndarray, firsts: np.ndarray, max_digits: int, *, whole_end: bool) -> np.ndarray:
    """All rules but contractions. Letters have the class WORD or a lower one."""
    before, here, after = neighbours(classes)
    # A word begins where the class changes, unless the character before leads the word. One comparison says so,
    # because of the values of the classes: WORD + 3 < SPACE, so any blank leads letters; SYMBOL + 3 = SPACE, so only
    # " " leads symbols; nothing is greater than NUMBER + 3, so nothing leads numbers.
    starts = (here != before) & (before <= here + np.uint8(3))
    # White space, if it holds no line ends: its first character, and its last if something follows.
    at_edge = (before < NEWLINE) | (after < NEWLINE) & (here != NEWLINE)
    starts = choose(here >= NEWLINE, at_edge, starts)
    starts[firsts] = True
    # A symbol that begins a word leads the letters after it.
    starts[1:] &= ~(starts[:-1] & (here[:-1] == SYMBOL) & (here[1:] <= WORD))

    numbers = np.flatnonzero(here == NUMBER)
    if len(numbers):
        starts[numbers[position_in_run(before[numbers] != NUMBER) % max_digits == 0]] = True
    newlines = np.flatnonzero(here == NEWLINE)
    if len(newlines):
        divide_lines(starts, newlines, before, here, after, np.append(firsts[1:] - 1, len(here)) if whole_end else None)
    return starts


def divide_lines(
    starts: np.ndarray,
    newlines: np.ndarray,
    before: np.ndarray,
    here: np.ndarray,
    after: np.ndarray,
    ends: np.ndarray | None,
) -> None:
    """Correct `starts` around line ends, which are at the positions `newlines`.

    Line ends right after symbols belong to the symbols. All other white space up to its last line end is one word, and
    so is all white space before the `ends` of texts, if they are given.
    """
    left, right = before.take(newlines), after.take(newlines)
    starts[newlines[left == SYMBOL]] = False
    # What is left to decide: does a word begin at the blank after a line end?
    indented = np.flatnonzero((right == SPACE) | (right == BLANK))
    if not len(indented):
        return
    is_first = left != NEWLINE
    after_symbols = (left[is_first] == SYMBOL).take(np.cumsum(is_first).take(indented) - 1)
    is_white = np.append((here >= NEWLINE) & (here != EDGE), False)
    continues = np.logical_and.reduceat(is_white, newlines)  # nothing but white space up to the next line end
    if ends is not None:
        latest = np.searchsorted(newlines, ends) - 1
        latest, ends = latest[latest >= 0], ends[latest >= 0]
        ranges = np.stack([newlines[latest], ends], axis=1)
        continues[latest[np.logical_and.reduceat(is_white, ranges.ravel())[::2]]] = True
    starts[newlines.take(indented)[after_symbols | ~continues.take(indented)] + 1] = True
