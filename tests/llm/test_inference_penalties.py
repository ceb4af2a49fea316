"""Penalties, bias and banned words: each against its definition, and the logits that are given are left alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.inference import penalties as p
from tests.llm.rows import logit_rows

TEXTS = st.lists(st.integers(0, 11), max_size=8)
NUMBERS = st.sampled_from([-100.0, -0.75, 0.5, 2.0])


def unchanged(function: Callable[..., np.ndarray], row: np.ndarray, *arguments: Any) -> np.ndarray:
    """What the function returns, after a look at the row that it got."""
    before = row.copy()
    after = function(row, *arguments)
    np.testing.assert_array_equal(row, before)
    return after


def within(text: list[int], row: np.ndarray) -> list[int]:
    """The text with ids that the row has."""
    return [i % len(row) for i in text]


@given(logit_rows(), TEXTS, st.sampled_from([0.5, 1.0, 1.2, 3.0]))
def test_repetition_penalty(row: np.ndarray, text: list[int], penalty: float) -> None:
    """A token counts once, however often it occurs."""
    text = within(text, row)
    expected = [x if i not in text else x / penalty if x > 0 else x * penalty for i, x in enumerate(row)]
    np.testing.assert_array_equal(unchanged(p.penalize_repetition, row, text, penalty), expected)


@given(logit_rows(), TEXTS, NUMBERS)
def test_frequency_penalty(row: np.ndarray, text: list[int], penalty: float) -> None:
    text = within(text, row)
    expected = [x - penalty * text.count(i) for i, x in enumerate(row)]
    np.testing.assert_array_equal(unchanged(p.penalize_frequency, row, text, penalty), expected)


@given(logit_rows(), TEXTS, NUMBERS)
def test_presence_penalty(row: np.ndarray, text: list[int], penalty: float) -> None:
    text = within(text, row)
    expected = [x - penalty if i in text else x for i, x in enumerate(row)]
    np.testing.assert_array_equal(unchanged(p.penalize_presence, row, text, penalty), expected)


@given(logit_rows(), st.dictionaries(st.integers(0, 11), st.one_of(NUMBERS, st.just(-math.inf))))
def test_bias(row: np.ndarray, bias: dict[int, float]) -> None:
    bias = {i: number for i, number in bias.items() if i < len(row)}
    expected = [x + bias.get(i, 0) for i, x in enumerate(row)]
    np.testing.assert_array_equal(unchanged(p.add_bias, row, tuple(bias.items())), expected)


def bans(ban_words: Callable[..., np.ndarray], row: np.ndarray, text: list[int], words: list[list[int]]) -> bool:
    """A token is forbidden exactly if the text would end with one of the words after it."""
    after = ban_words(row, text, words)
    forbidden = [any([*text, i][-len(word) :] == list(word) for word in words) for i in range(len(row))]
    return np.array_equal(after, np.where(forbidden, -math.inf, row))


@given(st.lists(st.integers(0, 2), max_size=6), st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4)))
def test_banned_words(text: list[int], words: list[list[int]]) -> None:
    """Of three tokens, so that words often begin at the end of the text, and overlap."""
    row = np.array([0.5, -1.0, 2.0])
    assert bans(p.ban_words, row, text, words)
    assert bans(p.ban_words, row, text, [tuple(word) for word in words])  # as Sampling has them
    np.testing.assert_array_equal(row, [0.5, -1.0, 2.0])


@pytest.mark.control
def test_broken_bans_are_noticed() -> None:
    """All tokens of a word forbidden everywhere, or the last one after any of the others."""
    row, word = np.zeros(3), [1, 2]
    everywhere = lambda row, text, words: np.where(np.isin(range(len(row)), sum(words, [])), -math.inf, row)
    after_any = lambda row, text, words: p.ban_words(row, text, [w[-2:] for w in words])
    assert not bans(everywhere, row, [0], [word])
    assert not bans(after_any, row, [1], [[0, 1, 2]])


@given(logit_rows(), TEXTS)
def test_with_a_value_that_changes_nothing_the_row_itself_comes_back(row: np.ndarray, text: list[int]) -> None:
    text = within(text, row)
    neutral = [
        p.add_bias(row, ()), p.penalize_repetition(row, text, 1.0), p.penalize_repetition(row, [], 2.0),
        p.penalize_frequency(row, text, 0.0), p.penalize_frequency(row, [], 2.0),
        p.penalize_presence(row, text, 0.0), p.penalize_presence(row, [], 2.0), p.ban_words(row, text, ()),
    ]  # fmt: skip
    assert all(same is row for same in neutral)
