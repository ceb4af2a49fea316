"""SentencePiece's byte pairs: against a textbook, against the library, and what files can ask for."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizer.helpers import (
    NORMAL,
    UNUSED,
    USER_DEFINED,
    WORDS,
    Piece,
    awkward,
    cases,
    field,
    llama2c_file,
    load,
    model_file,
    pieces,
    spellings,
)
from tokenizer import BaseTokenizer, FormatError
from tokenizer.formats import llama2c, sentencepiece, tokenizer_json
from tokenizer.models.sentencepiece import SentencePieceBPE

texts = st.text("the catsa 日本\n\u2581é😀", max_size=30)
vocabularies = st.lists(st.text("ab▁", min_size=1, max_size=4), unique=True, max_size=12).map(
    lambda some: [*"ab▁", *some]
)


def textbook(rows: list[Piece], text: str) -> list[int]:
    """Join the neighbours whose piece has the highest score (of equal ones the leftmost) until there are none."""
    score_of = {piece: (score, i) for i, (piece, score, kind) in enumerate(rows) if kind == NORMAL}
    symbols = list("▁" + text.replace(" ", "▁")) if text else []
    while True:
        pairs = [(score_of[a + b][0], -i) for i, (a, b) in enumerate(zip(symbols, symbols[1:])) if a + b in score_of]
        if not pairs:
            break
        i = -max(pairs)[1]
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
    ids: list[int] = []
    for symbol in symbols:
        ids += [score_of[symbol][1]] if symbol in score_of else [3 + byte for byte in symbol.encode()]
    return ids


def check_textbook() -> None:
    @settings(max_examples=10 * settings().max_examples)
    @given(vocabularies, st.text("ab c▁", max_size=24))
    def ids_are_equal(words: list[str], text: str) -> None:
        words = list(dict.fromkeys(words))
        rows = pieces(words)
        own = BaseTokenizer.of(sentencepiece.parse(model_file(rows)))
        assert own.encode(text) == textbook(rows, text)

    ids_are_equal()


def test_ids_are_those_of_the_textbook() -> None:
    check_textbook()


@pytest.mark.control
def test_splitting_where_merges_could_be_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    words = SentencePieceBPE._words
    split = lambda self, text: [part for word in words(self, text) for part in word.split("b")]  # noqa: E731
    monkeypatch.setattr(SentencePieceBPE, "_words", split)
    with pytest.raises(AssertionError):
        check_textbook()


def test_equal_scores_join_the_leftmost_first() -> None:
    rows = [*pieces([]), *((word, -1.0, NORMAL) for word in ["▁", "a", "b", "aa", "ab"])]
    assert spellings(BaseTokenizer.of(sentencepiece.parse(model_file(rows))), "aab") == ["▁", "aa", "b"]


@given(texts)
def test_any_text_comes_back(text: str) -> None:
    for own in (
        BaseTokenizer.of(sentencepiece.parse(model_file(pieces()))),
        BaseTokenizer.of(llama2c.parse(llama2c_file(pieces()))),
    ):
        assert own.decode(own.encode(text)) == text.replace("\u2581", " ")


@given(texts)
def test_a_file_of_llama2c_is_the_same_vocabulary(text: str) -> None:
    model, dump = (
        BaseTokenizer.of(sentencepiece.parse(model_file(pieces()))),
        BaseTokenizer.of(llama2c.parse(llama2c_file(pieces()))),
    )
    assert model.encode(text, add_special_tokens=True) == dump.encode(text, add_special_tokens=True)
    assert model == dump


def test_unknown_characters_in_a_row_are_one_token() -> None:
    own = BaseTokenizer.of(sentencepiece.parse(model_file(pieces(bytes_too=False), trainer=field(35, 0))))
    ids, spans = own.encode_with_offsets("the 日本本 at")
    assert [own.id_to_token(i) for i in ids] == ["▁the", "▁", "日", "<unk>", "▁", "at"]
    assert spans == [(0, 3), (3, 4), (4, 5), (5, 7), (7, 8), (8, 10)]
    with pytest.raises(ValueError, match="cannot be written"):
        own.save("nowhere/tokenizer.json")


def test_user_defined_and_unused_pieces() -> None:
    rows = [*pieces(), ("th", 100.0, UNUSED), ("eca", -1.0, USER_DEFINED)]
    own = BaseTokenizer.of(sentencepiece.parse(model_file(rows)))
    assert spellings(own, "theecat cat") == ["▁the", "eca", "t", "▁cat"]
    ids, spans = own.encode_with_offsets("theecat")
    assert spans == [(0, 3), (3, 6), (6, 7)]


def test_extra_spaces_are_removed_if_the_model_says_so() -> None:
    own = BaseTokenizer.of(sentencepiece.parse(model_file(pieces(), normalizer=field(4, 1))))
    assert spellings(own, "  the   cat ") == ["▁the", "▁cat"]
    assert own.encode_with_offsets("  the   cat ")[1] == [(2, 5), (7, 11)]


def test_no_space_before_the_text_if_the_model_says_so() -> None:
    own = BaseTokenizer.of(sentencepiece.parse(model_file(pieces(), normalizer=field(3, 0))))
    assert spellings(own, "the cat") == ["t", "he", "▁cat"]
    assert own.decode(own.encode(" the")) == " the"


@pytest.mark.parametrize(
    ("trainer", "normalizer", "message"),
    [
        (field(3, 1), b"", "a model of type unigram"),
        (field(24, 1), b"", "white space as a suffix"),
        (b"", field(1, b"nmt_nfkc") + field(2, b"table"), "the normalizer 'nmt_nfkc'"),
        (b"", field(5, 0), "spaces that are not escaped"),
    ],
)
def test_unsupported_settings_are_named(trainer: bytes, normalizer: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        sentencepiece.parse(model_file(pieces(), trainer, normalizer))


def json_of(rows: list[Piece], unknown: str | None = "<unk>", **added: Any) -> dict:
    """A tokenizer.json of the pieces, with one added token."""
    document = json.loads(tokenizer_json.serialize(sentencepiece.parse(model_file(pieces()))))
    document["model"] |= {
        "vocab": {piece: i for i, (piece, _, _) in enumerate(rows)},
        "unk_token": unknown,
        "merges": [],
    }
    if added:
        document["added_tokens"].append({"id": document["model"]["vocab"].get(added["content"], len(rows)), **added})
    return document


def test_added_tokens_and_the_vocab() -> None:
    """A character that was merely added is no token within a word; one that the model has is."""
    for letter, shown in ("x", "<0x78>"), ("c", "c"):
        document = json_of(pieces(), content=letter, special=False, single_word=True)
        own = BaseTokenizer.of(tokenizer_json.parse(document))
        assert spellings(own, f"a{letter}a {letter}") == ["▁", "a", shown, "a", "▁", letter]
        again = json.loads(tokenizer_json.serialize(own.record))
        assert again["model"]["vocab"] == document["model"]["vocab"]
        assert BaseTokenizer.of(tokenizer_json.parse(again)) == own


def test_bytes_without_tokens() -> None:
    rows = pieces()
    some = [row for row in rows if row[0] not in ("<0x63>", "<0x64>")]  # of c, which is a token itself, and of d
    for unknown, missing in ("<unk>", some), (None, some), (None, pieces(bytes_too=False)):
        with pytest.raises(FormatError, match=r"no token for the byte 0x\w\w, which is supported only"):
            tokenizer_json.parse(json_of(missing, unknown))
    enough = [row for row in rows if row[0] != "<0x63>"]
    assert spellings(BaseTokenizer.of(tokenizer_json.parse(json_of(enough))), "cdé") == [
        "▁",
        "c",
        "<0x64>",
        "<0xC3>",
        "<0xA9>",
    ]
    without = BaseTokenizer.of(tokenizer_json.parse(json_of(pieces(bytes_too=False))))
    assert spellings(without, "dca") == ["▁", "<unk>", "c", "a"]


def test_a_model_that_json_cannot_express_is_not_written(tmp_path: Path) -> None:
    own = BaseTokenizer.of(sentencepiece.parse(model_file([row for row in pieces() if row[0] != "<0x64>"])))
    with pytest.raises(ValueError, match="it would be one that has no token for the byte 0x64"):
        own.save(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("name", ["c", "<0x64>"])
def test_special_tokens_that_stand_for_text_are_refused(name: str) -> None:
    with pytest.raises(FormatError, match=f"the special token '{name}', which stands for"):
        tokenizer_json.parse(json_of(pieces(), content=name, special=True))
    tokenizer_json.parse(json_of(pieces(), content=name, special=False))


@given(st.data())
def test_a_truncated_file_is_refused_or_another_vocabulary(data: st.DataObject) -> None:
    for whole, parse in (model_file(pieces()), sentencepiece.parse), (llama2c_file(pieces()), llama2c.parse):
        cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
        with suppress(FormatError):
            assert len(parse(cut).pieces) <= len(pieces())


@given(st.binary(max_size=60))
def test_junk_is_refused(data: bytes) -> None:
    for parse in sentencepiece.parse, llama2c.parse:
        with pytest.raises(FormatError):
            parse(data)


def test_two_pieces_of_the_same_text_are_refused() -> None:
    rows = [*pieces(), (WORDS[0], 0.0, NORMAL)]
    for data, parse in (model_file(rows), sentencepiece.parse), (llama2c_file(rows), llama2c.parse):
        with pytest.raises(FormatError, match="two"):
            parse(data)


@pytest.mark.parity
@pytest.mark.shared
def test_ids_are_those_of_the_library(shared_data: Path) -> None:
    path = shared_data / "tokenizers" / "llama2" / "tokenizer.model"
    own, peer = load(path), pytest.importorskip("sentencepiece").SentencePieceProcessor(str(path))

    @cases(10)
    @given(awkward.map(lambda text: text.replace("\x00", "")))  # for the library a text ends there
    def all_is_equal(text: str) -> None:
        ids = peer.encode(text)
        assert own.encode_ordinary(text) == ids
        assert own.decode(ids, skip_special_tokens=True) == peer.decode(ids)

    all_is_equal()
    assert [own.id_to_token(i) for i in range(own.vocab_size)] == [peer.id_to_piece(i) for i in range(own.vocab_size)]


@pytest.mark.parity
@given(words=vocabularies, text=st.text("ab c", max_size=24))
def test_small_models_give_the_ids_of_the_library(words: list[str], text: str) -> None:
    library = pytest.importorskip("sentencepiece")
    for normalizer in b"", field(4, 1), field(3, 0):
        data = model_file(pieces(list(dict.fromkeys(words))), normalizer=normalizer)
        peer = library.SentencePieceProcessor(model_proto=data)
        assert BaseTokenizer.of(sentencepiece.parse(data)).encode(text) == peer.encode(text)
