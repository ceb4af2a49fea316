"""Very long words: the ids of the definition, from many merges at a time, in steps in proportion to the length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.bpe import long_words, many_words
from tokenizer.bpe.batch import PairTable
from tokenizer.bpe.heap import merge_heap
from tokenizer.bpe.long_words import LinkedWord, LongWordMerger
from tokenizer.bpe.merge_table import MergeTable, merge_table, merge_word
from tokenizer.bpe.words import WordEncoder
from tokenizer.fast.vector_encoder import VectorEncoder
from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.split.scanner import WordScanner


@st.composite
def tables(draw: st.DrawFn) -> MergeTable:
    """Merges over three letters, each of a new token; sometimes in an order in which some come too early."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tokens, merges = [b"a", b"b", b"c"], []
    for _ in range(draw(st.integers(0, 14))):
        pair = (int(rng.integers(len(tokens))), int(rng.integers(len(tokens))))
        joined = tokens[pair[0]] + tokens[pair[1]]
        if joined not in tokens:
            merges.append(pair)
            tokens.append(joined)
    order = rng.permutation(len(merges)) if draw(st.integers(0, 4)) == 0 else range(len(merges))
    return merge_table(tokens, [merges[i] for i in order])


words = st.lists(st.integers(0, 2), max_size=80) | st.integers(0, 60).map(lambda n: [0] * n)


def check_long_words(min_merges: int) -> None:
    @settings(max_examples=30 * settings().max_examples)
    @given(words, tables())
    def equals_the_definition(word: list[int], table: MergeTable) -> None:
        merger = LongWordMerger(table, PairTable.of(table), table, min_merges)
        merged = merger.merge(np.array(word, np.int64))
        assert merged.tolist() == merge_word(word, table)

    equals_the_definition()


@pytest.mark.parametrize("min_merges", [-(10**9), 2], ids=["windows only", "windows, then the heap"])
def test_ids_are_those_of_the_definition(min_merges: int) -> None:
    check_long_words(min_merges)


def test_windows_end_where_a_new_token_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In "abca", once ab is joined, abc comes before ca. In one window it would be ab and ca."""
    table = merge_table([b"a", b"b", b"c", b"ab", b"abc", b"ca"], [(0, 1), (3, 2), (2, 0)])
    word, pairs = np.array([0, 1, 2, 0]), PairTable.of(table)
    assert long_words.window_ends(table, pairs) == [1, 2**31 - 1]
    assert LongWordMerger(table, pairs, table).merge(word).tolist() == merge_word(word.tolist(), table) == [4, 0]
    monkeypatch.setattr(long_words, "window_ends", lambda *_: [2**31 - 1])
    assert LongWordMerger(table, pairs, table).merge(word).tolist() == [3, 5]


def test_no_windows_if_a_merge_comes_before_the_merges_of_its_parts() -> None:
    table = merge_table([b"a", b"b", b"c", b"ab", b"abc"], [(3, 2), (0, 1)])
    assert long_words.window_ends(table, PairTable.of(table)) is None


# Steps


class CountingPairs(PairTable):
    steps = 0

    def ranks(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        self.steps += len(left)
        return super().ranks(left, right)


@pytest.mark.parametrize("letters", [1, 2, 26])
def test_a_long_word_needs_steps_in_proportion_to_its_length(letters: int) -> None:
    rng = np.random.default_rng(0)
    tokens = [bytes([97 + i]) for i in range(letters)]
    merges = []
    while len(merges) < 100:
        pair = (int(rng.integers(len(tokens))), int(rng.integers(len(tokens))))
        if tokens[pair[0]] + tokens[pair[1]] not in tokens:
            merges.append(pair)
            tokens.append(tokens[pair[0]] + tokens[pair[1]])
    table = merge_table(tokens, merges)
    pairs = CountingPairs.of(table)
    merger = LongWordMerger(table, pairs, table)
    for n in 10_000, 40_000:
        word = rng.integers(0, letters, n)
        pairs.steps = 0
        assert merger.merge(word).tolist() == merge_heap(word.tolist(), table)
        assert n <= pairs.steps <= 4 * n


def test_pairs_in_the_queue_are_not_sorted_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [b"a" * 2**i for i in range(12)]
    table = merge_table(tokens, [(i, i) for i in range(11)])
    sorted_, sort = [], np.sort
    monkeypatch.setattr(np, "sort", lambda keys: sorted_.append(len(keys)) or sort(keys))
    ids, pairs = np.zeros(1 << 15, np.int64), PairTable.of(table)
    word = LinkedWord(ids, pairs.ranks(ids[:-1], ids[1:]), pairs)
    while word.has_pairs:
        word.merge_below(word.lowest_rank + 1)
    assert len(word.ids[word.ids < 12]) == 1 << 4
    assert sum(sorted_) <= 6 << 15


# In a text


@pytest.mark.parametrize("letters", ["a", "ab", " ", "ab cd", "\udc80a"])
def test_a_very_long_word_in_a_text(letters: str) -> None:
    rng = np.random.default_rng(0)
    table = merge_table(
        [bytes([byte]) for byte in range(256)] + [b"ab", b"aa", b"  ", b"abab", b"aaaa"],
        [(97, 98), (97, 97), (32, 32), (256, 256), (257, 257)],
    )
    byte_ids = list(range(256))
    byte_ids[ord("d")] = -1
    text = "ab " + "".join(rng.choice(list(letters), 3 * many_words.MIN_LONG_BYTES)) + " ab"
    words, pretokenizer = WordEncoder(byte_ids, table), Pretokenizer("gpt2")
    encoder = VectorEncoder(WordScanner(pretokenizer), words)
    for _ in range(2):
        assert encoder.encode([text])[0].tolist() == words.encode(pretokenizer.split(text))
