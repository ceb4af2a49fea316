"""What is true of every kind of tokenizer: streams, offsets, batches, pickles, unknown ids."""

from __future__ import annotations

import itertools
import pickle
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
