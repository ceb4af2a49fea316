r"""Where words begin in the pattern of GPT-4o (o200k_base). It is that of GPT-4 with three more rules:

- A word of letters may also contain marks (accents that are separate characters). It ends where lower case changes to
  upper case: "helloWorld" is two words. Letters without case can be on both sides of the change.
- A contraction belongs to the word before it: "it's" is one word.
- Slashes after symbols and line ends belong to the symbols, as line ends do.

Each rule is applied by changing the classes of some characters. Then the rules of GPT-4 find the words.
"""

from __future__ import annotations

import numpy as np

from tokenizer.arrays.ragged import position_in_run
from tokenizer.split.boundaries import APOSTROPHE, WORD, contractions, general_starts, neighbours
from tokenizer.split.unicode import BLANK, CASELESS, LOWER, MARK, NEWLINE, SYMBOL, UPPER

SLASH = ord("/")
SUFFIX = 0  # the class of a contraction in general_starts; it is not WORD, so that letters after it begin a new word


def o200k_starts(classes: np.ndarray, codes: np.ndarray, firsts: np.ndarray) -> np.ndarray | None:
    """None if slashes and marks depend on each other. Only the regular expression can split such a text.

    It has a line that ends with a symbol, a line that begins with a slash, and a mark after another symbol, as in some
    emoji.
    """
    marks = marks_among_symbols(classes)
    classes = classes.copy()
    classes[marks] = SYMBOL
    slashes = slashes_among_lines(classes, codes)
    classes[slashes] = NEWLINE
    if len(marks) and len(slashes):
        return None

    positions, lengths = suffixes(classes, codes)
    inside = np.concatenate([positions, positions + 1, positions[lengths == 3] + 2])
    classes[inside] = SYMBOL  # no longer letters
    # All letters and marks become WORD. (np.maximum of two arrays is ten times as fast as with a number.)
    general = np.maximum(classes, np.full_like(classes, WORD))
    general[inside] = SUFFIX
    starts = general_starts(general, firsts, max_digits=3, whole_end=False)
    starts[positions] = False
    starts[case_changes(classes)] = True
    return starts


def marks_among_symbols(classes: np.ndarray) -> np.ndarray:
    """The positions of the marks that count as symbols.

    In the pattern one symbol may lead a word of letters, even if the word is only a mark. So "❤️❤️" (twice a heart and
    the mark that colours it) is two words. But a word of symbols, which begins with a blank or with two symbols, also
    contains the marks that follow.
    """
    if not (classes == MARK).any():
        return np.empty(0, np.intp)
    before, here, after = neighbours(classes)
    positions = np.flatnonzero((here == SYMBOL) | (here == MARK))
    before, here, after = before[positions], here[positions], after[positions]
    is_first = (before != SYMBOL) & (before != MARK)
    begins_symbols = (here == SYMBOL) & ((before == BLANK) | (after == SYMBOL))
    return positions[(here == MARK) & happened_in_run(begins_symbols, is_first)]


def slashes_among_lines(classes: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The positions of the slashes that count as line ends: those after a line end that follows a symbol."""
    before, here, _ = neighbours(classes)
    slash = codes == SLASH
    if not (slash & (before == NEWLINE)).any():
        return np.empty(0, np.intp)
    positions = np.flatnonzero(slash | (here == NEWLINE))
    ends_symbols = (here == NEWLINE) & (before == SYMBOL)
    is_first = np.diff(positions, prepend=-2) > 1
    return positions[slash[positions] & happened_in_run(ends_symbols[positions], is_first)]


def happened_in_run(event: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    """For each element, whether there is an `event` at it or before it in its run. (k,) bool each.

    `is_first` is True where a run begins.
    """
    index = np.arange(len(event))
    latest = np.maximum.accumulate(np.where(event, index, -1))
    return latest >= index - position_in_run(is_first)


def suffixes(classes: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and lengths of the contractions that end words."""
    apostrophes = np.flatnonzero(codes[1:] == APOSTROPHE) + 1
    after_letters = apostrophes[classes.take(apostrophes - 1) <= WORD]
    positions, lengths = contractions(after_letters, codes, any_case=True)
    if len(positions):
        # After a contraction an apostrophe leads a new word, which may end with a contraction again: in "x's's's" the
        # first and the third are suffixes.
        is_first = np.append(True, positions[1:] != positions[:-1] + lengths[:-1])
        is_suffix = position_in_run(is_first) % 2 == 0
        positions, lengths = positions[is_suffix], lengths[is_suffix]
    return positions, lengths


def case_changes(classes: np.ndarray) -> np.ndarray:
    """The positions of the upper-case letters that begin a word inside a run of letters and marks.

    These follow a lower-case letter, perhaps with marks or caseless letters between. Or they follow a caseless letter
    or a mark, and nothing but upper case comes after them: the first alternative of the pattern ends a word at the last
    character that can be lower case.
    """
    before, here, _ = neighbours(classes)
    upper = here == UPPER
    after_lower = np.flatnonzero(upper & (before == LOWER))
    undecided = np.flatnonzero(upper & ((before == CASELESS) | (before == MARK)))
    if not len(undecided):
        return after_lower
    cased = np.flatnonzero((here != CASELESS) & (here != MARK))
    previous = np.searchsorted(cased, undecided) - 1
    was_lower = (previous >= 0) & (here[cased[previous]] == LOWER)
    other = np.append(np.flatnonzero(~upper), len(here))
    following = other[np.searchsorted(other, undecided)]
    is_at_end = np.append(here, SYMBOL)[following] > WORD
    return np.concatenate([after_lower, undecided[was_lower | is_at_end]])
