"""The vectorised path gives the ids of the definition for any text and any merges. Its cache changes no ids and is
bounded, and no choice of words makes it slow."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.arrays.number_table import NOT_FOUND
from tokenizer.arrays.word_table import MAX_PACKED_BYTES, MIN_BITS, PROBES, PackedWords, WordTable, pack
from tokenizer.bpe.batch import MAX_BATCH_BYTES, BatchMerger, PairTable
from tokenizer.bpe.many_words import ManyWordsEncoder
from tokenizer.bpe.merge_table import MergeTable, merge_table, merge_word
from tokenizer.bpe.words import WordEncoder
from tokenizer.fast.vector_encoder import VectorEncoder
from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.split.scanner import WordScanner

LETTERS = "aab cd'1\n"
TEXTS = st.text(st.sampled_from(LETTERS), max_size=300) | st.lists(
    st.sampled_from(["abc" * 9, "a" * 70, "b" * 300, "é日" * 12, "\udc80", " aab", " cab", "it's"]), max_size=12
).map("".join)


@st.composite
def vocabularies(draw: st.DrawFn) -> tuple[list[int], MergeTable, dict[bytes, int]]:
    """Any merges over a few bytes, with ids in any order, some bytes without an id, some words that are tokens."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tokens = [bytes([byte]) for byte in rng.permutation(256)]
    frequent = [tokens.index(letter.encode()) for letter in "abcd "]
    pairs = []
    for _ in range(draw(st.integers(0, 40))):
        left, right = (int(rng.choice(frequent)) for _ in "ab")
        if (left, right) not in pairs and len(tokens[left] + tokens[right]) < 40:
            pairs.append((left, right))
            joined = tokens[left] + tokens[right]
            tokens += [joined] * (joined not in tokens)
            frequent.append(tokens.index(joined))
    order = rng.permutation(len(pairs)) if draw(st.booleans()) else range(len(pairs))
    byte_ids = [tokens.index(bytes([byte])) for byte in range(256)]
    if draw(st.booleans()):
        byte_ids[ord("d")] = -1
    whole = {token: i for i, token in enumerate(tokens)} if draw(st.booleans()) else {}
    return byte_ids, merge_table(tokens, [pairs[i] for i in order]), whole


def definition(words: list[str], byte_ids: list[int], table: MergeTable, whole: dict[bytes, int]) -> list[int]:
    """The definition, word by word."""
    ids = []
    for word in words:
        data = word.encode("utf-8", "surrogateescape")
        pieces = [byte_ids[byte] for byte in data if byte_ids[byte] >= 0]
        ids += [whole[data]] if data in whole else merge_word(pieces, table)
    return ids


@pytest.mark.parametrize("min_words", [0, 10**6])
@settings(max_examples=10 * settings().max_examples)
@given(st.lists(TEXTS, min_size=1, max_size=4), vocabularies(), st.sampled_from([1, 8, 1024]))
def test_ids_are_those_of_the_definition(min_words: int, texts: list[str], vocabulary: tuple, max_words: int) -> None:
    """However many words are merged at once, however few are cached, and whatever text came before."""
    pretokenizer = Pretokenizer("gpt4")
    words = WordEncoder(*vocabulary[:2], whole_words=vocabulary[2])
    encoder = VectorEncoder(WordScanner(pretokenizer), words, max_words)
    encoder._many_words = ManyWordsEncoder(words, min_words_for_batch=min_words, words_for_table=0)
    for together in [texts, *([text] for text in texts)]:
        ids, counts = encoder.encode(together)
        expected = [definition(pretokenizer.split(text), *vocabulary) for text in together]
        assert ids.dtype == np.uint32
        assert ids.tolist() == list(chain.from_iterable(expected))
        assert counts.tolist() == list(map(len, expected))


@settings(max_examples=20 * settings().max_examples)
@given(st.lists(st.text("aabd", max_size=MAX_BATCH_BYTES), max_size=40), vocabularies(), st.sampled_from([1, 8, 256]))
def test_words_merged_together_have_the_ids_of_each_alone(words: list[str], vocabulary: tuple, min_width: int) -> None:
    """However many words of similar length share a matrix."""
    byte_ids, table, _ = vocabulary
    check_batch(BatchMerger(byte_ids, PairTable.of(table), min_width), words, byte_ids, table)


def check_batch(merger: BatchMerger, words: list[str], byte_ids: list[int], table: MergeTable) -> None:
    ids, counts = merger.encode([word.encode() for word in words])
    expected = [merge_word([i for i in map(byte_ids.__getitem__, word.encode()) if i >= 0], table) for word in words]
    assert ids.tolist() == sum(expected, [])
    assert counts.tolist() == [len(ids) for ids in expected]


