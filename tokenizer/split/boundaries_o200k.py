r"""Where words begin in the pattern of GPT-4o (o200k_base). It is that of GPT-4, and besides:

- A word of letters may also hold marks (accents that are characters of their own), and ends before a change from lower
  to upper case: "helloWorld" is two words. Letters without case go with either.
- A contraction ends the word before it: "it's" is one word.
- Slashes, like line ends, belong to the symbols and line ends before them.

The three are found one after the other and expressed by changing classes, until the rules of GPT-4 do the rest.
"""

from __future__ import annotations

import numpy as np

from tokenizer.split.boundaries import APOSTROPHE, WORD, contractions, general_starts, neighbours, place_in_run
from tokenizer.split.unicode import BLANK, CASELESS, LOWER, MARK, NEWLINE, SYMBOL, UPPER

SLASH = ord("/")
SUFFIX = 0  # for general_starts: a class that nothing leads and that leads nothing


def o200k_starts(classes: np.ndarray, codes: np.ndarray, firsts: np.ndarray) -> np.ndarray | None:
    """None where slashes and marks depend on each other, which is left to the expression: it needs a line that ends
    in a symbol, a line that begins with a slash, and a mark after another symbol, as in an emoji."""
    marks = marks_among_symbols(classes)
    classes = classes.copy()
    classes[marks] = SYMBOL
    slashes = slashes_among_lines(classes, codes)
    classes[slashes] = NEWLINE
    if len(marks) and len(slashes):
        return None

    places, lengths = suffixes(classes, codes)
    inside = np.concatenate([places, places + 1, places[lengths == 3] + 2])
    classes[inside] = SYMBOL  # no letters any more
    kinds = np.maximum(classes, np.full_like(classes, WORD))  # with a number instead of an array ten times as slow
    kinds[inside] = SUFFIX
    starts = general_starts(kinds, firsts, digits=3, whole_end=False)
    starts[places] = False
    starts[case_changes(classes)] = True
    return starts


def marks_among_symbols(classes: np.ndarray) -> np.ndarray:
    """Places of the marks that are symbols. The pattern lets one symbol lead a word, even if the word is but a mark, so
    each of "❤️❤️" (a heart and the mark that colours it, twice) is a word. But once a symbol has begun a word of
    symbols, because a blank leads it or another symbol follows, marks are taken as well.
    """
    if not (classes == MARK).any():
        return np.empty(0, np.intp)
    before, here, after = neighbours(classes)
    places = np.flatnonzero((here == SYMBOL) | (here == MARK))
    before, here, after = before[places], here[places], after[places]
    first = (before != SYMBOL) & (before != MARK)
    opening = (here == SYMBOL) & ((before == BLANK) | (after == SYMBOL))
    return places[(here == MARK) & happened_in_run(opening, first)]


def slashes_among_lines(classes: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Places of the slashes that are like line ends: those after a line end that is itself after a symbol."""
    before, here, _ = neighbours(classes)
    slash = codes == SLASH
    if not (slash & (before == NEWLINE)).any():
        return np.empty(0, np.intp)
    either = slash | (here == NEWLINE)
    places = np.flatnonzero(either)
    opening = (here == NEWLINE) & (before == SYMBOL)
    first = np.diff(places, prepend=-2) > 1
    return places[slash[places] & happened_in_run(opening[places], first)]


def happened_in_run(event: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Whether there was an `event` since the latest `first` (the first of a run), now included. All (k,) bool."""
    place = np.arange(len(event))
    latest = np.maximum.accumulate(np.where(event, place, -1))
    return latest >= place - place_in_run(first)


def suffixes(classes: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places and lengths of the contractions that end words. After one, an apostrophe leads a new word, which may end
    with a contraction again: of "'s's's" after a word, the first and third are meant."""
    apostrophes = np.flatnonzero(codes[1:] == APOSTROPHE) + 1
    after_letters = apostrophes[classes.take(apostrophes - 1) <= WORD]
    places, lengths = contractions(after_letters, codes, any_case=True)
    if len(places):
        first = np.append(True, places[1:] != places[:-1] + lengths[:-1])
        odd = place_in_run(first) % 2 == 0
        places, lengths = places[odd], lengths[odd]
    return places, lengths


def case_changes(classes: np.ndarray) -> np.ndarray:
    """Places of the upper case letters that begin a word within a run of letters and marks: after a lower case letter,
    and maybe marks or letters without case. Or after one without case if nothing but upper case follows, since the
    pattern wants a word to end in what can be lower case, if there is any such letter to end it."""
    before, here, _ = neighbours(classes)
    upper = here == UPPER
    after_lower = np.flatnonzero(upper & (before == LOWER))
    unsure = np.flatnonzero(upper & ((before == CASELESS) | (before == MARK)))
    if not len(unsure):
        return after_lower
    cased = np.flatnonzero((here != CASELESS) & (here != MARK))
    previous = np.searchsorted(cased, unsure) - 1
    was_lower = (previous >= 0) & (here[cased[previous]] == LOWER)
    other = np.append(np.flatnonzero(~upper), len(here))
    following = other[np.searchsorted(other, unsure)]
    at_end = np.append(here, SYMBOL)[following] > WORD
    return np.concatenate([after_lower, unsure[was_lower | at_end]])
