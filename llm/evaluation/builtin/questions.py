"""Arithmetic and spelling. llm/tuning/exercises.py asks such questions too, for models that learn to answer."""

from __future__ import annotations

from random import Random

from llm.evaluation.builtin.groups import Group, questions
from llm.evaluation.builtin.words import NOUNS, plural

CHOICES = 4
LARGEST = 50  # number in a sum
SPELL = ("Spell the word {}.", "The letters of {} are", "The word {} is spelled", "{}:")
WORDS = [*NOUNS, *map(plural, NOUNS)]
ALIKE = [[word for word in WORDS if len(word) == length] for length in range(4, 11)]  # 13 and more of each length


def draw_sum(rng: Random, largest: int) -> tuple[str, int]:
    """A sum or difference of two numbers, or of three digits, and its result, which is not negative."""
    while True:
        numbers = [rng.randint(0, n) for n in rng.choice([(largest, largest), (9, 9, 9)])]
        signs = [1, *(rng.choice((1, -1)) for _ in numbers[1:])]
        result = sum(sign * number for sign, number in zip(signs, numbers, strict=True))
        if result >= 0:
            terms = [f"{'+' if sign > 0 else '-'} {number}" for sign, number in zip(signs, numbers, strict=True)]
            return " ".join(terms).removeprefix("+ "), result


def arithmetic(rng: Random) -> Group:
    """The choices are numbers in a row, so that their size says nothing."""
    found: dict[int, str] = {}
    while True:
        text, result = draw_sum(rng, LARGEST)
        found.setdefault(result, f"{text} =")
        rows = [range(first, first + CHOICES) for first in range(result - CHOICES + 1, result + 1)]
        if (row := next((row for row in rows if found.keys() >= {*row}), None)) is not None:
            return questions([found[each] for each in row], list(map(str, row)))


def spelling(rng: Random) -> Group:
    """Words of the same length, so that counting letters does not help."""
    template = rng.choice(SPELL)
    chosen = rng.sample([word for word in rng.choice(ALIKE) if word not in template], CHOICES)
    return questions([template.format(word) for word in chosen], list(map(spelled, chosen)))


def spelled(word: str) -> str:
    return " ".join(word)
