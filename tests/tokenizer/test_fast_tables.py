"""The tables behind the vectorised rung answer for many what a dict, a string or a list answers for each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.arrays import string_table
from tokenizer.arrays.growable import GrowingIds
from tokenizer.arrays.number_table import NEVER
from tokenizer.arrays.string_table import Strings, TokenTable
from tokenizer.bpe import many_words, rank_pairs
from tokenizer.bpe.batch import PairTable
from tokenizer.bpe.many_words import WordMerger
from tokenizer.bpe.rank_pairs import RankPairs, cuts_textbook
from tokenizer.bpe.textbook import RankTable, WordEncoder
from tokenizer.split import text_arrays
from tokenizer.split.text_arrays import code_text
from tokenizer.split.unicode import class_table, code_points

WORDS = st.text("abc", min_size=1, max_size=5).map(str.encode)
STRINGS = (
    WORDS | st.integers(1, 3 * string_table.LONGEST).map(lambda size: b"ab" * size) | st.binary(min_size=1, max_size=20)
)
ANAGRAMS = np.uint64(1)  # a base with which the hash is but the sum of the bytes


def rank_table(tokens: list[bytes]) -> RankTable:
    every = list(dict.fromkeys([*(bytes([byte]) for byte in range(256)), *tokens]))
    return RankTable(every, {token: i for i, token in enumerate(every)})


@pytest.mark.parametrize("base", [string_table.BASE, ANAGRAMS])
@given(tokens=st.lists(STRINGS, unique=True, max_size=12), words=st.lists(STRINGS, min_size=1, max_size=12))
def test_tokens_are_found_and_nothing_else(base: np.uint64, tokens: list[bytes], words: list[bytes]) -> None:
    """Even where others have the same hash."""
    id_of = {token: 3 * i for i, token in enumerate(tokens)}
    words += tokens
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(string_table, "BASE", base)
        found = TokenTable(id_of, Strings(id_of)).find(words)
    assert found.tolist() == [id_of.get(word, NEVER) for word in words]


def test_hashes_that_are_believed_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(string_table, "BASE", ANAGRAMS)
    monkeypatch.setattr(TokenTable, "are_at", lambda self, which, *rest: np.ones(len(which), bool))
    assert TokenTable({b"ab": 0}, Strings([b"ab"])).find([b"ba"]).tolist() == [0]


@pytest.mark.parametrize("base", [string_table.BASE, ANAGRAMS])
@given(tokens=st.lists(WORDS, unique=True, max_size=12))
def test_pairs_of_ranks_are_those_of_the_textbook(base: np.uint64, tokens: list[bytes]) -> None:
    table = rank_table(tokens)
    with pytest.MonkeyPatch.context() as patch:
        for module in string_table, rank_pairs:
            patch.setattr(module, "BASE", base)
        pairs = RankPairs(table)
    expected = PairTable(*cuts_textbook(table.rank_of, table.rank_of), pairs.joined)
    ids = np.array([table.rank_of[token] for token in [b"a", b"b", b"c", *tokens]])
    left, right = np.repeat(ids, len(ids)), np.tile(ids, len(ids))
    assert pairs.ranks(left, right).tolist() == expected.ranks(left, right).tolist()


@pytest.mark.parametrize("many", [0, 10**6])
@given(tokens=st.lists(WORDS, unique=True, max_size=12), words=st.lists(STRINGS, min_size=1, max_size=60))
def test_words_are_the_tokens_that_they_are(many: int, tokens: list[bytes], words: list[bytes]) -> None:
    """Looked up together and one by one."""
    table = rank_table(tokens)
    encoder = WordEncoder(list(range(256)), table, whole_words=table.rank_of)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many_words, "MANY", many)
        ids, counts = WordMerger(encoder).encode(words)
    expected = [list(encoder.encode_word(word)) for word in words]
    assert ids.tolist() == sum(expected, [])
    assert counts.tolist() == list(map(len, expected))


# Texts

LETTERS = st.sampled_from("aB1 '\néſ日😀\u0301\x80ÿ\udc80") | st.characters(exclude_categories=["Cs"])


@pytest.mark.parametrize("few", [0, 10**6])
@given(st.text(LETTERS, max_size=30))
def test_a_text_is_coded_alike_in_each_way(few: int, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_arrays, "FEW", few)
        found = code_text(text)
    identity = tuple(range(9))
    assert found.data == text.encode("utf-8", "surrogateescape")
    assert found.classes(identity).tolist() == class_table()[code_points(text)].tolist()
    places = np.arange(len(text) + 1)
    assert found.bytes_before(places).tolist() == [len(text[:i].encode("utf-8", "surrogateescape")) for i in places]
    for code, character in zip(found.codes.tolist(), text):
        assert (
            code == ord(character)
            if character.isascii()
            else code >= 0x80 and (code == text_arrays.LONG_S) == (character == "ſ")
        )


def test_texts_nearly_all_of_ascii_are_known_as_such() -> None:
    kinds = [type(code_text(text)) for text in ["a", "é" + "a" * text_arrays.FEW, "é" + "a" * (text_arrays.FEW - 1)]]
    assert kinds == [text_arrays.ASCIIText, text_arrays.MostlyASCIIText, text_arrays.AnyText]


# Ids


@given(st.lists(st.integers(0, 50), max_size=30))
def test_ids_grow_in_order(sizes: list[int]) -> None:
    ids = GrowingIds()
    for i, size in enumerate(sizes):
        ids.extend(size)[:] = i
    assert ids.finish().tolist() == [i for i, size in enumerate(sizes) for _ in range(size)]