@pytest.mark.control
def test_a_batch_that_prefers_the_right_is_caught() -> None:
    class FromTheRight(PairTable):
        def ranks(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
            return super().ranks(right, left)

    table = merge_table([b"a", b"b", b"ab", b"ba"], [(0, 1), (1, 0)])
    byte_ids = [0] * 256
    byte_ids[ord("b")] = 1
    check_batch(BatchMerger(byte_ids, PairTable.of(table)), ["aba", "bab", "ab"], byte_ids, table)
    with pytest.raises(AssertionError):
        check_batch(BatchMerger(byte_ids, FromTheRight.of(table)), ["aba", "bab", "ab"], byte_ids, table)


def test_every_pair_is_found_and_no_other() -> None:
    rng = np.random.default_rng(0)
    pairs = {(int(a), int(b)) for a, b in rng.integers(0, 300, (20_000, 2))}
    table = {pair: (rank, rank + 7) for rank, pair in enumerate(pairs)}
    left, right = np.divmod(np.arange(90_000), 300)
    ranks = PairTable.of(table).ranks(left, right)
    expected = [table.get(pair, (NOT_FOUND, 0))[0] for pair in zip(left.tolist(), right.tolist())]
    assert ranks.tolist() == expected


# The cache

BYTES = list(range(256))
AB = merge_table([bytes([byte]) for byte in range(256)] + [b"ab", b"abab"], [(97, 98), (256, 256)])


def ab_encoder(max_words: int = 1024) -> VectorEncoder:
    return VectorEncoder(WordScanner(Pretokenizer("gpt2")), WordEncoder(BYTES, AB), max_words)


def test_the_cache_is_bounded() -> None:
    encoder = ab_encoder(max_words=64)
    sizes = []
    for i in range(500):
        encoder.encode([" ".join(f"{chr(97 + i % 26) * (j + i % 40)}{'x' * (i // 26)}" for j in range(20))])
        sizes.append(encoder.cached_words)
    assert max(sizes) < 64 + 20
    assert encoder._store.size < 64 * 256


def test_a_cached_word_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ab_encoder()
    text = "abab ab" + "ab" * 100
    first = encoder.encode([text])[0].tolist()
    monkeypatch.setattr(encoder, "_many_words", None)
    assert encoder.encode([text])[0].tolist() == first


def test_an_interrupt_leaves_no_word_without_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ab_encoder()
    encoder.encode(["abab"])

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(encoder._many_words, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encoder.encode(["abab xyz"])
    monkeypatch.undo()
    assert encoder.encode(["xyz abab"])[0].tolist() == [*b"xyz ", 257]


# Speed, in steps and not in seconds


def packed_words(words: list[bytes]) -> PackedWords:
    lengths = np.array([len(word) for word in words])
    return pack(b"".join(words), np.cumsum(lengths) - lengths, lengths)


def words_of_one_row() -> list[bytes]:
    """Words chosen by an adversary: in a small table all have the same row."""
    words = [f"{i:x}".encode() for i in range(1 << 17)]
    home = packed_words(words).hashes >> np.uint64(64 - MIN_BITS)
    return [words[i] for i in np.flatnonzero(home == home[0])]


def test_words_of_one_row_cost_a_bounded_number_of_probes() -> None:
    table, packed = WordTable(), packed_words(words_of_one_row())
    place, new = table.insert(packed)
    assert len(place) > 4 * PROBES
    assert (place >= 0).sum() == len(new) == PROBES
    values, unknown = table.find(packed)
    assert len(unknown) == len(place) - PROBES


def test_a_table_grows_with_its_words_and_no_further() -> None:
    table, words = WordTable(), [f"word {i}".encode() for i in range(5000)]
    for start in range(0, 5000, 100):
        assert not table.find(packed_words(words[:100]))[1].size or start == 0
        more = packed_words(words[start : start + 100])
        table.reserve(100)
        place, _ = table.insert(more)
        table.set(place[place >= 0], start + np.flatnonzero(place >= 0))
        assert 3 * table.count <= len(table.rows) <= max(1 << MIN_BITS, 6 * table.count)
    values, unknown = table.find(packed_words(words))
    known = np.setdiff1d(np.arange(5000), unknown)
    assert len(unknown) < 20 and (values[known] == known).all()  # a few find no free row within their probes


@given(st.lists(st.binary(min_size=1, max_size=MAX_PACKED_BYTES + 8), min_size=1, max_size=60))
def test_a_table_finds_its_words_and_no_others(words: list[bytes]) -> None:
    table, packed = WordTable(), packed_words(words)
    lengths = np.array([len(word) for word in words])
    short = np.flatnonzero(lengths <= MAX_PACKED_BYTES)
    known = short[: len(short) // 2]
    place, new = table.insert(packed.take(known))
    table.set(place, known)
    values, unknown = table.find(packed)
    last = {words[i]: i for i in known.tolist()}
    assert len(new) == len(last)
    assert unknown.tolist() == [i for i, word in enumerate(words) if word not in last]
    assert all(words[int(values[i])] == word for i, word in enumerate(words) if word in last)
