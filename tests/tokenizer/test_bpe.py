"""Every rung of the ladder equals the textbook, on any merges and any word, and the heap keeps its promise of speed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.bpe.textbook import MergeTable, WordEncoder, merge_heap, merge_table, merge_textbook

LETTERS = [b"a", b"b", b"c"]


@st.composite
def merge_tables(draw: st.DrawFn) -> MergeTable:
    """Any merges over three letters, learned in an order that makes sense or in none at all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tokens, merges = list(LETTERS), []
    for _ in range(draw(st.integers(0, 12))):
        pair = (int(rng.integers(len(tokens))), int(rng.integers(len(tokens))))
        joined = tokens[pair[0]] + tokens[pair[1]]
        if pair not in merges:
            merges.append(pair)
            tokens += [joined] * (joined not in tokens)
    order = rng.permutation(len(merges)) if draw(st.booleans()) else range(len(merges))
    return merge_table(tokens, [merges[i] for i in order])


words = st.lists(st.integers(0, 2), max_size=60)


def check_rung(rung: Callable[[list[int], MergeTable], list[int]]) -> None:
    @settings(max_examples=40 * settings().max_examples)
    @given(words, merge_tables())
    def equals_the_textbook(word: list[int], table: MergeTable) -> None:
        assert rung(word, table) == merge_textbook(word, table)

    equals_the_textbook()


def test_the_heap_equals_the_textbook() -> None:
    check_rung(merge_heap)


def test_a_merge_from_the_right_is_caught() -> None:
    def from_the_right(word: list[int], table: MergeTable) -> list[int]:
        return merge_textbook(word[::-1], {pair[::-1]: merge for pair, merge in table.items()})[::-1]

    with pytest.raises(AssertionError):
        check_rung(from_the_right)


def test_the_textbook_on_a_word_worked_out_by_hand() -> None:
    tokens = [b"a", b"b", b"ab", b"aa", b"abab"]
    table = merge_table(tokens, [(0, 1), (0, 0), (2, 2)])
    assert merge_textbook([0, 0, 0, 1, 0, 1], table) == [3, 4]  # aa|abab: ab before aa, then abab
    assert merge_textbook([0, 0, 0], table) == [3, 0]  # the leftmost first
    assert merge_textbook([], table) == []


# The word encoder

BYTE_IDS = list(range(256))
AB = merge_table([bytes([byte]) for byte in range(256)] + [b"ab", b"abab"], [(97, 98), (256, 256)])


@given(st.lists(st.text("ab\udc80é", max_size=100), max_size=30), st.integers(1, 4))
def test_what_is_remembered_changes_nothing(texts: list[str], size: int) -> None:
    encoder = WordEncoder(BYTE_IDS, AB, size)
    expected = [merge_textbook(text.encode("utf-8", "surrogateescape"), AB) for text in texts]
    assert [list(encoder[text]) for text in texts] == expected
    assert encoder.encode(texts) == sum(expected, [])
    assert len(encoder) <= size


def test_a_remembered_word_is_not_worked_out_again() -> None:
    encoder = WordEncoder(BYTE_IDS, AB)
    assert encoder["abab"] == (257,)
    encoder.table = {}
    assert encoder["abab"] == (257,)
    assert encoder["ab"] == (97, 98)


# Speed, in steps and not in seconds


class CountingTable(dict):
    """A merge table that counts how often it is asked."""

    steps = 0

    def get(self, *args: object) -> object:
        self.steps += 1
        return super().get(*args)

    def __contains__(self, key: object) -> bool:
        self.steps += 1
        return super().__contains__(key)


def steps(rung: Callable, n: int) -> int:
    tokens = [b"a" * length for length in range(1, 65)]
    table = CountingTable(merge_table(tokens, [(i, i) for i in range(32)] + [(i, 0) for i in range(1, 32)]))
    rung([0] * n, table)
    return table.steps


def test_a_long_word_takes_steps_in_proportion_to_its_length() -> None:
    assert steps(merge_heap, 4000) < 2.1 * steps(merge_heap, 2000) < 2.1 * 10 * 2000


def test_the_step_count_catches_quadratic_work() -> None:
    assert steps(merge_textbook, 400) > 3.5 * steps(merge_textbook, 200)


def test_merges_never_make_a_special_token() -> None:
    with pytest.raises(KeyError):
        merge_table([b"a", b"b", b"ab"], [(0, 1)], {b"a": 0, b"b": 1})
