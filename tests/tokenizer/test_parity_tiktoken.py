"""The same ids, tokens and errors as tiktoken."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizer.helpers import LONG, awkward, cases, examples_of, file_in, load, tiktoken
from tokenizer import BaseTokenizer

pytestmark = [pytest.mark.parity, pytest.mark.shared]
NAMES = ["r50k_base", "cl100k_base", "o200k_base", "p50k_base", "p50k_edit"]
surrogates = st.text(st.characters(categories=["Cs"]) | st.sampled_from("a \U0001f600"), max_size=8)


@pytest.fixture(params=NAMES)
def both(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[BaseTokenizer, Any]:
    path = file_of(request.param, shared_data, tmp_path_factory)
    return load(path), tiktoken(path)


def file_of(name: str, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vocabulary of an encoding, as a file of that name: p50k_edit has that of p50k_base."""
    if name != "p50k_edit":
        return file_in(shared_data, f"{name}.tiktoken")
    path = tmp_path_factory.getbasetemp() / f"{name}.tiktoken"
    if not path.exists():
        path.write_bytes(file_in(shared_data, "p50k_base.tiktoken").read_bytes())
    return path


# For each two patterns, a text that they split differently: drawn texts may not contain one.
DISTINGUISHING = ["1234", "a.\n\nb", "iPhone iOS", "I'LL", " \n \n a", "x\r\n\r\n", "/\n/"]


def check_ids(own: BaseTokenizer, peer: Any) -> None:
    @cases(4)
    @examples_of(DISTINGUISHING)
    @given(awkward | surrogates)
    def ids_are_equal(text: str) -> None:
        ids = peer.encode_ordinary(text)
        assert own.encode_ordinary(text) == ids
        assert own.encode(text, allowed_special="all") == peer.encode(text, allowed_special="all")
        assert own.encode_array(text, allowed_special="all").tolist() == peer.encode(text, allowed_special="all")
        assert own.decode(ids) == peer.decode(ids)

    ids_are_equal()


def test_ids_are_those_of_tiktoken(both: tuple[BaseTokenizer, Any]) -> None:
    check_ids(*both)


@pytest.mark.control
@pytest.mark.parametrize("pattern", ["gpt2", "o200k"])
def test_another_pattern_is_caught(shared_data: Path, pattern: str) -> None:
    path = file_in(shared_data, "cl100k_base.tiktoken")
    own = load(path)
    broken = BaseTokenizer.of(own.record._replace(pattern=pattern))
    with pytest.raises(AssertionError):
        check_ids(broken, tiktoken(path))


def test_any_ids_decode_alike(both: tuple[BaseTokenizer, Any]) -> None:
    own, peer = both

    @cases(3)
    @given(st.lists(st.integers(0, own.vocab_size - 1).filter(lambda i: own.tokens[i] is not None), max_size=12))
    def bytes_are_equal(ids: list[int]) -> None:
        assert own.decode_bytes(ids) == peer.decode_bytes(ids)
        assert own.decode(ids) == peer.decode(ids)
        assert own.token_bytes(ids) == peer.decode_tokens_bytes(ids)

    bytes_are_equal()


def test_every_token_alone(both: tuple[BaseTokenizer, Any]) -> None:
    own, peer = both
    assert (own.vocab_size, own.end_of_text) == (peer.n_vocab, peer.eot_token)
    assert set(own.special_tokens) == peer.special_tokens_set
    specials = set(own.special_tokens.values())
    ordinary = [token for i, token in enumerate(own.tokens) if token is not None and i not in specials]
    assert sorted(ordinary) == peer.token_byte_values()
    for i in range(0, own.vocab_size, 7):
        if own.tokens[i] is None:
            with pytest.raises(KeyError):
                peer.decode_single_token_bytes(i)
            with pytest.raises(KeyError):
                own.token_bytes([i])
        else:
            (token,) = own.token_bytes([i])
            assert token == peer.decode_single_token_bytes(i)
            assert own.id_of(token) == i
            assert (i in specials) == peer.is_special_token(i)
            if i not in specials:
                assert own.model.word_encoder.encode_word(token) == (i,)


def test_any_bytes_as_one_word(both: tuple[BaseTokenizer, Any]) -> None:
    own, peer = both

    @cases(3)
    @given(awkward.map(str.encode) | st.just(b""), st.binary(min_size=1, max_size=3))
    def ids_are_equal(text: bytes, rest: bytes) -> None:
        for word in text + rest, rest:
            assert list(own.model.word_encoder.encode_word(word)) == peer._encode_single_piece(word)

    ids_are_equal()


@given(text=awkward, data=st.data())
def test_special_tokens_are_allowed_and_refused_alike(shared_data: Path, text: str, data: st.DataObject) -> None:
    path = shared_data / "tokenizers" / "cl100k_base.tiktoken"
    own, peer = load(path), tiktoken(path)
    names = sorted(own.special_tokens)
    text = data.draw(st.lists(st.sampled_from([*names, text]), max_size=4).map("".join))
    some = st.lists(st.sampled_from(names), unique=True)
    allowed, disallowed = data.draw(st.just("all") | some.map(set)), data.draw(st.just("all") | some.map(set))
    try:
        expected = peer.encode(text, allowed_special=allowed, disallowed_special=disallowed)
    except ValueError:
        with pytest.raises(ValueError, match="contains the special token"):
            own.encode(text, allowed_special=allowed, disallowed_special=disallowed)
    else:
        assert own.encode(text, allowed_special=allowed, disallowed_special=disallowed) == expected


def test_batches_and_pickles(both: tuple[BaseTokenizer, Any]) -> None:
    own, peer = both
    texts = ["hello world", "", "goodbye <|endoftext|>"]
    assert own.encode_batch(texts, disallowed_special=()) == peer.encode_ordinary_batch(texts)
    ids = own.encode_batch(texts, allowed_special="all")
    assert ids == peer.encode_batch(texts, allowed_special="all")
    assert [own.decode(row) for row in ids] == peer.decode_batch(ids) == texts
    if own.vocab_size < 60_000:
        assert pickle.loads(pickle.dumps(own)) == own


@pytest.mark.parametrize("character", ["^", "0", "a", "'s", " ", "\n", "😀", "日"])
def test_catastrophically_repetitive_texts(both: tuple[BaseTokenizer, Any], character: str) -> None:
    own, peer = both
    for text in (character * 2000, " " + character * 2000, character * 2000 + "\n"):
        assert own.encode_ordinary(text) == peer.encode_ordinary(text)


@pytest.mark.parametrize(
    "name",
    NAMES
    if LONG
    else ["r50k_base", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cl100k_base", "p50k_edit"))],
)
def test_written_files_are_read_by_both(
    shared_data: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    path = file_of(name, shared_data, tmp_path_factory)
    own = load(path)
    own.save(tmp_path / path.name)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    own.save(tmp_path / "tokenizer.json")
    peer = pytest.importorskip("tokenizers").Tokenizer.from_file(str(tmp_path / "tokenizer.json"))

    @cases(3)
    @given(awkward)
    def ids_are_equal(text: str) -> None:
        assert peer.encode(text).ids == own.encode(text, allowed_special="all")

    ids_are_equal()
