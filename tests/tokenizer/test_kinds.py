"""What is true of every kind of tokenizer: streams, offsets, batches, pickles, unknown ids."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizer.helpers import TEXT, every_kind, spelled_vocabulary
from tokenizer import BaseTokenizer, StreamDecoder, UnknownToken, load

KINDS = every_kind()
EACH = pytest.mark.parametrize("tokenizer", KINDS.values(), ids=KINDS.keys())
texts = st.lists(st.sampled_from([*TEXT.split(), *" \n,.ad日é\u0301", "  ", "<s>", "[MASK]"]), max_size=12).map("".join)


@EACH
@given(data=st.data(), skip=st.booleans())
def test_a_stream_equals_the_whole_for_any_split_of_any_ids(
    tokenizer: BaseTokenizer, data: st.DataObject, skip: bool
) -> None:
    ids = data.draw(
        st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20) | texts.map(tokenizer.encode_ordinary)
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ids)))))
    decoder = StreamDecoder(tokenizer, skip_special_tokens=skip)
    parts = [decoder.feed(ids[start:end]) for start, end in itertools.pairwise([0, *cuts, len(ids)])]
    assert "".join(parts) + decoder.finish() == tokenizer.decode(ids, skip_special_tokens=skip)
    assert decoder.feed(ids) + decoder.finish() == tokenizer.decode(ids, skip_special_tokens=skip)


@EACH
@settings(max_examples=3 * settings().max_examples)
@given(text=texts)
def test_offsets_go_forward_and_cover_what_the_tokens_say(tokenizer: BaseTokenizer, text: str) -> None:
    ids, spans = tokenizer.encode_with_offsets(text, disallowed_special=(), add_special_tokens=True)
    assert ids == tokenizer.encode(text, disallowed_special=(), add_special_tokens=True)
    assert len(spans) == len(ids)
    specials = set(tokenizer.special_tokens.values())
    real = [(i, span) for i, span in zip(ids, spans) if i not in specials and span[0] < span[1]]
    assert all(0 <= start < end <= len(text) for _, (start, end) in real)
    assert [start for _, (start, _) in real] == sorted(start for _, (start, _) in real)
    for i, (start, end) in real:
        shown = tokenizer.decode_bytes([i], mid_text=True).decode("utf-8", "ignore").strip()
        assert shown in text[start:end] or shown in text[start:end].lower()


@EACH
@given(batch=st.lists(texts, max_size=3))
def test_batches_and_arrays_are_the_same_ids(tokenizer: BaseTokenizer, batch: list[str]) -> None:
    each = [tokenizer.encode_ordinary(text) for text in batch]
    assert tokenizer.encode_batch(batch, disallowed_special=()) == each
    for text, ids in zip(batch, each):
        array = tokenizer.encode_array(text, disallowed_special=())
        assert array.dtype == np.uint32
        assert array.tolist() == ids
        assert b"".join(tokenizer.token_bytes(ids)) == tokenizer.decode_bytes(ids)


@EACH
def test_saved_and_pickled(tokenizer: BaseTokenizer, tmp_path: Path) -> None:
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer
    tokenizer.settings = {"eos_token": "</s>", "chat_template": "{{ messages[0].content }}"}
    tokenizer.save(tmp_path)
    again = load(tmp_path)
    assert again.encode_ordinary(TEXT) == tokenizer.encode_ordinary(TEXT)
    assert again.special_tokens == tokenizer.special_tokens
    assert again.settings == tokenizer.settings
    assert again.render_chat([{"role": "user", "content": "hi"}]) == "hi"


@EACH
def test_tokens_by_their_spelling(tokenizer: BaseTokenizer) -> None:
    vocabulary = spelled_vocabulary(tokenizer)
    assert len(vocabulary) == tokenizer.vocab_size
    for spelling, i in vocabulary.items():
        assert (tokenizer.token_to_id(spelling), tokenizer.id_to_token(i)) == (i, spelling)
    assert tokenizer.token_to_id("no such token") is None
    assert tokenizer.id_to_token(10**6) is None


@EACH
@pytest.mark.parametrize("error", [KeyError, ValueError])
def test_unknown_tokens_and_ids_are_named(tokenizer: BaseTokenizer, error: type[Exception]) -> None:
    with pytest.raises(error, match="there is no token with id 99999: ids go from 0 to"):
        tokenizer.decode([0, 99999])
    with pytest.raises(error, match="there is no token 'no such token' among the"):
        tokenizer.id_of("no such token")
    assert issubclass(UnknownToken, error)


whole = st.integers(0, 16)  # the smallest vocabulary here has 17 tokens
FORMS = [list, tuple, iter, np.array, lambda ids: np.array(ids, np.uint8), lambda ids: [np.int16(i) for i in ids]]


@EACH
@given(ids=st.lists(whole, min_size=1, max_size=8), form=st.sampled_from(FORMS), times=st.sampled_from([1, 100]))
def test_ids_in_any_form_decode_alike(tokenizer: BaseTokenizer, ids: list[int], form: Callable, times: int) -> None:
    assert tokenizer.decode(form(ids * times)) == tokenizer.decode(ids * times)
    assert tokenizer.decode_bytes(form(ids * times)) == tokenizer.decode_bytes(ids * times)


strays = st.sampled_from([1.0, np.float32(2), "a", b"a", None, [1], (1, 2), {1: 2}, 1j])


@EACH
@given(ids=st.lists(whole, max_size=4), stray=strays, times=st.sampled_from([1, 200]), data=st.data())
def test_what_is_no_whole_number_is_refused_in_a_sentence(
    tokenizer: BaseTokenizer, ids: list, stray: object, times: int, data: st.DataObject
) -> None:
    ids = ids * times
    ids.insert(data.draw(st.integers(0, len(ids))), stray)
    calls = [tokenizer.decode, tokenizer.decode_bytes, tokenizer.token_bytes, tokenizer.visible_ids]
    for call in [*calls, StreamDecoder(tokenizer).feed]:
        with pytest.raises(TypeError, match="ids are a list of whole numbers, such as .*: .* does not fit"):
            call(ids)
    with pytest.raises(TypeError, match="ids are a list of whole numbers"):
        tokenizer.id_to_token(stray)  # type: ignore[arg-type]


@EACH
@pytest.mark.parametrize("ids", [5, None, "12", 1.5, np.array(5), np.array([[1, 2]]), np.array([0.0])])
def test_what_is_no_list_of_ids_is_refused_in_a_sentence(tokenizer: BaseTokenizer, ids: object) -> None:
    for call in tokenizer.decode, tokenizer.decode_bytes, tokenizer.token_bytes, StreamDecoder(tokenizer).feed:
        with pytest.raises(TypeError, match="ids are a list of whole numbers"):
            call(ids)


@EACH
@given(ids=st.lists(whole, max_size=4), stray=st.integers(-(10**10), -1) | st.integers(10**6, 10**20))
def test_an_id_out_of_range_is_named_in_a_list_and_in_an_array(
    tokenizer: BaseTokenizer, ids: list[int], stray: int
) -> None:
    for many in [*ids, stray], [*ids * 200, stray]:
        forms = [many, np.array(many)] if abs(stray) < 2**63 else [many]
        for each in forms:
            with pytest.raises(UnknownToken, match=f"there is no token with id {stray}:"):
                tokenizer.decode_bytes(each)


@EACH
def test_text_and_bytes_are_not_confused(tokenizer: BaseTokenizer) -> None:
    with pytest.raises(TypeError, match=r"data is bytes, not str \(encode_ordinary takes a text\)"):
        tokenizer.encode_bytes("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"a text is a str, not bytes \(encode_bytes takes bytes\)"):
        tokenizer.encode(b"text")  # type: ignore[arg-type]
    assert tokenizer.encode_bytes(bytearray(b"the")) == tokenizer.encode("the")


# Texts that break off within a character. All cuts of all characters are tried, not some that are drawn.

BROKEN = [
    data[:size]
    for text in ["é", "日本", "a😀", "the😀\ufffd", "\u0301é日😀"]
    for data in [text.encode()]
    for size in range(len(data) + 1)
]


def byte_ids(tokenizer: BaseTokenizer, data: bytes) -> list[int]:
    """A token for each byte."""
    return [tokenizer.tokens.index(bytes([byte])) for byte in data]


@pytest.mark.parametrize("kind", ["byte pairs", "SentencePiece", "SentencePiece in JSON", "llama2.c"])
@pytest.mark.parametrize("errors", ["replace", "ignore", "backslashreplace"])
def test_a_text_that_breaks_off_within_a_character(kind: str, errors: str) -> None:
    tokenizer = KINDS[kind]
    decoder = StreamDecoder(tokenizer, errors)
    start = tokenizer.encode("the")  # so that no space at the beginning is left out
    for data in BROKEN:
        ids = start + byte_ids(tokenizer, data)
        whole = tokenizer.decode(ids, errors)
        assert tokenizer.decode_bytes(ids) == b"the" + data
        if kind == "byte pairs" or errors != "replace":  # the others have their own ways to replace, see metaspace.py
            assert whole == (b"the" + data).decode("utf-8", errors)
        shown = [decoder.feed([i]) for i in ids]
        # What is shown is never taken back, and the decoder is ready for the next text.
        assert whole.startswith("".join(shown))
        assert "".join(shown) + decoder.finish() == whole


def test_a_strict_stream_refuses_a_text_that_breaks_off() -> None:
    tokenizer = KINDS["byte pairs"]
    for data in BROKEN:
        decoder = StreamDecoder(tokenizer, "strict")
        decoder.feed(byte_ids(tokenizer, data))
        try:
            data.decode()
        except UnicodeDecodeError:
            with pytest.raises(UnicodeDecodeError):
                decoder.finish()
        else:
            decoder.finish()


@pytest.mark.parametrize("times", [1, 300])
def test_bytes_that_break_off_are_encoded_and_given_back(times: int) -> None:
    tokenizer = KINDS["byte pairs"]
    for data in [data for data in BROKEN if data]:
        ids = tokenizer.encode_bytes(data * times)
        assert tokenizer.decode_bytes(ids) == data * times
        assert tokenizer.decode(ids) == (data * times).decode("utf-8", "replace")
