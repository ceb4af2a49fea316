"""All rules and edits by name, each with its source and threshold, and the presets made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from textwrap import wrap

from llm.data.lab.rules.c4 import C4_IN_FINEWEB, C4_QUALITY, PARAGRAPHS
from llm.data.lab.rules.encoding import NFC, NFKC, REPAIR, REPLACEMENTS
from llm.data.lab.rules.fineweb import FINEWEB_QUALITY
from llm.data.lab.rules.gopher import GOPHER_QUALITY
from llm.data.lab.rules.language import LANGUAGES, language
from llm.data.lab.rules.personal import EMAIL, EXAMPLE_EMAIL, EXAMPLE_IP, PHONE, PUBLIC_IP
from llm.data.lab.rules.repetition import EMPTY, GOPHER_REPETITION
from llm.data.lab.rules.steps import Limit, Step

PREPARE: list[Step] = [REPLACEMENTS, REPAIR, NFC]
PERSONAL: list[Step] = [EMAIL, PHONE, PUBLIC_IP]
ENGLISH = language("en")

_FINEWEB: list[Step] = [EMPTY, ENGLISH, *GOPHER_REPETITION, *GOPHER_QUALITY, *C4_IN_FINEWEB, *FINEWEB_QUALITY]

# Repetition comes before quality, as in FineWeb; before all what makes the text readable, after all the masks.
PRESETS: dict[str, list[Step]] = {
    "gopher": [*PREPARE, *GOPHER_REPETITION, *GOPHER_QUALITY, *PERSONAL],
    "c4": [*PREPARE, EMPTY, *C4_QUALITY, *PERSONAL],
    "fineweb": [*PREPARE, *dict.fromkeys(_FINEWEB), *PERSONAL],  # each step once
    # Parts of these, to be taken alone.
    "repair": PREPARE,
    "gopher_repetition": [*GOPHER_REPETITION],
    "gopher_quality": [*GOPHER_QUALITY],
    "personal": PERSONAL,
}
_ALL: list[Step] = [
    *PREPARE, NFKC, ENGLISH, *GOPHER_REPETITION, *GOPHER_QUALITY, *C4_QUALITY, PARAGRAPHS, *FINEWEB_QUALITY, *PERSONAL,
    EXAMPLE_EMAIL, EXAMPLE_IP,
]  # fmt: skip
STEPS: dict[str, Step] = {step.name: step for step in _ALL}


def find_steps(names: Sequence[str]) -> list[Step]:
    """The steps of presets, rules and edits, by their names, in order. "language:de" is the rule for German."""
    steps: list[Step] = []
    for name in names:
        rule, colon, code = name.partition(":")
        if name in PRESETS:
            steps += PRESETS[name]
        elif name in STEPS:
            steps.append(STEPS[name])
        elif colon and rule == ENGLISH.name:
            steps.append(language(code))
        else:
            known = f"a preset ({', '.join(PRESETS)}), a rule or an edit{nearest(name, [*PRESETS, *STEPS])}"
            raise ValueError(f"there is no rule {name!r}, expected {known}; --rules lists all of them")
    return steps


def nearest(name: str, names: Iterable[str]) -> str:
    """The names that are most like a wrong one, for a message."""
    found = get_close_matches(name, list(names), cutoff=0.5)
    return f"; the nearest names are {', '.join(found)}" if found else ""


def describe() -> str:
    """The table of all rules and edits, each with what it measures or edits, and what the presets are made of."""
    rows = [
        (
            step.name,
            f"{step.bound} {step.threshold:,g}" if isinstance(step, Limit) else "edits",
            step.source,
            step.about,
        )
        for step in STEPS.values()
    ]
    lines = [f"{name:30s} {bound:20s} {source}\n    {about}" for name, bound, source, about in rows]
    lines += ["", f"language:CODE is the rule for another language than English: {', '.join(LANGUAGES)}"]
    for name, steps in PRESETS.items():
        lines += ["", *wrap(f"{name}: {', '.join(step.name for step in steps)}", 100, subsequent_indent="    ")]
    return "\n".join(lines)
