r"""Where words begin, for all characters of a text at once: what the usual patterns say, without a search.

A regular expression walks along the text. Here each character answers for itself whether a word begins with it, from
its own class and those of its neighbours; the few rules that need to see further look at a few places only.

- `gpt2_starts`: ` ?\p{L}+`, ` ?\p{N}+`, ` ?[^\s\p{L}\p{N}]+`, contractions, white space
- `gpt4_starts` (cl100k, Llama 3, Qwen2): any symbol or blank may lead a word of letters; numbers in groups; line ends
  belong to the symbols before them, and divide white space
- o200k, which also looks at case, is in case_starts.py and uses `general_starts`, its common part with GPT-4

Each takes `classes` and `codes`, (n,) each, and gives `starts`, (n,) bool. n is at least 1. It may be several texts at
once, with a character of the class EDGE between two of them; `firsts` are the places where they begin.
"""

from __future__ import annotations

import numpy as np

from tokenizer.split.text_arrays import LONG_S
from tokenizer.split.unicode import BLANK, EDGE, MARK, NEWLINE, NUMBER, SPACE, SYMBOL

WORD = MARK  # all that can be within a word of letters has this class here, or a lower one

APOSTROPHE = ord("'")


def neighbours(classes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three views, (n,) each: the class before each character, its own, and the one after it."""
    padded = np.empty(len(classes) + 2, np.uint8)
    padded[0] = padded[-1] = EDGE
    padded[1:-1] = classes
    return padded[:-2], padded[1:-1], padded[2:]


def choose(condition: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """np.where for three arrays of bool, without its branch for each element: 40 times as fast."""
    return condition & yes | ~condition & no


def place_in_run(first: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... from each True of `first` on (which begins with True)."""
    place = np.arange(len(first))
    return place - np.maximum.accumulate(np.where(first, place, 0))


# GPT-2


def gpt2_starts(classes: np.ndarray, codes: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    before, here, after = neighbours(classes)
    starts = (here != before) & (before != BLANK)  # a run of one class is a word, and so is a blank with such a run
    # Of white space before something else, the last character stands apart; at the end of the text it does not.
    at_edge = (before < SPACE) | (after < SPACE)
    starts = choose(here >= SPACE, at_edge, starts)
    starts[firsts] = True
    leading = np.flatnonzero((codes == APOSTROPHE) & starts)
    places, lengths = contractions(leading, codes, any_case=False)
    starts[places + 1] = False
    begin(starts, places + lengths)
    return starts


def contractions(apostrophes: np.ndarray, codes: np.ndarray, any_case: bool) -> tuple[np.ndarray, np.ndarray]:
    """Those of the places `apostrophes` where one of 's 't 'd 'm 'll 've 're stands, and their lengths, (k,) each."""
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
    """ASCII in lower case; the long s is an s too, where case does not matter."""
    small = np.where((codes >= ord("A")) & (codes <= ord("Z")), codes + 32, codes)
    return np.where(codes == LONG_S, ord("s"), small)


def begin(starts: np.ndarray, places: np.ndarray) -> None:
    """A word begins at each of `places`, of which the last may be the end of the text."""
    starts[places[places < len(starts)]] = True


# GPT-4 and those after it


def gpt4_starts(
    classes: np.ndarray, codes: np.ndarray, firsts: np.ndarray, digits: int = 3, whole_end: bool = True
) -> np.ndarray:
    """`digits`: how many make a word at most. `whole_end`: white space at the end of the text is one word, even where
    it holds line ends."""
    starts = general_starts(classes, firsts, digits, whole_end)
    leading = np.flatnonzero((codes == APOSTROPHE) & starts)
    places, lengths = contractions(leading, codes, any_case=True)
    begin(starts, places + lengths)
    return starts


def general_starts(classes: np.ndarray, firsts: np.ndarray, digits: int, whole_end: bool) -> np.ndarray:
    """All but contractions. `classes` are WORD (or lower values) and those above."""
    before, here, after = neighbours(classes)
    # A word begins where the class changes, unless what is before leads it: WORD + 3 < SPACE, so that any blank leads
    # letters; SYMBOL + 3 = SPACE, so that only " " leads symbols; and nothing is greater than NUMBER + 3.
    starts = (here != before) & (before <= here + np.uint8(3))
    # White space, if it holds no line ends: its first character, and its last if something follows.
    at_edge = (before < NEWLINE) | (after < NEWLINE) & (here != NEWLINE)
    starts = choose(here >= NEWLINE, at_edge, starts)
    starts[firsts] = True
    # A symbol that begins a word leads the letters after it.
    starts[1:] &= ~(starts[:-1] & (here[:-1] == SYMBOL) & (here[1:] <= WORD))

    numbers = np.flatnonzero(here == NUMBER)
    if len(numbers):
        starts[numbers[place_in_run(before[numbers] != NUMBER) % digits == 0]] = True
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
    """Line ends right after symbols belong to them. Of other white space, all up to its last line end is one word, and
    so is all of it at the `ends` of texts, if they are given. So what is to be found are the blanks after a line end
    which begin a word.
    """
    left, right = before.take(newlines), after.take(newlines)
    starts[newlines[left == SYMBOL]] = False
    indented = np.flatnonzero((right == SPACE) | (right == BLANK))
    if not len(indented):
        return
    first = left != NEWLINE
    with_symbols = (left[first] == SYMBOL).take(np.cumsum(first).take(indented) - 1)
    is_white = np.append((here >= NEWLINE) & (here != EDGE), False)
    goes_on = np.logical_and.reduceat(is_white, newlines)  # nothing but white space up to the next line end
    if ends is not None:
        latest = np.searchsorted(newlines, ends) - 1
        latest, ends = latest[latest >= 0], ends[latest >= 0]
        stretches = np.stack([newlines[latest], ends], axis=1)
        goes_on[latest[np.logical_and.reduceat(is_white, stretches.ravel())[::2]]] = True
    starts[newlines.take(indented)[with_symbols | ~goes_on.take(indented)] + 1] = True
