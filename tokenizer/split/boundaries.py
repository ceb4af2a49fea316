r"""Where words begin, for all characters of a text at once, by the rules of the usual patterns.

A regular expression goes through a text step by step. Here the decision is made for all characters at once, from the
class of each character and of its two neighbours. A few rules need more than that, and examine a few positions only.

- `gpt2_starts`: words of letters, of numbers or of symbols, each with the blank before it; contractions; white space.
- `gpt4_starts` (cl100k, Llama 3, Qwen2): a word of letters may begin with any one symbol or blank; groups of digits;
  line ends belong to the symbols before them, and divide white space.
- boundaries_o200k.py adds the rules for upper and lower case. It shares `general_starts` with GPT-4.

Each function takes `classes` and `codes`, (n,) each, and returns (n,) bool: whether a word begins at each character.
n is at least 1. There may be several texts, with a character of the class EDGE between two of them. `firsts`, (texts,),
are the positions where the texts begin. A character "leads" a word if it is the first character of the word, but of
another class than the rest, like the blank in " dog".
"""

from __future__ import annotations

import numpy as np

from tokenizer.arrays.ragged import position_in_run
from tokenizer.split.text_arrays import LONG_S
from tokenizer.split.unicode import BLANK, EDGE, MARK, NEWLINE, NUMBER, SPACE, SYMBOL

WORD = MARK  # all that can be in a word of letters has this class or a lower one
APOSTROPHE = ord("'")


def neighbours(classes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three views, (n,) each: the class before each character, its own, and the one after it."""
    padded = np.empty(len(classes) + 2, np.uint8)
    padded[0] = padded[-1] = EDGE
    padded[1:-1] = classes
    return padded[:-2], padded[1:-1], padded[2:]


def choose(condition: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """np.where for three arrays of bool, but 40 times as fast, because it has no branch for each element."""
    return condition & yes | ~condition & no


# GPT-2


def gpt2_starts(classes: np.ndarray, codes: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    before, here, after = neighbours(classes)
    starts = (here != before) & (before != BLANK)  # a run of one class is a word, and so is a blank with such a run
    # White space is one word, but if something follows, its last character begins a new word.
    at_edge = (before < SPACE) | (after < SPACE)
    starts = choose(here >= SPACE, at_edge, starts)
    starts[firsts] = True
    leading = np.flatnonzero((codes == APOSTROPHE) & starts)
    positions, lengths = contractions(leading, codes, any_case=False)
    starts[positions + 1] = False
    begin_words(starts, positions + lengths)
    return starts


def contractions(apostrophes: np.ndarray, codes: np.ndarray, *, any_case: bool) -> tuple[np.ndarray, np.ndarray]:
    """The positions among `apostrophes` where one of 's 't 'd 'm 'll 've 're begins, and its length, (k,) each."""
    if not len(apostrophes):
        return apostrophes, apostrophes
    if apostrophes[-1] + 2 >= len(codes):
        codes = np.append(codes, [0, 0])  # so that there are two characters after the last apostrophe
    first, second = codes[apostrophes + 1], codes[apostrophes + 2]
    if any_case:
        first, second = lower(first), lower(second)
    short = sum(first == letter for letter in b"sdmt") > 0
    long = sum((first == a) & (second == b) for a, b in (b"ll", b"ve", b"re")) > 0
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
    """`max_digits`: the most digits of a word. `whole_end`: white space at the end of a text is one word, even with
    line ends."""
    starts = general_starts(classes, firsts, max_digits, whole_end=whole_end)
    leading = np.flatnonzero((codes == APOSTROPHE) & starts)
    positions, lengths = contractions(leading, codes, any_case=True)
    begin_words(starts, positions + lengths)
    return starts


def general_starts(classes: np.ndarray, firsts: np.ndarray, max_digits: int, *, whole_end: bool) -> np.ndarray:
    """All rules except contractions. Letters have the class WORD or a lower one."""
    before, here, after = neighbours(classes)
    # A word begins where the class changes, unless the character before leads the word. The values of the classes,
    #     WORD 3, SYMBOL 4, NUMBER 5, NEWLINE 6, SPACE 7, BLANK 8,
    # are such that one comparison answers that: `before` leads `here` if before > here + 3. So SPACE and BLANK lead
    # letters (> 6), only BLANK leads symbols (> 7), and nothing leads numbers (> 8).
    starts = (here != before) & (before <= here + np.uint8(3))
    # White space without line ends: words begin at its first character, and at its last one if something follows.
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
        ends = np.append(firsts[1:] - 1, len(here)) if whole_end else None
        divide_lines(starts, newlines, (before, here, after), ends)
    return starts


def divide_lines(
    starts: np.ndarray,
    newlines: np.ndarray,
    classes: tuple[np.ndarray, np.ndarray, np.ndarray],
    ends: np.ndarray | None,
) -> None:
    """Correct `starts` around line ends, which are at the positions `newlines`. `classes` are those of `neighbours`.

    Line ends right after symbols belong to the symbols. Other white space up to its last line end is one word. So is
    all white space before the `ends` of texts, if they are given.
    """
    before, here, after = classes
    left, right = before.take(newlines), after.take(newlines)
    starts[newlines[left == SYMBOL]] = False
    # The question that remains: does a word begin at the space or blank after a line end? It does if the line end
    # belongs to symbols, or if no other line end follows in the same white space.
    indented = np.flatnonzero((right == SPACE) | (right == BLANK))
    if not len(indented):
        return
    # All line ends of a run belong to symbols if the first one does.
    is_first = left != NEWLINE
    run = np.cumsum(is_first) - 1  # for each line end, the index of its run
    after_symbols = (left[is_first] == SYMBOL).take(run.take(indented))
    is_white = np.append((here >= NEWLINE) & (here != EDGE), False)
    continues = np.logical_and.reduceat(is_white, newlines)  # nothing but white space up to the next line end
    if ends is not None:  # white space from the last line end of a text to the end of the text continues too
        latest = np.searchsorted(newlines, ends) - 1
        latest, ends = latest[latest >= 0], ends[latest >= 0]
        ranges = np.stack([newlines[latest], ends], axis=1)
        is_all_white = np.logical_and.reduceat(is_white, ranges.ravel())[::2]  # without what is between two ranges
        continues[latest[is_all_white]] = True
    starts[newlines.take(indented)[after_symbols | ~continues.take(indented)] + 1] = True
