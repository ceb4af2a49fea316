"""The tables of the vectorised path give for many values what a dict, a string or a list gives for each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.arrays import string_table
from tokenizer.arrays.growable_array import GrowableArray
from tokenizer.arrays.number_table import NOT_FOUND
from tokenizer.arrays.string_table import StringTable
from tokenizer.bpe.batch import PairTable
from tokenizer.bpe.many_words import ManyWordsEncoder
from tokenizer.bpe.merge_table import RankTable
from tokenizer.bpe.rank_pairs import RankPairs, cuts_definition
from tokenizer.bpe.words import WordEncoder
from tokenizer.split import text_arrays
from tokenizer.split.text_arrays import MIN_ASCII_RATIO
from tokenizer.split.unicode import class_table, code_points

WORDS = st.text("abc", min_size=1, max_size=5).map(str.encode)
LONG_WORDS = st.integers(1, 50).map(lambda size: b"ab" * size)
STRINGS = WORDS | LONG_WORDS | st.binary(min_size=1, max_size=20)
ANAGRAMS = np.uint64(1)  # with this base the hash is the sum of the bytes


def rank_table(tokens: list[bytes], alphabet: bytes = bytes(range(256))) -> RankTable:
    every = list(dict.fromkeys([*(bytes([byte]) for byte in alphabet), *tokens]))
    return RankTable(every, {token: i for i, token in enumerate(every)})


@pytest.mark.parametrize("base", [string_table.BASE, ANAGRAMS])
@pytest.mark.parametrize("alphabet", [bytes(range(256)), b"abc"])
@given(tokens=st.lists(WORDS | LONG_WORDS, unique=True, max_size=12))
def test_pairs_of_ranks_are_those_of_the_definition(base: np.uint64, alphabet: bytes, tokens: list[bytes]) -> None:
    """Even if other strings have the same hash."""
    table = rank_table(tokens, alphabet)
    pairs = RankPairs(table, base)
    expected = PairTable(*cuts_definition(table.rank_of), pairs.new_ids)
    ids = np.array([table.rank_of[token] for token in [b"a", b"b", b"c", *tokens]])
    left, right = np.repeat(ids, len(ids)), np.tile(ids, len(ids))
    assert pairs.ranks(left, right).tolist() == expected.ranks(left, right).tolist()


@pytest.mark.control
def test_trusting_hashes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    table = rank_table([b"ab", b"bac"], b"abc")  # "ba" is no token, but has the hash of "ab"
    ab, c, bac = (np.array([table.rank_of[token]]) for token in (b"ab", b"c", b"bac"))
    assert RankPairs(table, ANAGRAMS).ranks(ab, c) == NOT_FOUND
    monkeypatch.setattr(StringTable, "are_equal", lambda self, index, *rest: np.ones(len(index), bool))
    assert RankPairs(table, ANAGRAMS).ranks(ab, c) == bac


@given(tokens=st.lists(WORDS, unique=True, max_size=12), words=st.lists(STRINGS, min_size=1, max_size=60))
def test_whole_words_get_the_ids_of_tokens(tokens: list[bytes], words: list[bytes]) -> None:
    table = rank_table(tokens)
    encoder = WordEncoder(list(range(256)), table, whole_words=table.rank_of)
    ids, counts = ManyWordsEncoder(encoder).encode(words)
    expected = [list(encoder.encode_word(word)) for word in words]
    assert ids.tolist() == sum(expected, [])
    assert counts.tolist() == list(map(len, expected))


# Texts

LETTERS = st.sampled_from("aB1 '\néſ日😀\u0301\x80ÿ\udc80") | st.characters(exclude_categories=["Cs"])


@pytest.mark.parametrize("ratio", [0, 10**6])
@given(st.text(LETTERS, max_size=30))
def test_all_representations_of_a_text_agree(ratio: int, text: str) -> None:
    found = text_arrays.text_arrays(text, ratio)
    identity = tuple(range(9))
    assert found.data == text.encode("utf-8", "surrogateescape")
    assert found.classes(identity).tolist() == class_table()[code_points(text)].tolist()
    positions = np.arange(len(text) + 1)
    expected = [len(text[:i].encode("utf-8", "surrogateescape")) for i in positions]
    assert found.byte_offsets(positions).tolist() == expected
    for code, character in zip(found.codes.tolist(), text):
        if character.isascii():
            assert code == ord(character)
        else:
            assert code >= 0x80
            assert (code == text_arrays.LONG_S) == (character == "ſ")


def test_the_representation_depends_on_the_share_of_ascii() -> None:
    texts = ["a", "é" + "a" * MIN_ASCII_RATIO, "é" + "a" * (MIN_ASCII_RATIO - 1)]
    kinds = [type(text_arrays.text_arrays(text)) for text in texts]
    assert kinds == [text_arrays.ASCIIText, text_arrays.MostlyASCIIText, text_arrays.AnyText]


# Ids


@given(st.lists(st.integers(0, 50), max_size=30))
def test_a_growable_array_holds_everything_in_order(sizes: list[int]) -> None:
    ids = GrowableArray()
    for i, size in enumerate(sizes):
        ids.extend(size)[:] = i
    assert ids.finish().tolist() == [i for i, size in enumerate(sizes) for _ in range(size)]
