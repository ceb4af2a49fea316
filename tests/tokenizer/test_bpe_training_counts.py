"""Counting words with arrays, or in several processes, gives the counts of the definition, for any pattern."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from operator import itemgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import Tokenizer
from tokenizer.split.pretokenizer import Pretokenizer, well_formed
from tokenizer.training import word_counts
from tokenizer.training.word_counts import MAX_PACKED_BYTES, WordCounter, count_words

PRETOKENIZERS = [Pretokenizer(pattern) for pattern in ["gpt2", "gpt4", "o200k", r"\p{L}+|\s+"]]
characters = st.one_of(st.sampled_from("ab 'sS\n\r\t.!09\0é\u3000語😀"), st.characters(exclude_categories=()))
texts = st.lists(st.text(characters, max_size=60), max_size=5)


def count_by_arrays(texts: list[str], pretokenizer: Pretokenizer) -> dict[bytes, int]:
    """Even short texts are scanned, and words are counted often."""
    counter = WordCounter(pretokenizer, batch_words=8, min_scanned_characters=1)
    return dict(counter.add(map(well_formed, texts)))


def definition(texts: list[str], pretokenizer: Pretokenizer) -> dict[bytes, int]:
    counts = Counter(word for text in texts for word in pretokenizer.split(well_formed(text)))
    return {word.encode(): count for word, count in counts.items()}


def check_counts(count: Callable) -> None:
    @settings(max_examples=4 * settings().max_examples)
    @given(texts, st.sampled_from(PRETOKENIZERS))
    def equals_the_definition(texts: list[str], pretokenizer: Pretokenizer) -> None:
        assert count(texts, pretokenizer) == definition(texts, pretokenizer)

    equals_the_definition()


@pytest.mark.parametrize("count", [count_words, count_by_arrays])
def test_counts_equal_the_definition(count: Callable) -> None:
    check_counts(count)


@pytest.mark.control
def test_words_packed_without_their_length_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    pack = word_counts.pack_words
    without_length = (1 << 56) - 1
    monkeypatch.setattr(word_counts, "pack_words", lambda *words: pack(*words) & without_length)
    monkeypatch.setattr(word_counts, "unpack_word", lambda key: key.to_bytes(8, "little").rstrip(b"\0"))
    texts = ["a\0\0 \0"]
    assert count_by_arrays(texts, Pretokenizer("gpt2")) != definition(texts, Pretokenizer("gpt2"))


def test_words_of_every_length() -> None:
    words = [b"x" * length for length in range(1, 3 * MAX_PACKED_BYTES)]
    text = "\n".join(word.decode() for word in words)
    expected = dict.fromkeys(words, 1) | {b"\n": len(words) - 1}
    assert count_by_arrays([text], Pretokenizer("gpt2")) == expected


def test_several_processes_count_the_same() -> None:
    texts = [f"the {i} words of {'text ' * i}\ud800" for i in range(80)]
    calls: list[tuple] = []
    alone = count_words(texts, Pretokenizer("gpt4"), lambda *call: calls.append(call))
    together: list[tuple] = []
    assert count_words(iter(texts), Pretokenizer("gpt4"), lambda *call: together.append(call), 2, 3000) == alone
    assert together == calls
    assert Tokenizer.train(texts, 300, processes=2) == Tokenizer.train(texts, 300)


@pytest.mark.parametrize("processes", [1, 2])
def test_texts_are_read_as_they_are_needed(monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    """A corpus may be larger than memory: few texts have been read and are not counted yet."""
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

    def on_progress(*_: object) -> None:
        nonlocal counted
        counted += processes == 1

    monkeypatch.setattr(Future, "result", take)
    assert count_words(texts(), Pretokenizer("gpt4"), on_progress, processes, 1)[b"low"] == 60
    assert most <= (1 if processes == 1 else 2 * processes + 2)


def test_a_single_text_and_none_at_all() -> None:
    assert count_words("low lower", Pretokenizer("gpt4")) == {b"low": 1, b" lower": 1}
    assert Tokenizer.train("low lower", 260) == Tokenizer.train(["low lower"], 260)
    assert count_words([], Pretokenizer("gpt4")) == count_words([""], Pretokenizer("gpt4")) == {}
    assert Tokenizer.train([], 300).vocab_size == 256


@pytest.mark.parametrize("min_short_texts", [0, 3, 100])
def test_short_texts_of_any_alphabet(min_short_texts: int) -> None:
    texts = ["été", "low lower", "日本 語", "low é"] * 3
    counter = WordCounter(Pretokenizer("gpt4"), min_short_texts=min_short_texts)
    assert counter.add(texts) == definition(texts, Pretokenizer("gpt4"))


@given(texts=st.lists(st.text("ab é\n'1", max_size=12), max_size=30), size=st.integers(1, 40), short=st.integers(0, 6))
def test_small_texts_are_scanned_together_and_counted_one_by_one(texts: list[str], size: int, short: int) -> None:
    """Many small files take no longer than a large one, and no word continues from one into the next."""
    counter = WordCounter(Pretokenizer("gpt4"), min_scanned_characters=short)
    scanned: list[list[str]] = []
    scan = counter._scan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_counts, "CHUNK_CHARACTERS", size)
        patch.setattr(counter, "_scan", lambda group: (scanned.append(group), scan(group)))
        assert counter.add(texts) == definition(texts, Pretokenizer("gpt4"))
    assert all(sum(map(len, group[:-1])) < size for group in scanned), "memory for about one chunk"
    assert all(sum(map(len, group)) >= size for group in scanned[:-1]), "few calls"


def test_bytes_are_refused() -> None:
    with pytest.raises(TypeError, match="a text is a str, not bytes"):
        count_words([b"bytes"], Pretokenizer("gpt4"))  # type: ignore[list-item]


def test_the_order_of_the_texts_does_not_change_counts() -> None:
    texts = ["b a" * 300, "a b", "c"]
    by_word = sorted(count_words(texts, Pretokenizer("gpt2")).items(), key=itemgetter(0))
    assert by_word == sorted(count_words(texts[::-1], Pretokenizer("gpt2")).items(), key=itemgetter(0))
