"""The merges are those of Hugging Face's BpeTrainer and, with `ties="rustbpe"`, of rustbpe: on corpora where ties
decide nearly everything, with all options, and on real text."""

from __future__ import annotations

import json
import os
import pydoc_data.topics
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.text.byte_alphabet import spell
from tokenizer.training.learn import learn
from tokenizer.training.vocabulary import Vocabulary

pytestmark = pytest.mark.parity

WORDS = r"[^ ]+| +"  # for words of any characters

# Few letters and counts: every merge is a choice among equals. Some bytes above 127 and below 33, which the two
# trainers order differently.
words = st.dictionaries(st.text("ab\x01é!", min_size=1, max_size=14), st.integers(1, 4), min_size=1, max_size=10)
limits = st.fixed_dictionaries(
    {
        "min_frequency": st.integers(0, 4),
        "max_token_length": st.one_of(st.none(), st.integers(2, 9)),
        "initial_alphabet": st.sampled_from([bytes(range(256)), b"", b"abcX"]),
        "special_tokens": st.sampled_from([[], ["<|end|>"], ["<|b|>", "<|a|>"]]),
    }
)


def text_of(words: dict[str, int]) -> str:
    return " ".join(word for word, count in words.items() for _ in range(count))


def by_spelling(vocabulary: Vocabulary) -> list[list[str]]:
    return [[spell(vocabulary.tokens[left]), spell(vocabulary.tokens[right])] for left, right in vocabulary.merges]


def huggingface(
    text: str, pattern: str, size: int, special_tokens: list[str], initial_alphabet: bytes, **limits: Any
) -> tuple[list[list[str]], dict[str, int]]:
    tokenizers = pytest.importorskip("tokenizers")
    cut = tokenizers.pre_tokenizers
    split = cut.Split(tokenizers.Regex(pattern), "isolated")
    peer = tokenizers.Tokenizer(tokenizers.models.BPE())
    peer.pre_tokenizer = cut.Sequence([split, cut.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special_tokens,
        initial_alphabet=[spell(bytes([byte])) for byte in initial_alphabet],
        show_progress=False,
        **{name: value for name, value in limits.items() if value is not None},
    )
    peer.train_from_iterator([text], trainer)
    model = json.loads(peer.to_str())["model"]
    return [list(merge) for merge in model["merges"]], model["vocab"]


def assert_huggingface_agrees(text: str, pattern: str, size: int, **limits: Any) -> None:
    merges, vocabulary = huggingface(text, pattern, size, **limits)
    learned = learn([text], Pretokenizer(pattern), size, **limits)
    assert by_spelling(learned) == merges
    first = len(limits["special_tokens"])
    assert [*limits["special_tokens"], *map(spell, learned.tokens[first:])] == sorted(vocabulary, key=vocabulary.get)


@settings(max_examples=10 * settings().max_examples)
@given(words, st.integers(0, 60), limits)
@example({"abababab": 3, "babab": 2, "aaaaaaa": 4}, 60, {"special_tokens": [], "initial_alphabet": b""})
def test_huggingface_learns_the_same_from_ties(words: dict[str, int], merges: int, limits: dict) -> None:
    assert_huggingface_agrees(text_of(words), WORDS, 260 + merges, **limits)


@pytest.mark.parametrize("limits", [{}, {"min_frequency": 9}, {"max_token_length": 6}], ids=str)
def test_huggingface_learns_the_same_from_real_text(limits: dict) -> None:
    text = "".join(pydoc_data.topics.topics.values())
    pattern = Pretokenizer("gpt2").expression.replace("++", "+")
    alphabet = {"special_tokens": ["<|endoftext|>"], "initial_alphabet": bytes(range(256))}
    assert_huggingface_agrees(text, pattern, 4000, **alphabet, **limits)


def rustbpe(text: str, pattern: str, size: int) -> list[bytes]:
    peer = pytest.importorskip("rustbpe").Tokenizer()
    peer.train_from_iterator(iter([text]), size, pattern=pattern)
    return [bytes(token) for token, _ in sorted(peer.get_mergeable_ranks(), key=lambda item: item[1])]


@settings(max_examples=10 * settings().max_examples)
@given(words, st.integers(0, 60))
def test_rustbpe_learns_the_same_from_ties(words: dict[str, int], merges: int) -> None:
    text, size = text_of(words), 256 + merges
    assert learn([text], Pretokenizer(WORDS), size, ties="rustbpe").tokens == rustbpe(text, WORDS, size)


def test_rustbpe_learns_the_same_from_real_text() -> None:
    text = "".join(pydoc_data.topics.topics.values())
    pretokenizer = Pretokenizer("gpt2")
    assert learn([text], pretokenizer, 4000, ties="rustbpe").tokens == rustbpe(text, pretokenizer.expression, 4000)


def test_the_two_tie_rules_differ() -> None:
    text = "a\x01 \x01!"
    assert learn([text], Pretokenizer(WORDS), 257).tokens[256:] != rustbpe(text, WORDS, 257)[256:]


@pytest.mark.control
def test_an_ignored_limit_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Vocabulary, "allows", lambda self, pair: True)  # no limit on the length of tokens
    limits = {"special_tokens": [], "initial_alphabet": b"", "max_token_length": 4}
    with pytest.raises(AssertionError):
        assert_huggingface_agrees("abcdefgh abcdefgh", WORDS, 300, **limits)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """With several threads the peer would warn about processes that are forked later."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    yield
    os.environ.pop("TOKENIZERS_PARALLELISM")
    if before is not None:
        os.environ["TOKENIZERS_PARALLELISM"] = before
