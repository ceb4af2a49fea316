"""Arrays and batches hold the ids of `encode`, from one process or several."""

from __future__ import annotations

import pydoc_data.topics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import END_OF_TEXT, CharTokenizer, Tokenizer
from tokenizer.arrays.token_bytes import TokenBytes
from tokenizer.fast import processes
from tokenizer.fast.many_texts import encode_segments
from tokenizer.text.template import Template

PROSE = "\n".join(pydoc_data.topics.topics.values())[:150_000]
TOKENIZERS = [
    Tokenizer.train([PROSE[:20_000]], 600, [END_OF_TEXT], pattern)
    for pattern in ["gpt2", "gpt4", "o200k", "llama3", "qwen2", r"[\w ]+|\s"]
]
EACH = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda tokenizer: tokenizer.pattern)
PIECES = st.sampled_from([END_OF_TEXT, PROSE[:2500], PROSE[2500:6000], "é日😀", " \n", "it's", "\udc80", "a" * 3000])
any_text = st.lists(PIECES | st.text(max_size=20), max_size=8).map("".join)


for each in TOKENIZERS:
    each.model.text_encoder.min_total_characters = 0  # the fast path from the first long text on


def test_tables_are_made_when_they_pay() -> None:
    tokenizer = Tokenizer.train([PROSE[:20_000]], 300)
    encoder = tokenizer.model.text_encoder
    encoder.min_total_characters = 9000
    made = []
    for length in 1000, 5000, 1000, 5000:
        tokenizer.encode(PROSE[:length])
        made.append("vector_encoder" in vars(encoder))
    assert made == [False, False, False, True]


def word_by_word(tokenizer: Tokenizer, text: str) -> list[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer.model.text_encoder, "min_vector_characters", 10**9)
        return tokenizer.encode(text, allowed_special="all")


@EACH
@settings(max_examples=2 * settings().max_examples)
@given(text=any_text)
def test_lists_and_arrays_hold_the_same_ids(tokenizer: Tokenizer, text: str) -> None:
    expected = word_by_word(tokenizer, text)
    assert tokenizer.encode(text, allowed_special="all") == expected
    array = tokenizer.encode_array(text, allowed_special="all")
    assert array.dtype == np.uint32
    assert array.tolist() == expected


@EACH
@given(data=st.lists(st.binary(max_size=20) | st.sampled_from([b"\xff" * 900, PROSE[:1000].encode()])).map(b"".join))
def test_long_bytes_come_back(tokenizer: Tokenizer, data: bytes) -> None:
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(data * 3)) == data * 3


@pytest.mark.parametrize("processes", [None, 1, 2])
@pytest.mark.parametrize("tokenizer", [TOKENIZERS[0], TOKENIZERS[-1]], ids=["fast", "by expression"])
def test_processes_do_not_change_ids(tokenizer: Tokenizer, processes: int | None) -> None:
    text = PROSE[:30_000] + END_OF_TEXT + PROSE[30_000:60_000] + "é日" * 9000 + "\r\n"
    ids = tokenizer.encode_array(text, allowed_special="all", processes=processes)
    assert ids.dtype == np.uint32
    assert ids.tolist() == word_by_word(tokenizer, text)
    cut = encode_segments(tokenizer.model, [[PROSE[:60_000]]], processes, max_part_characters=10_000)[0]
    assert cut.tolist() == tokenizer.encode(PROSE[:60_000])
    texts = [PROSE[i : i + 5000] for i in range(0, 50_000, 5000)] + ["", "a", text]
    expected = [word_by_word(tokenizer, text) for text in texts]
    assert tokenizer.encode_batch(texts, allowed_special="all", processes=processes) == expected
    ids, lengths = tokenizer.encode_batch_array(texts, allowed_special="all", processes=processes)
    assert (ids.dtype, lengths.dtype) == (np.uint32, np.int64)
    assert ids.tolist() == sum(expected, [])
    assert lengths.tolist() == list(map(len, expected))


SEGMENTS = st.sampled_from([END_OF_TEXT, "", "the cat", "é日", " "])


@settings(max_examples=5 * settings().max_examples)
@given(st.lists(st.lists(SEGMENTS, max_size=4).map("".join), max_size=5), st.booleans())
def test_special_tokens_are_at_their_positions_in_an_array(texts: list[str], template: bool) -> None:
    tokenizer = TOKENIZERS[1]
    end = tokenizer.special_tokens[END_OF_TEXT]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "template", Template(((end,), "A", (end,))))
        options: dict = {"allowed_special": "all", "add_special_tokens": template}
        expected = [tokenizer.encode(text, **options) for text in texts]
        ids, lengths = tokenizer.encode_batch_array(iter(texts), **options)
    assert ids.tolist() == sum(expected, [])
    assert lengths.tolist() == list(map(len, expected))


def test_a_parallel_map_keeps_the_order_and_uses_other_processes() -> None:
    results = processes.parallel_map(lambda i: (i, processes._shared is not None), list(range(20)), 2)
    assert results == [(i, True) for i in range(20)]
    assert processes._shared is None


def test_little_work_gets_one_process() -> None:
    assert processes.processes_for(processes.MIN_CHARACTERS) == 1


def test_an_error_in_another_process_is_raised_here() -> None:
    characters = CharTokenizer.train("ab")
    with pytest.raises(ValueError, match="'c' is not among the 2"):
        characters.encode_batch(["a", "b", "abc", "a"], processes=2)


def test_an_array_of_a_text_with_specials_is_refused_like_its_list() -> None:
    with pytest.raises(ValueError, match="contains the special token"):
        TOKENIZERS[0].encode_array(PROSE + END_OF_TEXT)


# Back to text


@settings(max_examples=5 * settings().max_examples)
@given(st.lists(st.integers(0, 599), max_size=60), st.integers(0, 30))
def test_many_ids_decode_like_each_of_them(ids: list[int], times: int) -> None:
    tokenizer = TOKENIZERS[0]
    ids = ids * times
    expected = b"".join(tokenizer.tokens[i] or b"" for i in ids)
    for kind in list, iter, np.array:
        assert tokenizer.decode_bytes(kind(ids)) == expected


@given(st.lists(st.binary(max_size=30) | st.none(), min_size=1, max_size=20), st.data())
def test_bytes_of_tokens_of_any_length_are_joined(tokens: list[bytes | None], data: st.DataObject) -> None:
    used = [i for i, token in enumerate(tokens) if token is not None] or [0]
    ids = data.draw(st.lists(st.sampled_from(used), max_size=30))
    assert TokenBytes(tokens).join(np.array(ids, np.uint16)) == b"".join(tokens[i] or b"" for i in ids)


@pytest.mark.parametrize("stray", [-1, 600, 10**12])
def test_an_unknown_id_among_many_is_named(stray: int) -> None:
    with pytest.raises(ValueError, match=f"no token with id {stray}"):
        TOKENIZERS[0].decode([1] * 1000 + [stray])
    assert not TokenBytes([b"a", None]).are_known(np.array([0, 1]))
