"""Exercises: right answers, parts that share no question, files that can be written again."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.tuning.exercises import (
    KINDS,
    Exercises,
    Part,
    arithmetic,
    exercises,
    part_of,
    places,
    spelling,
    text,
    words,
    write_exercises,
)

PARTS = get_args(Part)


@given(st.integers(0, 10**9), st.integers(1, 1000))
def test_the_answers_of_arithmetic_are_right(seed: int, largest: int) -> None:
    rng = random.Random(seed)
    for each in (arithmetic(rng, largest) for _ in range(20)):
        match = re.fullmatch(r"What is ((\d+)( [+-] (\d+)){1,2})\?", each.question)
        assert match is not None
        numbers = [int(number) for number in re.findall(r"\d+", each.question)]
        assert max(numbers) <= (largest if len(numbers) == 2 else 9)
        first, *others = re.findall(r"(?:[+-] )?\d+", match[1])
        assert int(each.answer) == int(first) + sum(int(term.replace(" ", "")) for term in others) >= 0


def test_words_and_places_are_those_of_the_text() -> None:
    assert len(words()) > 1000
    assert len(places()) > 5000
    known = " ".join(text().split())
    for words_before, following in places()[::500]:
        assert set(re.findall(rf"(?<!\w){words_before} ([a-z]{{3,9}})\b", known)) == {following}
    rng = random.Random(0)
    for each in (spelling(rng, 20) for _ in range(20)):
        assert each.question == f"Spell the word {each.answer.replace(' ', '')}."


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_parts_share_no_question(seed: int, other: int) -> None:
    chosen = [{each.question for each in exercises(["arithmetic", "spelling"], 40, s, part)}
              for s, part in zip((seed, other, seed), PARTS)]  # fmt: skip
    assert [len(each) for each in chosen] == [40] * 3
    assert not (chosen[0] & chosen[1] or chosen[0] & chosen[2] or chosen[1] & chosen[2])


def test_each_part_has_its_share_and_a_sum_is_in_the_part_of_its_reverse() -> None:
    assert all(part_of(f"What is {a} + {b}?") == part_of(f"What is {b} + {a}?") for a in range(9) for b in range(a))
    counts = dict.fromkeys(PARTS, 0)
    for i in range(5000):
        counts[part_of(f"question {i}")] += 1
    # Five standard deviations of a share of 5000.
    np.testing.assert_allclose([counts[part] / 5000 for part in PARTS], [0.5, 0.3, 0.2], atol=5 * 0.5 / 5000**0.5)


def test_the_same_seed_writes_the_same_file(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_exercises(tmp_path / name, exercises(list(KINDS), 31, seed, "tuning"))
    a, b, c = ((tmp_path / name).read_text() for name in "abc")
    assert a == b != c
    rows = [json.loads(line) for line in a.splitlines()]
    assert sorted(row["kind"] for row in rows) == sorted(["arithmetic"] * 11 + ["spelling"] * 10 + ["facts"] * 10)
    assert all(row.keys() == {"question", "answer", "kind"} for row in rows)


def test_what_is_not_possible_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--kind sums is not known; choose some of arithmetic,spelling,facts"):
        exercises(["sums"], 10, 0, "tuning")
    with pytest.raises(ValueError, match="there are not 2000 different exercises of the kind arithmetic"):
        exercises(["arithmetic"], 2000, 0, "tuning", largest=1)
    with pytest.raises(ValueError, match="there are not 1000000000000 different exercises"):  # said at once
        exercises(["arithmetic"], 10**12, 0, "tuning", largest=1)
    with pytest.raises(ValueError, match="there is no folder"):
        Exercises(out="nowhere/exercises.jsonl", count=3).start()
    with pytest.raises(ValueError, match="expected at least one kind"):
        exercises(["arithmetic", "spelling"], 1, 0, "tuning")
