"""The byte-pair tokenizer as a user meets it: any text and any bytes come back, in one piece or as a stream."""

from __future__ import annotations

import doctest
import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tokenizer
from tokenizer import END_OF_TEXT, CharTokenizer, StreamDecoder, Tokenizer
from tokenizer.split.pretokenizer import well_formed

TEXT = "the cat sat on the mat; 'twas naïve — 日本語 日本 😀😀 and 1234 more cats.\n\n  the end\n" * 3
TOKENIZERS = [Tokenizer.train([TEXT], 300, [END_OF_TEXT], pattern) for pattern in ["gpt2", "gpt4", r"\p{L}+"]]
EACH = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda tokenizer: tokenizer.pattern)
any_text = st.text(max_size=60) | st.lists(st.sampled_from(TEXT.split())).map(" ".join)


@EACH
@given(text=any_text)
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode_ordinary(text)) == text


@EACH
@given(text=st.text(st.characters(categories=["Cs"]) | st.characters(), max_size=30))
def test_text_with_surrogates_comes_back_well_formed(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode_ordinary(text)) == well_formed(text)


@EACH
@given(data=st.binary(max_size=60))
def test_any_bytes_come_back(tokenizer: Tokenizer, data: bytes) -> None:
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


@EACH
@given(text=any_text)
def test_text_and_its_bytes_have_the_same_ids(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode_bytes(text.encode()) == tokenizer.encode_ordinary(text)


@EACH
@given(text=any_text)
def test_ids_are_plain_ints_and_decode_from_an_array(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode_ordinary(text)
    assert all(type(i) is int for i in ids)
    assert tokenizer.decode(np.array(ids, dtype=np.uint16)) == text


def test_frequent_words_are_single_tokens() -> None:
    tokenizer = TOKENIZERS[1]
    assert [tokenizer.decode([i]) for i in tokenizer.encode("the cat's")] == ["the", " cat", "'", "s"]


# Streams


def check_stream(stream: type[StreamDecoder]) -> None:
    @settings(max_examples=10 * settings().max_examples)
    @given(st.lists(st.integers(0, 299), max_size=40) | any_text.map(TOKENIZERS[0].encode), st.data())
    def equals_the_whole(ids: list[int], data: st.DataObject) -> None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(ids)))))
        decoder = stream(TOKENIZERS[0])
        parts = [decoder.feed(ids[start:end]) for start, end in itertools.pairwise([0, *cuts, len(ids)])]
        assert "".join(parts) + decoder.finish() == TOKENIZERS[0].decode(ids)
        assert decoder.feed(TOKENIZERS[0].encode("again")) == "again"

    equals_the_whole()


def test_a_stream_equals_the_whole_for_any_split() -> None:
    check_stream(StreamDecoder)


@pytest.mark.control
def test_decoding_piece_by_piece_is_caught() -> None:
    class Piecewise(StreamDecoder):
        def feed(self, ids: list[int]) -> str:
            return self.tokenizer.decode(ids)

    with pytest.raises(AssertionError):
        check_stream(Piecewise)


def test_a_character_is_shown_when_it_is_whole() -> None:
    tokenizer = Tokenizer.train([""], 256)
    decoder = StreamDecoder(tokenizer)
    assert [decoder.feed([i]) for i in tokenizer.encode("a😀")] == ["a", "", "", "", "😀"]
    assert decoder.feed(tokenizer.encode_bytes(b"\xf0\x9f")) == ""
    assert decoder.finish() == "\ufffd"


# Errors, equality and repr


@pytest.mark.parametrize("stray", [-1, 300, 10**12])
def test_an_unknown_id_is_named(stray: int) -> None:
    with pytest.raises(ValueError, match=f"no token with id {stray}: ids go from 0 to 299"):
        TOKENIZERS[0].decode([1, stray, 2])


def test_errors_of_decoding_are_as_for_bytes() -> None:
    tokenizer = TOKENIZERS[0]
    ids = tokenizer.encode_bytes(b"a\xff")
    assert tokenizer.decode(ids) == "a\ufffd"
    assert tokenizer.decode(ids, errors="ignore") == "a"
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode(ids, errors="strict")


def test_equality_looks_at_everything() -> None:
    same = Tokenizer.train([TEXT], 300, [END_OF_TEXT], "gpt2")
    assert same == TOKENIZERS[0]
    others = [
        *TOKENIZERS[1:],
        Tokenizer.train([TEXT], 299, [END_OF_TEXT], "gpt2"),
        Tokenizer.train([TEXT], 300, ["<|other|>"], "gpt2"),
        CharTokenizer.train([TEXT], [END_OF_TEXT]),
        None,
    ]
    assert all(other != same for other in others)


def test_repr_says_what_it_is() -> None:
    expected = "Tokenizer(vocab_size=300, merges=43, pattern='gpt4', special_tokens=['<|endoftext|>'])"
    assert repr(TOKENIZERS[1]) == expected


def test_the_example_in_the_documentation_is_true() -> None:
    result = doctest.testmod(tokenizer)
    assert result.attempted == 3
    assert result.failed == 0


def test_importing_reads_nothing_of_the_other_packages() -> None:
    code = "import sys, tokenizer; print(sorted({'minigrad', 'llm', 'tqdm', 'cupy', 'torch'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
