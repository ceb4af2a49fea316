"""Counting words with arrays, or in several processes, gives the counts of the definition, whatever the pattern."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from operator import itemgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import Tokenizer
from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.training import word_counts
from tokenizer.training.word_counts import LONGEST_PACKED, count_textbook, count_words

PRETOKENIZERS = [Pretokenizer(pattern) for pattern in ["gpt2", "gpt4", "o200k", r"\p{L}+|\s+"]]
characters = st.one_of(st.sampled_from("ab 'sS\n\r\t.!09\0é\u3000語😀"), st.characters(exclude_categories=()))
texts = st.lists(st.text(characters, max_size=60), max_size=5)


@pytest.fixture
def without_short_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_counts, "SHORT", 1)
    monkeypatch.setattr(word_counts, "BATCH", 8)


def check_counts(count: Callable) -> None:
    @settings(max_examples=4 * settings().max_examples)
    @given(texts, st.sampled_from(PRETOKENIZERS))
    def equals_the_definition(texts: list[str], pretokenizer: Pretokenizer) -> None:
        assert count(texts, pretokenizer) == count_textbook(texts, pretokenizer)

    equals_the_definition()


@pytest.mark.usefixtures("without_short_cuts")
def test_counts_equal_the_definition() -> None:
    check_counts(count_words)


@pytest.mark.usefixtures("without_short_cuts")
def test_words_packed_without_their_length_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    pack = word_counts.pack
    without = (1 << 56) - 1
    monkeypatch.setattr(word_counts, "pack", lambda *words: pack(*words) & without)
    monkeypatch.setattr(word_counts, "unpack", lambda key: key.to_bytes(8, "little").rstrip(b"\0"))
    texts = ["a\0\0 \0"]
    assert count_words(texts, Pretokenizer("gpt2")) != count_textbook(texts, Pretokenizer("gpt2"))


@pytest.mark.usefixtures("without_short_cuts")
def test_words_of_every_length() -> None:
    words = [b"x" * length for length in range(1, 3 * LONGEST_PACKED)]
    text = "\n".join(word.decode() for word in words)
    expected = dict.fromkeys(words, 1) | {b"\n": len(words) - 1}
    assert count_words([text], Pretokenizer("gpt2")) == expected


def test_several_processes_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_counts, "SHARE", 3000)
    texts = [f"the {i} words of {'text ' * i}\ud800" for i in range(80)]
    calls: list[tuple] = []
    alone = count_words(texts, Pretokenizer("gpt4"), lambda *call: calls.append(call))
    together: list[tuple] = []
    assert count_words(iter(texts), Pretokenizer("gpt4"), lambda *call: together.append(call), processes=2) == alone
    assert together == calls
    assert Tokenizer.train(texts, 300, processes=2) == Tokenizer.train(texts, 300)


@pytest.mark.parametrize("processes", [1, 2])
def test_texts_are_read_as_they_are_needed(monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    """A corpus larger than memory: what has been read and is not counted yet stays little."""
    monkeypatch.setattr(word_counts, "SHARE", 1)
    read = counted = most = 0
    result = Future.result

    def take(future: Future) -> object:
        nonlocal counted
        counted += 1
        return result(future)

    def texts() -> Iterator[str]:
        nonlocal read, most
        for _ in range(60):
            read += 1
            most = max(most, read - counted)
            yield "low lower"

    def heard(*_: object) -> None:
        nonlocal counted
        counted += processes == 1

    monkeypatch.setattr(Future, "result", take)
    assert count_words(texts(), Pretokenizer("gpt4"), heard, processes)[b"low"] == 60
    assert most <= (1 if processes == 1 else 2 * processes + 2)


def test_a_single_text_and_none_at_all() -> None:
    assert count_words("low lower", Pretokenizer("gpt4")) == {b"low": 1, b" lower": 1}
    assert Tokenizer.train("low lower", 260) == Tokenizer.train(["low lower"], 260)
    assert count_words([], Pretokenizer("gpt4")) == count_words([""], Pretokenizer("gpt4")) == {}
    assert Tokenizer.train([], 300).vocab_size == 256


@pytest.mark.parametrize("few", [0, 3, 100])
def test_short_texts_of_any_alphabet(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(word_counts, "FEW", few)
    texts = ["été", "low lower", "日本 語", "low é"] * 3
    assert count_words(texts, Pretokenizer("gpt4")) == count_textbook(texts, Pretokenizer("gpt4"))


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="a text is a str, not bytes"):
        count_words([b"bytes"], Pretokenizer("gpt4"))  # type: ignore[list-item]


def test_the_order_of_the_texts_does_not_change_counts() -> None:
    texts = ["b a" * 300, "a b", "c"]
    by_word = sorted(count_words(texts, Pretokenizer("gpt2")).items(), key=itemgetter(0))
    assert by_word == sorted(count_words(texts[::-1], Pretokenizer("gpt2")).items(), key=itemgetter(0))
