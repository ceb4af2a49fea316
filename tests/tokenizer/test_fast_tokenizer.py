"""Arrays, files and batches hold the ids of `encode`, in one process or several."""

from __future__ import annotations

import pydoc_data.topics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import END_OF_TEXT, CharTokenizer, Tokenizer
from tokenizer.arrays.token_bytes import TokenBytes
from tokenizer.fast import processes
from tokenizer.models import bulk, fast
from tokenizer.split import scanner

PROSE = "\n".join(pydoc_data.topics.topics.values())[:150_000]
TOKENIZERS = [
    Tokenizer.train([PROSE[:20_000]], 600, [END_OF_TEXT], pattern)
    for pattern in ["gpt2", "gpt4", "o200k", "llama3", "qwen2", r"[\w ]+|\s"]
]
EACH = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda tokenizer: tokenizer.pattern)
PIECES = st.sampled_from([END_OF_TEXT, PROSE[:2500], PROSE[2500:6000], "é日😀", " \n", "it's", "\udc80", "a" * 3000])
any_text = st.lists(PIECES | st.text(max_size=20), max_size=8).map("".join)


@pytest.fixture(autouse=True)
def tables_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "TABLES_PAY", 0)


def test_tables_are_made_when_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer.train([PROSE[:20_000]], 300)
    monkeypatch.setattr(fast, "TABLES_PAY", 9000)
    made = []
    for length in 1000, 5000, 1000, 5000:
        tokenizer.encode(PROSE[:length])
        made.append("_vector_encoder" in tokenizer.__dict__)
    assert made == [False, False, False, True]


def word_by_word(tokenizer: Tokenizer, text: str) -> list[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "LONG", 10**9)
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
def test_processes_do_not_change_ids(
    tokenizer: Tokenizer, processes: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SHARE", 10_000)
    monkeypatch.setattr(scanner, "SECTION", 5_000)
    text = PROSE[:30_000] + END_OF_TEXT + PROSE[30_000:60_000] + "é日" * 9000 + "\r\n"
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    expected = word_by_word(tokenizer, text)
    ids = tokenizer.encode_file(path, allowed_special="all", processes=processes)
    assert ids.dtype == np.uint32
    assert ids.tolist() == expected
    texts = [PROSE[i : i + 5000] for i in range(0, 50_000, 5000)] + ["", "a", text]
    rows = tokenizer.encode_batch(texts, allowed_special="all", processes=processes)
    assert rows == [word_by_word(tokenizer, text) for text in texts]


def test_a_file_in_sections_is_refused_where_it_would_be_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "SECTION", 5_000)
    path = tmp_path / "text.txt"
    path.write_bytes(("é" + PROSE[:20_000] + END_OF_TEXT).encode())
    with pytest.raises(ValueError, match="at character 20001"):
        TOKENIZERS[0].encode_file(path, processes=1)
    path.write_bytes(PROSE[:20_000].encode("ascii", "replace") + b"\xff")
    with pytest.raises(ValueError, match="see byte 20000"):
        TOKENIZERS[0].encode_file(path, processes=1)


def test_work_is_shared_in_order_by_other_processes() -> None:
    results = processes.share(lambda i: (i, processes._shared is not None), list(range(20)), 2)
    assert results == [(i, True) for i in range(20)]
    assert processes._shared is None


def test_little_work_is_not_shared() -> None:
    assert processes.worthwhile(processes.WORTHWHILE) == 1


def test_an_error_in_another_process_is_raised_here() -> None:
    with pytest.raises(ValueError, match="holds the special token"):
        TOKENIZERS[0].encode_batch(["a", END_OF_TEXT, "b", "c"], processes=2)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match="picture is no text in UTF-8: see byte 2"):
        TOKENIZERS[0].encode_file(path)
    with pytest.raises(FileNotFoundError):
        TOKENIZERS[0].encode_file(tmp_path / "none")


def test_an_array_of_a_text_with_specials_is_refused_like_its_list() -> None:
    with pytest.raises(ValueError, match="holds the special token"):
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
def test_an_id_that_there_is_not_is_named_among_many(stray: int) -> None:
    with pytest.raises(ValueError, match=f"no token with id {stray}"):
        TOKENIZERS[0].decode([1] * 1000 + [stray])
    assert not TokenBytes([b"a", None]).are_known(np.array([0, 1]))


def test_every_kind_of_tokenizer_encodes_files(tmp_path: Path) -> None:
    tokenizer = CharTokenizer.train("abc")
    (tmp_path / "text").write_text("cab" * 5000)
    assert tokenizer.encode_file(tmp_path / "text").tolist() == tokenizer.encode("cab" * 5000)
