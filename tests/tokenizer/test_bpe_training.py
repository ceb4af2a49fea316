"""The incremental trainer equals the textbook one, ties included; what is learned depends on the words alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import END_OF_TEXT, PADDING, Tokenizer
from tokenizer import train as training
from tokenizer.pretokenize import Pretokenizer
from tokenizer.train import Vocabulary, count_words, learn_incremental, learn_textbook

# Few letters and small counts, so that most merges are decided by the tie rule.
corpora = st.dictionaries(st.text("ab-", max_size=12).map(str.encode), st.integers(1, 4), max_size=8)
specials = st.lists(st.sampled_from(["<|x|>", "aba", "ab", "--"]), unique=True, max_size=2)


def check_trainer(learn: Callable) -> None:
    @settings(max_examples=20 * settings().max_examples)
    @given(corpora, st.integers(0, 40), specials)
    def equals_the_textbook(words: dict[bytes, int], merges: int, special_tokens: list[str]) -> None:
        expected, got = (Vocabulary(special_tokens, 256 + len(special_tokens) + merges) for _ in range(2))
        learn_textbook(words, expected)
        learn(words, got)
        assert got.merges == expected.merges
        assert got.tokens == expected.tokens

    equals_the_textbook()


def test_the_incremental_trainer_equals_the_textbook() -> None:
    check_trainer(learn_incremental)


def test_a_forgotten_word_count_is_caught() -> None:
    with pytest.raises(AssertionError):
        check_trainer(lambda words, vocabulary: learn_incremental(dict.fromkeys(words, 1), vocabulary))


def test_another_tie_rule_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def largest_of_the_most_frequent(heap: list) -> tuple:
        best = max(entry for entry in heap if entry[0] == min(heap)[0])
        heap.remove(best)
        return best

    monkeypatch.setattr(training, "heappop", largest_of_the_most_frequent)
    with pytest.raises(AssertionError):
        check_trainer(learn_incremental)


def learn(words: dict[bytes, int], size: int, special_tokens: tuple[str, ...] = ()) -> list[bytes]:
    vocabulary = Vocabulary(special_tokens, size)
    learn_incremental(words, vocabulary)
    return vocabulary.tokens[256 + len(special_tokens) :]


def test_merges_worked_out_by_hand() -> None:
    words = {b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}  # the example of Sennrich et al., but no end marks
    assert learn(words, 262) == [b"es", b"est", b"lo", b"low", b"ew", b"new"]
    assert learn({b"ab": 1, b"ba": 1}, 257) == [b"ab"]  # a tie: the pair with the smaller ids
    assert learn({b"aaaaa": 1}, 300) == [b"aa", b"aaa", b"aaaaa"]  # then nothing is left to join


def test_a_merge_that_would_spell_a_special_token_is_not_learned() -> None:
    assert b"ab" in learn({b"abc": 9}, 258)
    assert learn({b"abc": 9}, 300, ("ab",)) == [b"bc", b"abc"]
    assert learn({b" a": 9, b"cc": 1}, 300, ("Ġa",)) == [b"cc"]  # spelled so in a tokenizer.json


def test_a_token_reached_by_two_ways_is_one_token() -> None:
    vocabulary = Vocabulary([], 300)
    a, b, c = (vocabulary.id_of[letter] for letter in [b"a", b"b", b"c"])
    first = vocabulary.join((vocabulary.join((a, b)), c))
    assert vocabulary.join((a, vocabulary.join((b, c)))) == first


@given(st.lists(st.text("ab ", max_size=10), max_size=6), st.randoms())
def test_the_order_of_the_texts_does_not_matter(texts: list[str], random: object) -> None:
    shuffled = list(texts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert Tokenizer.train(shuffled, 280) == Tokenizer.train(texts, 280)


def test_texts_are_read_once_and_one_at_a_time() -> None:
    held = []

    def texts():  # noqa: ANN202
        for i in range(3):
            held.append(i)
            yield "low lower"

    assert count_words(texts(), Pretokenizer("gpt4")) == {b"low": 3, b" lower": 3}
    assert held == [0, 1, 2]
    assert Tokenizer.train("low lower", 260) == Tokenizer.train(["low lower"], 260)  # one text will do


def test_ids_are_specials_then_bytes_then_merges() -> None:
    tokenizer = Tokenizer.train(["aaaa"], 260, [END_OF_TEXT, PADDING])
    assert tokenizer.special_tokens == {END_OF_TEXT: 0, PADDING: 1}
    assert tokenizer.tokens[2:4] == [b"!", b'"']
    assert tokenizer.tokens[257] == b"\xad"
    assert tokenizer.tokens[258:] == [b"aa", b"aaaa"]


def test_progress_is_reported_to_the_end() -> None:
    calls: list[tuple] = []
    Tokenizer.train(["low lower", "lowest"], 262, progress=lambda *call: calls.append(call))
    assert calls[:2] == [("counting words", 9, None), ("counting words", 15, None)]
    assert calls[2:] == [("learning merges", done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 256, "special_tokens": ["<|a|>"]}, "vocab_size=256 is too small: .* need 257"),
        ({"vocab_size": 300, "special_tokens": "<|a|>"}, r"special_tokens is a list of names.*try \['<|a|>'\]"),
        ({"vocab_size": 300, "special_tokens": ["<|a|>", "<|a|>"]}, "is given twice"),
        ({"vocab_size": 300, "special_tokens": [""]}, "at least one character"),
        ({"vocab_size": 300, "special_tokens": ["\ud800"]}, "at least one character"),
        ({"vocab_size": 300, "special_tokens": ["a"]}, "'a' is the spelling of a single byte"),
        ({"vocab_size": 300, "pattern": "gpt9"}, "no pattern is called"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tokenizer.train(["text"], **arguments)
