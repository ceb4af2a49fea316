"""The tables behind the vectorised rung answer for many what a dict, a string or a list answers for each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import coded, mergers, rank_pairs, token_table
from tokenizer.bpe import RankTable, WordEncoder
from tokenizer.classes import class_table, code_points
from tokenizer.coded import code_text
from tokenizer.growing import GrowingIds
from tokenizer.mergers import WordMerger
from tokenizer.number_table import NEVER
from tokenizer.pairs import PairTable
from tokenizer.rank_pairs import RankPairs, cuts_textbook
from tokenizer.token_table import Strings, TokenTable

WORDS = st.text("abc", min_size=1, max_size=5).map(str.encode)
STRINGS = (
    WORDS | st.integers(1, 3 * token_table.LONGEST).map(lambda size: b"ab" * size) | st.binary(min_size=1, max_size=20)
)
ANAGRAMS = np.uint64(1)  # a base with which the hash is but the sum of the bytes


def rank_table(tokens: list[bytes]) -> RankTable:
    every = list(dict.fromkeys([*(bytes([byte]) for byte in range(256)), *tokens]))
    return RankTable(every, {token: i for i, token in enumerate(every)})


@pytest.mark.parametrize("base", [token_table.BASE, ANAGRAMS])
@given(tokens=st.lists(STRINGS, unique=True, max_size=12), words=st.lists(STRINGS, min_size=1, max_size=12))
def test_tokens_are_found_and_nothing_else(base: np.uint64, tokens: list[bytes], words: list[bytes]) -> None:
    """Even where others have the same hash."""
    id_of = {token: 3 * i for i, token in enumerate(tokens)}
    words += tokens
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_table, "BASE", base)
        found = TokenTable(id_of, Strings(id_of)).find(words)
    assert found.tolist() == [id_of.get(word, NEVER) for word in words]


def test_hashes_that_are_believed_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_table, "BASE", ANAGRAMS)
    monkeypatch.setattr(TokenTable, "are_at", lambda self, which, *rest: np.ones(len(which), bool))
    assert TokenTable({b"ab": 0}, Strings([b"ab"])).find([b"ba"]).tolist() == [0]


@pytest.mark.parametrize("base", [token_table.BASE, ANAGRAMS])
@given(tokens=st.lists(WORDS, unique=True, max_size=12))
def test_pairs_of_ranks_are_those_of_the_textbook(base: np.uint64, tokens: list[bytes]) -> None:
    table = rank_table(tokens)
    with pytest.MonkeyPatch.context() as patch:
        for module in token_table, rank_pairs:
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
        patch.setattr(mergers, "MANY", many)
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
        patch.setattr(coded, "FEW", few)
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
            else code >= 0x80 and (code == coded.LONG_S) == (character == "ſ")
        )


def test_texts_nearly_all_of_ascii_are_known_as_such() -> None:
    kinds = [type(code_text(text)) for text in ["a", "é" + "a" * coded.FEW, "é" + "a" * (coded.FEW - 1)]]
    assert kinds == [coded.ASCIIText, coded.MostlyASCIIText, coded.AnyText]


# Ids


@given(st.lists(st.integers(0, 50), max_size=30))
def test_ids_grow_in_order(sizes: list[int]) -> None:
    ids = GrowingIds()
    for i, size in enumerate(sizes):
        ids.extend(size)[:] = i
    assert ids.finish().tolist() == [i for i, size in enumerate(sizes) for _ in range(size)]
