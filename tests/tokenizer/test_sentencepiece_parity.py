"""Byte pairs over characters compared with both libraries: any ids as text and as a stream, and everything that a
tokenizer.json can ask for, combined at random. The files are made here, except Llama 2's."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizer.helpers import LONG, check_plain, field, load, model_file, pieces, spelled_vocabulary
from tokenizer import BaseTokenizer, StreamDecoder
from tokenizer.formats import sentencepiece, tokenizer_json

pytestmark = pytest.mark.parity

WORDS = [*"▁abc<>é日", "▁▁", "▁▁▁", "▁a", "ab", "▁ab", "bc", "abc", "c▁a", "<t>", "b▁"]
RECORD = sentencepiece.parse(model_file(pieces(WORDS)))
MODEL = tokenizer_json.serialize(RECORD)
FIRST_BYTE, SIZE = 3, len(RECORD.pieces)
EURO, INVALID = "€".encode(), b"\x41\x20\x0a\xc0\xe2\xed\xa0\xf0\x9f\xff"

SAMPLES = [*"abc é日<>▁€😀\n", "  ", "   ", "ab", "日 日", "<t>", "<s>", "</s>", "<unk>", "<0x41>"]
texts = st.lists(st.sampled_from(SAMPLES), max_size=12).map("".join)
positions = st.lists(st.integers(0, 9), max_size=4)


def many_examples() -> settings:
    return settings(max_examples=5_000 if LONG else 8 * settings().max_examples)


def any_ids(size: int = SIZE) -> st.SearchStrategy[list[int]]:
    """Ids, many of them of bytes that are or are not UTF-8."""
    some = st.sampled_from(INVALID + EURO).map(lambda byte: [FIRST_BYTE + byte])
    whole = st.just([FIRST_BYTE + byte for byte in EURO])
    return st.lists(some | whole | st.integers(0, size - 1).map(lambda i: [i]), max_size=8).map(
        lambda parts: sum(parts, [])
    )


def ordinary_ids(size: int = SIZE) -> st.SearchStrategy[list[int]]:
    """Without the unknown token, which SentencePiece shows as " ⁇ ", and without control tokens, which it does not show
    although they end a run of bytes."""
    return any_ids(size).map(lambda ids: [i for i in ids if i >= FIRST_BYTE])


def as_stream(own: BaseTokenizer, ids: list[int], cuts: list[int], skip: bool) -> str:
    decoder = StreamDecoder(own, skip_special_tokens=skip)
    edges = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    return "".join([decoder.feed(ids[a:b]) for a, b in itertools.pairwise(edges)]) + decoder.finish()


def check_ids(own: BaseTokenizer, decode: Callable[[list[int], bool], str], ids: st.SearchStrategy[list[int]]) -> None:
    @many_examples()
    @given(ids, positions, st.booleans())
    def texts_are_equal(ids: list[int], cuts: list[int], skip: bool) -> None:
        expected = decode(ids, skip)
        assert own.decode(ids, skip_special_tokens=skip) == expected
        assert as_stream(own, ids, cuts, skip) == expected
        raw = b"".join(own.decode_bytes([i], mid_text=True) for i in own.visible_ids(ids, skip_special_tokens=skip))
        assert own.decode_bytes(ids, skip_special_tokens=skip) in (raw, raw.removeprefix(b" "))

    texts_are_equal()


# SentencePiece


def library(data: bytes) -> Any:
    return pytest.importorskip("sentencepiece").SentencePieceProcessor(model_proto=data)


@pytest.mark.parametrize("normalizer", [b"", field(3, 0)], ids=["a space before the text", "none"])
def test_any_ids_are_the_text_of_sentencepiece(normalizer: bytes) -> None:
    data = model_file(pieces(WORDS), normalizer=normalizer)
    peer, own = library(data), BaseTokenizer.of(sentencepiece.parse(data))
    check_ids(own, lambda ids, _: peer.decode(ids), ordinary_ids())
    for ids in [1, 269, 270, 2], [1, 32 + FIRST_BYTE, 2], [2, 269, 1, 269]:
        assert own.decode(ids, skip_special_tokens=True) == peer.decode(ids)


@given(st.sampled_from(["", " ", "  ", "a", " a", "a  b "]))
def test_a_model_that_removes_extra_spaces_drops_one_even_without_a_prefix(text: str) -> None:
    data = model_file(pieces(WORDS), normalizer=field(3, 0) + field(4, 1))
    peer, own = library(data), BaseTokenizer.of(sentencepiece.parse(data))
    assert own.encode(text) == peer.encode(text)
    for words in ["▁a", "b"], ["b", "▁a"], ["a"]:
        ids = [spelled_vocabulary(own)[word] for word in words]
        assert own.decode(ids) == peer.decode(ids)


@pytest.mark.shared
def test_any_ids_of_llama_2_are_the_text_of_sentencepiece(shared_data: Path) -> None:
    path = shared_data / "tokenizers" / "llama2" / "tokenizer.model"
    own, peer = load(path), library(path.read_bytes())
    check_ids(own, lambda ids, _: peer.decode(ids), ordinary_ids(own.vocab_size))


# Hugging Face

ESCAPE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, ESCAPE]}
METASPACE = {"type": "Metaspace", "replacement": "▁", "split": False}
STAGES = [
    (ESCAPE, None),
    (PREPEND, None),
    *((None, METASPACE | {"prepend_scheme": s}) for s in ("always", "first", "never")),
]
flags = st.fixed_dictionaries(dict.fromkeys(["single_word", "lstrip", "rstrip", "special"], st.booleans()))


@st.composite
def documents(draw: st.DrawFn) -> dict:
    document = json.loads(MODEL)
    vocab, added = document["model"]["vocab"], document["added_tokens"]
    document["normalizer"], document["pre_tokenizer"] = draw(st.sampled_from(STAGES))
    # tokenizers 0.23 spells an added token as its normalizer leaves it, and then does not recognise it as special.
    normalized = st.booleans() if document["normalizer"] != PREPEND else st.just(False)
    # No two overlap: a special one that is to be plain text would hide those inside it from `tokenizers`.
    for name in draw(st.lists(st.sampled_from(["<t>", "▁▁", "abc", "zz", "日▁日", "é", "€"]), unique=True, max_size=4)):
        i = vocab.get(name, len({*vocab.values(), *(token["id"] for token in added)}))
        token = {"id": i, "content": name, **draw(flags), "normalized": draw(normalized)}
        # Ordinary text could be one of these, so that they are refused as special tokens.
        if name in ("▁▁", "é") or token["single_word"] and name == "abc":
            token["special"] = False
        added.append(token)
    if draw(st.booleans()):
        document["decoder"]["decoders"] = document["decoder"]["decoders"][:3]
    return document


def check_document(own: BaseTokenizer, document: dict, text: str, ids: list[int], cuts: list[int]) -> None:
    hf = pytest.importorskip("tokenizers")
    peer, as_text = (hf.Tokenizer.from_str(json.dumps(document)) for _ in range(2))
    as_text.encode_special_tokens = True
    expected = peer.encode(text)
    assert own.encode_with_offsets(text, allowed_special="all", add_special_tokens=True) == (
        expected.ids,
        expected.offsets,
    )
    assert own.encode(text, allowed_special="all", add_special_tokens=True) == expected.ids
    check_plain(own, text, as_text.encode(text, add_special_tokens=False).ids)
    ids = [i for i in ids if i < own.vocab_size]
    for some, skip in itertools.product([ids, expected.ids], [True, False]):
        assert own.decode(some, skip_special_tokens=skip) == peer.decode(some, skip_special_tokens=skip)
        assert as_stream(own, some, cuts, skip) == own.decode(some, skip_special_tokens=skip)


@many_examples()
@given(documents(), texts, any_ids(SIZE + 4), positions)
def test_whatever_a_file_asks_for(document: dict, text: str, ids: list[int], cuts: list[int]) -> None:
    own = BaseTokenizer.of(tokenizer_json.parse(json.loads(json.dumps(document))))
    check_document(own, document, text, ids, cuts)
    check_document(own, json.loads(tokenizer_json.serialize(own.record)), text, ids, cuts)


# Negative controls


@pytest.mark.control
def test_the_rule_of_the_other_library_is_caught() -> None:
    by_scores, by_merges = BaseTokenizer.of(RECORD), BaseTokenizer.of(tokenizer_json.parse(json.loads(MODEL)))
    with pytest.raises(AssertionError):
        check_ids(by_merges, lambda ids, skip: by_scores.decode(ids, skip_special_tokens=skip), any_ids())


@pytest.mark.control
def test_a_stream_that_holds_no_bytes_back_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    own = BaseTokenizer.of(tokenizer_json.parse(json.loads(MODEL)))
    monkeypatch.setattr(own.model, "stable_prefix_length", len)
    with pytest.raises(AssertionError):
        check_ids(own, lambda ids, skip: own.decode(ids, skip_special_tokens=skip), any_ids())
