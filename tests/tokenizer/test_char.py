"""The character tokenizer: ids in the order of the characters, and a clear answer to unknown ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import END_OF_TEXT, UNKNOWN, CharTokenizer, StreamDecoder


@given(st.lists(st.text(max_size=30), max_size=4), st.lists(st.sampled_from([END_OF_TEXT, UNKNOWN]), unique=True))
def test_texts_come_back_and_ids_are_sorted_characters(texts: list[str], names: list[str]) -> None:
    tokenizer = CharTokenizer.train(iter(texts), names)
    assert tokenizer.vocab_size == len(names) + len(set("".join(texts)))
    for text in texts:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert len(ids) == len(text)
        assert tokenizer.encode_bytes(text.encode()) == ids
        assert sorted(ids) == tokenizer.encode("".join(sorted(text)))


def test_specials_come_first() -> None:
    tokenizer = CharTokenizer.train("cab", [END_OF_TEXT])
    assert tokenizer.tokens == [b"<|endoftext|>", b"a", b"b", b"c"]
    assert tokenizer.encode("abc<|endoftext|>"[:3]) == [1, 2, 3]
    assert repr(tokenizer) == "CharTokenizer(vocab_size=4, special_tokens=['<|endoftext|>'])"


@pytest.mark.parametrize(("data", "character"), [("abé".encode(), "é"), (b"ab\xff", r"\\udcff")])
def test_an_unknown_character_is_named_or_stands_as_unknown(data: bytes, character: str) -> None:
    with pytest.raises(ValueError, match=f"the character '{character}' is not among the 2 of this tokenizer"):
        CharTokenizer.train("ab").encode_bytes(data)
    assert CharTokenizer.train("ab", [UNKNOWN]).encode_bytes(data) == [1, 2, 0]


def test_a_special_token_cannot_be_a_character_of_the_text() -> None:
    with pytest.raises(ValueError, match="'b' is a character of the text"):
        CharTokenizer.train("abc", ["b"])


def test_a_stream_of_characters() -> None:
    tokenizer = CharTokenizer.train("日本")
    decoder = StreamDecoder(tokenizer)
    assert [decoder.feed([i]) for i in tokenizer.encode("日本")] == ["日", "本"]
