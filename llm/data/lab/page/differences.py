"""Two texts side by side, with the words marked that only one of them has."""

from __future__ import annotations

import os
import re
from difflib import SequenceMatcher

from llm.data.lab.page.html import Html, element, join

WORDS = re.compile(r"\S+\s*|\s+")
SHOWN = 900  # characters of each text
BEFORE = 150  # characters before the first difference


def side_by_side(first: str, second: str) -> tuple[Html, Html]:
    """Both texts, from a little before their first difference on."""
    same = len(os.path.commonprefix([first, second]))
    begin = 0 if same <= SHOWN // 2 else max(first.rfind(" ", 0, same - BEFORE), 0)
    a, b = WORDS.findall(first[begin : begin + SHOWN]), WORDS.findall(second[begin : begin + SHOWN])
    left: list[object] = [] if begin == 0 else ["… "]
    right = [*left]
    # `isjunk` and the heuristic of frequent words are for speed; these texts are short.
    for kind, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for side, words, name in ((left, a[i:j], "del"), (right, b[k:m], "ins")):
            part = "".join(words)
            # The space after the last word is not marked.
            marked = "" if kind == "equal" else part.rstrip()
            side += [element(name, marked) if marked else None, part[len(marked) :]]
    for side, text in ((left, first), (right, second)):
        if len(text) > begin + SHOWN:
            side.append(" …")
    return join(*left), join(*right)
