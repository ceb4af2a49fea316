"""For tests of `clean`: inputs, and a few rules and edits in the place of those of llm/data/lab/rules.

`install()` puts them there, for a program that a test starts.
"""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import strategies as st

from llm.data.lab import clean
from llm.data.lab.pipeline import Step
from llm.data.lab.verdict import Edited, Verdict


def mask_digits(text: str) -> Edited:
    count = sum(letter.isdecimal() for letter in text)
    return Edited("".join("0" if letter.isdecimal() else letter for letter in text), {"digit": count} if count else {})


def long_enough(text: str) -> Verdict:
    return Verdict(len(text) >= 5, "short", len(text), 5)


def few_capitals(text: str) -> Verdict:
    share = sum(letter.isupper() for letter in text) / len(text)
    return Verdict(share <= 0.5, "shouting", share, 0.5)


def without_marks(text: str) -> Edited:
    return Edited(text.replace("!", ""), {"mark": text.count("!")} if "!" in text else {})


STEPS: list[Step] = [mask_digits, long_enough, few_capitals, without_marks]


def find_steps(*_: object) -> list[Step]:
    return STEPS


def install() -> None:
    clean.find_steps = find_steps  # type: ignore[assignment]


# Texts of which some are kept and some are dropped, for each reason; and lines that are problems.
texts = st.text("abcXYZ12! \né", min_size=1, max_size=12).filter(str.strip)
lines = texts.map(lambda text: json.dumps({"text": text, "n": 1})) | st.sampled_from(["{", '{"text": ""}', '{"n": 2}'])
files = st.lists(st.lists(lines, max_size=8), min_size=1, max_size=4)


def put(folder: Path, files: list[list[str]]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, file in enumerate(files):
        (folder / f"{number}.jsonl").write_text("".join(line + "\n" for line in file))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files. The names of the input files are parts of rows: so inputs are always in the same place."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def options(inputs: Path, out: Path, **more) -> clean.Clean:
    return clean.Clean((str(inputs),), str(out), **more)
