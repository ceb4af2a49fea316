"""Text as it is written: whole characters, stop strings cut out exactly, and all of it the same as the text at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.inference.engine.stop_strings import StopStrings
from llm.inference.generate import generate
from llm.inference.sampling import Sampling
from llm.inference.text import decode_until_stop, start_ids, stream_text, write_text
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from tests.llm.gpts import SEEDS
from tokenizer import END_OF_TEXT, CharTokenizer, Tokenizer

BYTES = Tokenizer.train(["the rain, the sea 🌊🌊 été"], vocab_size=266, special_tokens=[END_OF_TEXT])
LETTERS = CharTokenizer.train(["abc\n"])
WILD = Sampling(temperature=2.0, top_p=1.0)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3)

Cut = Callable[[Iterable[str], Sequence[str]], Iterator[str]]


def model_for(tokenizer: Any, seed: int = 0) -> GPT:
    return GPT(GPTConfig(vocab_size=tokenizer.vocab_size, context=16, layers=1, heads=1, dim=8), rng=seed)


# --- stop strings -----------------------------------------------------------------------------------------------------


def until_stop(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """What StopStrings shows of the pieces, one after the other."""
    stops = StopStrings(stop)
    for piece in pieces:
        if shown := stops.feed(piece):
            yield shown
        if stops.found:
            return
    if rest := stops.finish():
        yield rest


def plain_cut(text: str, stop: Sequence[str]) -> str:
    """A character at a time, until the text ends with a stop string; of several, the longest."""
    for end in range(1, len(text) + 1):
        if lengths := [len(s) for s in stop if text[:end].endswith(s)]:
            return text[: end - max(lengths)]
    return text


@given(st.lists(st.text("ab", max_size=5), max_size=8), STOPS)
def test_text_ends_before_the_stop_string_that_is_complete_first(pieces: list[str], stop: list[str]) -> None:
    """However the text is split into pieces; no piece is empty."""
    shown = list(until_stop(pieces, stop))
    assert "".join(shown) == plain_cut("".join(pieces), stop)
    assert all(shown)


@given(st.text("abc", max_size=30), STOPS)
def test_only_what_may_begin_a_stop_string_is_held_back(text: str, stop: list[str]) -> None:
    """After each character: what is not shown yet is the longest end of the text that a stop string goes on from."""
    read: list[str] = []
    seen = ""
    for piece in until_stop((read.append(c) or c for c in text), stop):  # type: ignore[func-returns-value]
        seen += piece
        held = "".join(read)[len(seen) :]
        longest = max((n for s in stop for n in range(len(s)) if "".join(read).endswith(s[:n])), default=0)
        assert len(held) == longest or plain_cut("".join(read), stop) == seen or len(read) == len(text)


@pytest.mark.control
def test_cutting_each_piece_by_itself_is_noticed() -> None:

    def piece_by_piece(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
        return (plain_cut(piece, stop) for piece in pieces)

    expected = plain_cut("xaby", ["ab"])
    assert "".join(until_stop(["xa", "by"], ["ab"])) == expected
    assert "".join(piece_by_piece(["xa", "by"], ["ab"])) != expected


def test_nothing_is_asked_for_after_a_stop_string() -> None:
    def ids() -> Iterator[int]:
        yield from BYTES.encode("one.")
        raise AssertionError("a token after the stop string was asked for")

    assert "".join(decode_until_stop(ids(), BYTES, ["e."])) == "on"


@pytest.mark.parametrize("stop", ["abc", ["a", ""]])
def test_stop_strings_that_make_no_sense(stop: Any) -> None:
    with pytest.raises(ValueError, match="stop must be a list of strings of at least one character, got"):
        decode_until_stop([1], LETTERS, stop)


# --- characters -------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, BYTES.vocab_size - 1), max_size=30))
def test_the_text_of_any_ids_comes_in_whole_characters(ids: list[int]) -> None:
    shown = list(decode_until_stop(ids, BYTES))
    assert "".join(shown) == BYTES.decode(ids)
    assert all(shown)


def test_a_character_is_shown_when_its_last_byte_is_there() -> None:
    ids = Tokenizer.train([""], vocab_size=256).encode("é🌊x")
    waiting = iter(ids)
    left = [
        len(ids) - waiting.__length_hint__() for _ in decode_until_stop(waiting, Tokenizer.train([""], vocab_size=256))
    ]
    assert left == [2, 6, 7]


# --- all together -----------------------------------------------------------------------------------------------------


@given(SEEDS, st.sampled_from(["", "the", "é", "🌊 a"]), st.lists(st.text("ea t", min_size=1, max_size=2), max_size=2))
def test_streamed_text_is_the_whole_text(seed: int, prompt: str, stop: list[str]) -> None:
    model, options = model_for(BYTES, seed), {"max_tokens": 30, "sampling": WILD, "seed": seed}
    ids = generate(model, BYTES.encode(prompt) or [BYTES.end_of_text], stop_ids=[BYTES.end_of_text], **options)
    whole = plain_cut(BYTES.decode(ids), stop)
    assert write_text(model, BYTES, prompt, stop=stop, **options) == whole
    assert "".join(stream_text(model, BYTES, prompt, stop=stop, **options)) == whole


def test_the_first_piece_is_there_before_the_last_token_is_drawn() -> None:
    model, reads = model_for(LETTERS), []
    hidden = model.hidden
    model.hidden = lambda *args, **options: reads.append(1) or hidden(*args, **options)  # type: ignore
    next(stream_text(model, LETTERS, "a", max_tokens=50))
    assert len(reads) == 1


def test_end_of_text_ends_the_text_and_is_not_shown() -> None:
    model = model_for(BYTES)
    model.embedding.weight.data[:] = 0  # all tokens are equal, and greedy takes the first: end of text
    assert BYTES.end_of_text == 0
    assert write_text(model, BYTES, "the", max_tokens=10, sampling=Sampling(temperature=0)) == ""


def test_an_empty_prompt_is_the_beginning_of_a_text() -> None:
    assert start_ids(BYTES) == [BYTES.end_of_text]
    assert start_ids(LETTERS) == LETTERS.encode("\n")
    assert start_ids(CharTokenizer.train(["abc"])) == [0]


def test_a_prompt_with_a_character_that_the_tokenizer_lacks() -> None:
    with pytest.raises(ValueError, match="the character 'ü' is not among the 4 of this tokenizer"):
        stream_text(model_for(LETTERS), LETTERS, "ü", max_tokens=1)


def test_special_tokens_in_a_prompt_are_ordinary_text() -> None:
    read: list[int] = []
    model = model_for(BYTES)
    hidden = model.hidden
    model.hidden = lambda ids, **options: read.extend(ids[0]) or hidden(ids, **options)  # type: ignore
    write_text(model, BYTES, END_OF_TEXT, max_tokens=1)
    assert BYTES.end_of_text not in read
    assert BYTES.decode(read) == END_OF_TEXT


def test_a_prompt_that_is_longer_than_the_context_is_not_cut_in_silence() -> None:
    model = model_for(LETTERS)
    context = model.config.context
    with pytest.warns(UserWarning, match=f"the prompt has {context + 1} tokens and the model reads at most {context}"):
        write_text(model, LETTERS, "a" * (context + 1), max_tokens=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_text(model, LETTERS, "a" * context, max_tokens=3)
