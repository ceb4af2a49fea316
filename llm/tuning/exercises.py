"""Questions that a program makes and whose answers a program can check, as JSON lines:

    {"question": "What is 17 + 5?", "answer": "22", "kind": "arithmetic"}

    arithmetic    sums and differences of two numbers, or of three digits
    spelling      the letters of a word of the text
    facts         the word that follows five others in the text, which a model knows if it has read the text

The text is the one that comes with Python (llm/data/builtin.py). Each question belongs to one of three parts: to be
tuned on, to be rewarded for, and to be tested with. Which part that is, is a function of the question alone. So files
of different parts share no question, whatever their seeds and counts.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from llm.console import say
from llm.data.builtin import python_docs
from llm.evaluation.builtin.groups import distinct
from llm.evaluation.builtin.questions import draw_sum, spelled
from tokenizer.formats.atomic import new_file

Part = Literal["tuning", "reinforcement", "held-out"]
# Where the part begins on a line from 0 to 1.
BEGINS: dict[Part, float] = {"tuning": 0.0, "reinforcement": 0.5, "held-out": 0.8}

WORD = re.compile(r"\b[a-z]{3,9}\b")
PLACE = re.compile(r"(?<!\w)(?=((?:[a-z]+ ){5})([a-z]{3,9})\b)")  # five words in a row, and the next one


@dataclass(frozen=True)
class Exercise:
    question: str
    answer: str
    kind: str


def arithmetic(rng: random.Random, largest: int) -> Exercise:
    text, result = draw_sum(rng, largest)
    return Exercise(f"What is {text}?", str(result), "arithmetic")


def spelling(rng: random.Random, largest: int) -> Exercise:
    word = rng.choice(words())
    return Exercise(f"Spell the word {word}.", spelled(word), "spelling")


def facts(rng: random.Random, largest: int) -> Exercise:
    words, following = rng.choice(places())
    return Exercise(f'Which word follows "{words}"?', following, "facts")


KINDS: dict[str, Callable[[random.Random, int], Exercise]] = {
    "arithmetic": arithmetic,
    "spelling": spelling,
    "facts": facts,
}


@cache
def words() -> list[str]:
    """The words of the text, in alphabetical order."""
    return sorted(set(WORD.findall(text())))


@cache
def places() -> list[tuple[str, str]]:
    """Five words of the text and the one that follows, where only one follows."""
    found: dict[str, set[str]] = {}
    for match in PLACE.finditer(" ".join(text().split())):
        found.setdefault(match[1].rstrip(), set()).add(match[2])
    return sorted((words, following.pop()) for words, following in found.items() if len(following) == 1)


@cache
def text() -> str:
    return "\n\n".join("".join(document) for document in python_docs().documents())


def part_of(question: str) -> Part:
    words = " ".join(sorted(re.findall(r"\w+|[^\w\s]", question)))  # 3 + 4 and 4 + 3 are in the same part
    place = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") / 2**64
    return max((part for part in get_args(Part) if BEGINS[part] <= place), key=BEGINS.__getitem__)


def exercises(kinds: Sequence[str], count: int, seed: int, part: Part, largest: int = 20) -> list[Exercise]:
    """`count` different exercises, as many of each kind. Raises ValueError if there are not so many."""
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"--kind {kind} is not known; choose some of {','.join(KINDS)}")
    if count < len(kinds) or not kinds or largest < 1:
        raise ValueError(f"expected at least one kind, one exercise of each and 1 as largest number, got {count}")
    chosen: list[Exercise] = []
    for number, kind in enumerate(kinds):
        share = count // len(kinds) + (number < count % len(kinds))
        chosen += exercises_of(kind, share, random.Random(f"{seed} {kind}"), part, largest)
    random.Random(seed).shuffle(chosen)
    return chosen


def exercises_of(kind: str, count: int, rng: random.Random, part: Part, largest: int) -> list[Exercise]:
    """`count` exercises of a kind and a part, all different."""

    def question(each: Exercise) -> str | None:
        return each.question if part_of(each.question) == part else None

    found = distinct(lambda: KINDS[kind](rng, largest), question, count)
    if len(found) == count:
        return found
    raise ValueError(
        f"there are not {count} different exercises of the kind {kind} in the part {part}, only about {len(found)}; "
        "ask for fewer, or for a larger --largest"
    )


def write_exercises(path: str | Path, chosen: Sequence[Exercise]) -> None:
    """One JSON object a line."""
    with new_file(Path(path)) as partial:
        lines = [json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in chosen]
        partial.write_text("".join(lines), encoding="utf-8")


@dataclass(frozen=True)
class Exercises:
    """Write questions with their answers to a file, JSON lines that --data of train.py reads."""

    out: str
    """The file that is written."""
    kind: str = ",".join(KINDS)
    """Kinds of questions, with commas between them; as many of each."""
    count: int = 1000
    """How many questions, all different."""
    seed: int = 0
    """Decides which questions."""
    part: Part = "tuning"
    """Questions to tune on, to be rewarded for, or to be tested with: no question is in two of these parts."""
    largest: int = 20
    """arithmetic: the largest number where there are two."""

    def start(self) -> None:
        kinds = list(dict.fromkeys(self.kind.split(",")))
        if not (folder := Path(self.out).parent).is_dir():
            raise ValueError(f"there is no folder {folder} for --out; make it first")
        write_exercises(self.out, exercises(kinds, self.count, self.seed, self.part, self.largest))
        say(f"written: {self.out}, {self.count:,} questions ({', '.join(kinds)})")
