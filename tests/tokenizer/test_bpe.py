"""The heap and the cache give the ids of the definition, for any merges and any word; the heap in n log n steps. The
tokenizer learns and encodes as the textbook."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import Tokenizer
from tokenizer.bpe.heap import merge_heap
from tokenizer.bpe.merge_table import MergeTable, merge_table, merge_word
from tokenizer.bpe.textbook import TextbookBPE, merge
from tokenizer.bpe.words import WordEncoder
from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.training.vocabulary import BYTE_ORDERS

LETTERS = [b"a", b"b", b"c"]


@st.composite
def merge_tables(draw: st.DrawFn) -> MergeTable:
    """Any merges over three letters, in an order that training could give, or in any order."""
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


def check_level(level: Callable[[list[int], MergeTable], list[int]]) -> None:
    @settings(max_examples=40 * settings().max_examples)
    @given(words, merge_tables())
    def equals_the_definition(word: list[int], table: MergeTable) -> None:
        assert level(word, table) == merge_word(word, table)

    equals_the_definition()


def test_the_heap_equals_the_definition() -> None:
    check_level(merge_heap)


@pytest.mark.control
def test_a_merge_from_the_right_is_caught() -> None:
    def from_the_right(word: list[int], table: MergeTable) -> list[int]:
        return merge_word(word[::-1], {pair[::-1]: merge for pair, merge in table.items()})[::-1]

    with pytest.raises(AssertionError):
        check_level(from_the_right)


def test_the_definition_on_a_word_worked_out_by_hand() -> None:
    tokens = [b"a", b"b", b"ab", b"aa", b"abab"]
    table = merge_table(tokens, [(0, 1), (0, 0), (2, 2)])
    assert merge_word([0, 0, 0, 1, 0, 1], table) == [3, 4]  # aa|abab: ab before aa, then abab
    assert merge_word([0, 0, 0], table) == [3, 0]  # the leftmost first
    assert merge_word([], table) == []


# The word encoder

BYTE_IDS = list(range(256))
AB = merge_table([bytes([byte]) for byte in range(256)] + [b"ab", b"abab"], [(97, 98), (256, 256)])


@given(st.lists(st.text("ab\udc80é", max_size=100), max_size=30), st.integers(1, 4))
def test_the_cache_changes_no_ids(texts: list[str], size: int) -> None:
    encoder = WordEncoder(BYTE_IDS, AB, size)
    expected = [merge_word(text.encode("utf-8", "surrogateescape"), AB) for text in texts]
    assert [list(encoder[text]) for text in texts] == expected
    assert encoder.encode(texts) == sum(expected, [])
    assert len(encoder) <= size


def test_a_cached_word_is_not_encoded_again() -> None:
    encoder = WordEncoder(BYTE_IDS, AB)
    assert encoder["abab"] == (257,)
    encoder.table = {}
    assert encoder["abab"] == (257,)
    assert encoder["ab"] == (97, 98)


# Speed, in steps and not in seconds


class CountingTable(dict):
    """A merge table that counts its lookups."""

    steps = 0

    def get(self, *args: object) -> object:
        self.steps += 1
        return super().get(*args)

    def __contains__(self, key: object) -> bool:
        self.steps += 1
        return super().__contains__(key)


def steps(level: Callable, n: int) -> int:
    tokens = [b"a" * length for length in range(1, 65)]
    table = CountingTable(merge_table(tokens, [(i, i) for i in range(32)] + [(i, 0) for i in range(1, 32)]))
    level([0] * n, table)
    return table.steps


def test_the_heap_needs_steps_in_proportion_to_the_length_of_a_word() -> None:
    assert steps(merge_heap, 4000) < 2.1 * steps(merge_heap, 2000) < 2.1 * 10 * 2000


@pytest.mark.control
def test_quadratic_work_is_caught() -> None:
    assert steps(merge_word, 400) > 3.5 * steps(merge_word, 200)


def test_merges_never_make_a_special_token() -> None:
    with pytest.raises(KeyError):
        merge_table([b"a", b"b", b"ab"], [(0, 1)], {b"a": 0, b"b": 1})


# The textbook as a whole

SAMPLES = st.text("low er's\n 日é🐢", max_size=60)
BORDERS_OF_CLASSES = "aZé日1٣²Ⅳ 'sſtLl\n\r\t\u00a0\u2028_!/\u0301\u200d🐢"


@pytest.mark.parametrize("ties", BYTE_ORDERS)
@given(st.lists(SAMPLES, max_size=4), st.integers(0, 40), SAMPLES)
def test_the_tokenizer_learns_and_encodes_as_the_textbook(ties: str, texts: list[str], merges: int, text: str) -> None:
    textbook = TextbookBPE(tokens=BYTE_ORDERS[ties])
    textbook.train(texts, 256 + merges)
    tokenizer = Tokenizer.train(texts, 256 + merges, ties=ties)
    assert tokenizer.tokens == textbook.tokens
    assert tokenizer.merges == list(textbook.merges)
    ids = textbook.encode(text)
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids) == textbook.decode(ids) == text


@given(st.text(BORDERS_OF_CLASSES, max_size=40))
def test_the_pattern_of_the_textbook_splits_as_the_pretokenizer(text: str) -> None:
    assert TextbookBPE().pattern.findall(text) == Pretokenizer("gpt4").split(text)


def test_the_example_in_the_textbook_is_true() -> None:
    textbook = TextbookBPE()
    textbook.train(["low lower lowest"], 261)
    assert textbook.tokens[256:] == [b"lo", b"low", b" low", b" lowe", b"st"]
    assert textbook.counts == [3, 3, 2, 2, 1]
    assert [textbook.tokens[i] for i in textbook.encode("slow lowest")] == [b"s", b"low", b" lowe", b"st"]


def test_a_pair_is_merged_from_left_to_right() -> None:
    assert merge([1, 2, 3, 1, 2], (1, 2), 4) == [4, 3, 4]
    assert merge([1, 1, 1], (1, 1), 2) == [2, 1]
