"""The incremental trainer learns what the textbook learns, with ties and options, from words and their counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import END_OF_TEXT, PADDING, Tokenizer
from tokenizer.bpe.textbook import Pair, TextbookBPE
from tokenizer.training import learn as training
from tokenizer.training.learn import learn_incremental
from tokenizer.training.pair_index import PairIndex
from tokenizer.training.vocabulary import BYTE_ORDERS, Vocabulary

# Few letters and small counts, so that the tie rule decides most merges; a few large counts, so that rare pairs are
# left for a later round.
counts = st.one_of(st.integers(1, 4), st.sampled_from([100, 1000, 100_000]))
corpora = st.dictionaries(st.text("ab-", max_size=12).map(str.encode), counts, max_size=8)
specials = st.lists(st.sampled_from(["<|x|>", "aba", "ab", "--"]), unique=True, max_size=2)
limits = st.fixed_dictionaries(
    {
        "alphabet": st.sampled_from(list(BYTE_ORDERS.values())),
        "min_frequency": st.integers(0, 5),
        "max_token_length": st.one_of(st.none(), st.integers(2, 8)),
    }
)


class LimitedTextbook(TextbookBPE):
    """The textbook with the limits of a vocabulary: it does not even count a pair that must not be merged."""

    def __init__(self, vocabulary: Vocabulary):
        super().__init__(tokens=vocabulary.tokens)
        self.vocabulary = vocabulary

    def count_pairs(self, corpus: Iterable[tuple[list[int], int]]) -> dict[Pair, int]:
        limits = self.vocabulary
        return {
            (left, right): count
            for (left, right), count in super().count_pairs(corpus).items()
            if count >= limits.min_frequency and limits.allows_token(self.tokens[left] + self.tokens[right])
        }


def check_trainer(learn: Callable) -> None:
    @settings(max_examples=8 * settings().max_examples, report_multiple_bugs=False)
    @given(corpora, st.integers(0, 40), specials, limits)
    def equals_the_textbook(words: dict[bytes, int], merges: int, special_tokens: list[str], limits: dict) -> None:
        got = Vocabulary(special_tokens, 256 + len(special_tokens) + merges, **limits)
        expected = LimitedTextbook(got)
        expected.learn(words, got.size)
        learn(words, got)
        assert got.merges == list(expected.merges)
        assert got.tokens == expected.tokens
        assert got.counts == expected.counts
        assert len(set(got.tokens)) == len(got.tokens) or special_tokens  # no two merges give the same token

    equals_the_textbook()


@pytest.mark.parametrize("min_positions", [1, 3, 1000])
@pytest.mark.parametrize("rarity_step", [2, 100, 10**9])
def test_the_incremental_trainer_equals_the_textbook(min_positions: int, rarity_step: int) -> None:
    check_trainer(partial(learn_incremental, rarity_step=rarity_step, min_positions=min_positions))


@pytest.mark.control
def test_joining_overlapping_pairs_at_once_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def merge(self: PairIndex, pair: Pair, new_id: int) -> list[Pair]:
        del self.counts[pair]
        return self._merge_with_arrays(pair, new_id, np.asarray(self.positions.pop(pair)))

    monkeypatch.setattr(PairIndex, "merge", merge)
    with pytest.raises(AssertionError):
        check_trainer(learn_incremental)


@pytest.mark.control
def test_leaving_out_rare_pairs_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_the_frequent(words: dict[bytes, int], vocabulary: Vocabulary) -> None:
        vocabulary.min_frequency *= 50
        learn_incremental(words, vocabulary)

    with pytest.raises(AssertionError):
        check_trainer(only_the_frequent)


@pytest.mark.control
def test_ignoring_word_counts_is_caught() -> None:
    with pytest.raises(AssertionError):
        check_trainer(lambda words, vocabulary: learn_incremental(dict.fromkeys(words, 1), vocabulary))


@pytest.mark.control
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


@given(st.lists(st.text("ab ", max_size=10), max_size=6), st.randoms())
def test_the_order_of_the_texts_does_not_matter(texts: list[str], random: object) -> None:
    shuffled = list(texts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert Tokenizer.train(shuffled, 280) == Tokenizer.train(texts, 280)


def test_ids_are_specials_then_bytes_then_merges() -> None:
    tokenizer = Tokenizer.train(["aaaa"], 260, [END_OF_TEXT, PADDING])
    assert tokenizer.special_tokens == {END_OF_TEXT: 0, PADDING: 1}
    assert tokenizer.tokens[2:4] == [b"!", b'"']
    assert tokenizer.tokens[257] == b"\xad"
    assert tokenizer.tokens[258:] == [b"aa", b"aaaa"]


def test_the_options_of_training() -> None:
    def train(text: str, **options: Any) -> list[bytes | None]:
        return Tokenizer.train([text], 300, **options).tokens[256:]

    assert train("aaa bbb bbb") == [b"bb", b"aa", b" bb", b" bbb", b"aaa"]
    assert train("aaa bbb bbb", min_frequency=2) == [b"bb", b"aa", b" bb", b" bbb"]
    assert train("aaa bbb bbb", max_token_length=4) == [b"bb", b"aa", b" bb", b"aaa"]
    assert train("a\x01 \x01!", pattern="[^ ]+", ties="huggingface") == [b"a\x01", b"\x01!"]
    assert train("a\x01 \x01!", pattern="[^ ]+", ties="rustbpe") == [b"\x01!", b"a\x01"]


def test_only_the_bytes_that_occur_if_the_initial_alphabet_is_small() -> None:
    tokenizer = Tokenizer.train(["abab"], 20, initial_alphabet=b"xa")
    assert tokenizer.tokens == [b"a", b"b", b"x", b"ab", b"abab"]
    with pytest.raises(ValueError, match="vocab_size=2 is too small: 3 bytes and 0 special tokens need 3"):
        Tokenizer.train(["abab"], 2, initial_alphabet=b"xa")


def test_progress_is_reported_to_the_end() -> None:
    calls: list[tuple] = []
    Tokenizer.train(["low lower", "lowest"], 262, progress=lambda *call: calls.append(call))
    assert calls[:2] == [("counting words", 9, None), ("counting words", 15, None)]
    assert calls[2:] == [("learning merges", done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 256, "special_tokens": ["<|a|>"]}, "256 bytes and 1 special tokens need 257"),
        ({"vocab_size": 300, "special_tokens": "<|a|>"}, r"special_tokens is a list of names.*try \['<|a|>'\]"),
        ({"vocab_size": 300, "special_tokens": ["<|a|>", "<|a|>"]}, "is given twice"),
        ({"vocab_size": 300, "special_tokens": [""]}, "at least one character"),
        ({"vocab_size": 300, "special_tokens": ["\ud800"]}, "at least one character"),
        ({"vocab_size": 300, "special_tokens": ["a"]}, "'a' is the spelling of a single byte"),
        ({"vocab_size": 300, "pattern": "gpt9"}, "no pattern is called"),
        ({"vocab_size": 300, "ties": "coin"}, "ties='coin' is unknown: choose 'huggingface' or 'rustbpe'"),
        ({"vocab_size": 300, "processes": 0}, "processes=0 is too few: give 1 or more"),
        ({"vocab_size": 300, "max_token_length": 1}, "max_token_length=1 is too small"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tokenizer.train(["text"], **arguments)
