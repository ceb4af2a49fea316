"""Very long words: the textbook's ids, from merges many at a time, in a number of steps that grows with the length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.bpe import long_words, many_words
from tokenizer.bpe.batch import PairTable
from tokenizer.bpe.long_words import LinkedWord, LongWordMerger
from tokenizer.bpe.textbook import MergeTable, WordEncoder, merge_heap, merge_table, merge_textbook
from tokenizer.fast.vector_encoder import VectorEncoder
from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.split.scanner import WordScanner


@st.composite
def tables(draw: st.DrawFn) -> MergeTable:
    """Merges over three letters, each of a token that was new; sometimes in an order in which some come too early."""
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


def check_long_words(enough: int) -> None:
    @settings(max_examples=30 * settings().max_examples)
    @given(words, tables())
    def equals_the_textbook(word: list[int], table: MergeTable) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(long_words, "ENOUGH", enough)
            merged = LongWordMerger(table, PairTable.of(table), table).merge(np.array(word, np.int64))
        assert merged.tolist() == merge_textbook(word, table)

    equals_the_textbook()


@pytest.mark.parametrize("enough", [-(10**9), 2], ids=["windows only", "windows, then the heap"])
def test_long_words_are_those_of_the_textbook(enough: int) -> None:
    check_long_words(enough)


def test_windows_end_where_a_new_token_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In "abca", once ab is joined, abc comes before ca. All at once it would be ab and ca."""
    table = merge_table([b"a", b"b", b"c", b"ab", b"abc", b"ca"], [(0, 1), (3, 2), (2, 0)])
    word, pairs = np.array([0, 1, 2, 0]), PairTable.of(table)
    assert long_words.windows(table, pairs) == [1, 2**31 - 1]
    assert LongWordMerger(table, pairs, table).merge(word).tolist() == merge_textbook(word.tolist(), table) == [4, 0]
    monkeypatch.setattr(long_words, "windows", lambda *_: [2**31 - 1])
    assert LongWordMerger(table, pairs, table).merge(word).tolist() == [3, 5]


def test_a_merge_before_its_parts_leaves_the_word_to_the_heap() -> None:
    table = merge_table([b"a", b"b", b"c", b"ab", b"abc"], [(3, 2), (0, 1)])
    assert long_words.windows(table, PairTable.of(table)) is None


# Steps


class CountingPairs(PairTable):
    steps = 0

    def ranks(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        self.steps += len(left)
        return super().ranks(left, right)


@pytest.mark.parametrize("letters", [1, 2, 26])
def test_a_long_word_takes_steps_in_proportion_to_its_length(letters: int) -> None:
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


def test_pairs_that_wait_are_not_sorted_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [b"a" * 2**i for i in range(12)]
    table = merge_table(tokens, [(i, i) for i in range(11)])
    sorted_, sort = [], np.sort
    monkeypatch.setattr(np, "sort", lambda keys: sorted_.append(len(keys)) or sort(keys))
    ids, pairs = np.zeros(1 << 15, np.int64), PairTable.of(table)
    word = LinkedWord(ids, pairs.ranks(ids[:-1], ids[1:]), pairs)
    while word.is_waiting:
        word.join_all(word.lowest_rank + 1)
    assert len(word.ids[word.ids < 12]) == 1 << 4
    assert sum(sorted_) <= 6 << 15


# As a tokenizer meets them


@pytest.mark.parametrize("letters", ["a", "ab", " ", "ab cd", "\udc80a"])
def test_a_very_long_word_in_a_text(letters: str) -> None:
    rng = np.random.default_rng(0)
    table = merge_table(
        [bytes([byte]) for byte in range(256)] + [b"ab", b"aa", b"  ", b"abab", b"aaaa"],
        [(97, 98), (97, 97), (32, 32), (256, 256), (257, 257)],
    )
    byte_ids = list(range(256))
    byte_ids[ord("d")] = -1
    text = "ab " + "".join(rng.choice(list(letters), 3 * many_words.VERY_LONG)) + " ab"
    words, pretokenizer = WordEncoder(byte_ids, table), Pretokenizer("gpt2")
    encoder = VectorEncoder(WordScanner(pretokenizer), words)
    for _ in range(2):
        assert encoder.encode([text])[0].tolist() == words.encode(pretokenizer.split(text))
