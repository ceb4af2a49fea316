"""The rules and edits for raw text, each a pure function: text -> Verdict, or text -> Edited.

    for step in PRESETS["gopher"]:           # or STEPS["gopher_short_doc"], find_steps(["gopher", "language"])
        outcome = step(text)
        if isinstance(outcome, Verdict):
            if not outcome.kept: break       # outcome.rule, outcome.number, outcome.threshold say why
        else:
            text = outcome.text              # outcome.counts says what was edited

To read in order:

1. steps.py       what a rule and an edit are: a measure with a threshold; a change with a name
2. split.py       words as numbers; sentences.py: how many sentences
3. gopher.py      quality: numbers of words, marks and lines
4. repetition.py  lines, paragraphs and n-grams that say the same again; ngrams.py: counted plainly, and fast
5. c4.py          lines that are no sentences, texts that are no prose
6. fineweb.py     texts that are lists
7. language.py    which language a text is in
8. encoding.py    wrong decoding repaired, Unicode's normal forms
9. personal.py    e-mail addresses, phone numbers and addresses of machines masked
10. words.py      a list of unwanted words that the user gives
11. table.py      all of them by name, and the presets
"""

from __future__ import annotations

from llm.data.lab.rules.steps import Change, Limit, Step
from llm.data.lab.rules.table import PRESETS, STEPS, describe, find_steps

__all__ = ["PRESETS", "STEPS", "Change", "Limit", "Step", "describe", "find_steps"]
