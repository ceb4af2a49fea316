"""Bytes without a token, ids that are none, types of the parts of a template, names of added tokens in decoding."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.tokenizer.helpers import BERT, TEXT, every_kind, model_file, pieces
from tokenizer import AddedToken, BaseTokenizer, Tokenizer, UnknownToken
from tokenizer.bpe.heap import merge_heap
from tokenizer.bpe.many_words import MIN_LONG_BYTES
from tokenizer.bpe.merge_table import merge_table
from tokenizer.formats import sentencepiece, tokenizer_json, vocabularies
from tokenizer.formats.components import read_post_processor, write_post_processor
from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.text.bert_normalizer import BertNormalizer
from tokenizer.text.byte_alphabet import unspell
from tokenizer.text.normalize import Lowercase, Normalizer, Prepend, Replace, Sequence, UnicodeForm
from tokenizer.text.offsets import OffsetTrimming
from tokenizer.text.template import Template, begin_template, bert_template, roberta_template

# Bytes without a token are left out, in words of every length


def definition(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of each word, merged by itself, from the ids of those of its bytes that have one."""
    table = merge_table(tokenizer.tokens, tokenizer.merges)
    id_of = {token: i for i, token in enumerate(tokenizer.tokens)}
    words = [word.encode() for word in Pretokenizer(tokenizer.pattern).split(text)]
    return [i for word in words for i in merge_heap([id_of[bytes([b])] for b in word if bytes([b]) in id_of], table)]


@settings(max_examples=max(5, settings().max_examples // 4))
@given(
    alphabet=st.sets(st.sampled_from("abcd é"), min_size=1),
    letters=st.text("abcdé", min_size=1, max_size=6),
    around=st.text("abcd é", max_size=12),
    size=st.sampled_from([1, 100, MIN_LONG_BYTES]),
)
def test_bytes_without_a_token_are_left_out_of_words_of_any_length(
    alphabet: set[str], letters: str, around: str, size: int
) -> None:
    known = "".join(sorted(alphabet))
    tokenizer = Tokenizer.train([known * 4], 40, initial_alphabet=known.encode(), pattern="gpt2")
    as_long_text(tokenizer)
    text = f"{around} {letters * (size // len(letters) + 1)} {around} " + "ab cd " * 40
    expected = definition(tokenizer, text)
    assert tokenizer.encode(text) == expected
    assert tokenizer.encode_array(text).tolist() == expected
    assert tokenizer.encode_batch([text, around]) == [expected, definition(tokenizer, around)]


def as_long_text(tokenizer: Tokenizer) -> None:
    """Let texts of any length go the way of long texts."""
    tokenizer.model.text_encoder.min_vector_characters = tokenizer.model.text_encoder.min_total_characters = 0


def test_a_very_long_word_really_has_bytes_without_a_token() -> None:
    tokenizer = Tokenizer.train(["abab"], 260, initial_alphabet=b"ab", pattern="gpt2")
    as_long_text(tokenizer)
    text = "ab" * MIN_LONG_BYTES + "c" * MIN_LONG_BYTES + "ab"
    assert set(tokenizer.encode_array(text).tolist()) <= set(range(tokenizer.vocab_size))
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("c", "")


# Ids that are none, in lists and arrays of every length

KINDS = every_kind()
DTYPES = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


@pytest.mark.parametrize("kind", KINDS)
@given(dtype=st.sampled_from(DTYPES), some=st.lists(st.integers(0, 70), min_size=1, max_size=5), data=st.data())
def test_an_id_that_is_none_is_an_error_wherever_it_stands(
    kind: str, dtype: Any, some: list[int], data: st.DataObject
) -> None:
    tokenizer = KINDS[kind]
    for count in 1, 20, 501, 3000:  # few ids are decoded one by one, many as arrays
        ids = np.resize(np.array(some) % tokenizer.vocab_size, count).astype(dtype)
        assert tokenizer.decode_bytes(ids) == tokenizer.decode_bytes(ids.tolist())
        limits = np.iinfo(dtype)
        place = data.draw(st.integers(0, count - 1))
        for stray in (-1, limits.min, limits.max, tokenizer.vocab_size):
            if not limits.min <= stray <= limits.max or 0 <= stray < tokenizer.vocab_size:
                continue
            ids[place] = stray
            for wrong in (ids, ids.tolist(), tuple(ids.tolist()), iter(ids.tolist())):
                with pytest.raises(UnknownToken, match="there is no token with id"):
                    tokenizer.decode_bytes(wrong)
            with pytest.raises(UnknownToken, match="there is no token with id"):
                tokenizer.decode(ids)


def test_an_unused_id_is_an_error_too() -> None:
    record = Tokenizer.train([TEXT], 300).record
    tokenizer = Tokenizer(record._replace(tokens=[*record.tokens, None, b"end"]))
    for count in 1, 3000:
        assert tokenizer.decode_bytes(np.full(count, 301)) == b"end" * count
        with pytest.raises(UnknownToken, match="there is no token with id 300"):
            tokenizer.decode_bytes(np.array([301] * count + [300]))


# The types of the parts of a template

SPECIAL = st.tuples(st.integers(5, 9))
TYPES = st.integers(0, 3)


@st.composite
def templates(draw: Any) -> Template:
    single = draw(st.permutations(["A", *draw(st.lists(SPECIAL, max_size=2))]))
    pair = draw(st.permutations(["A", "B", *draw(st.lists(SPECIAL, max_size=3))]))
    types = [tuple(draw(st.lists(TYPES, min_size=len(parts), max_size=len(parts)))) for parts in (single, pair)]
    return Template(tuple(single), tuple(pair), *types)


@given(st.just(Template()) | templates(), st.sampled_from([None, OffsetTrimming(True), OffsetTrimming(False)]))
def test_a_template_is_read_back_with_its_types(template: Template, trimming: OffsetTrimming | None) -> None:
    spelling = [f"<{i}>" for i in range(10)]
    spec = json.loads(json.dumps(write_post_processor(template, trimming, spelling)))
    assert read_post_processor(spec) == (template, trimming)


@pytest.mark.parity
@given(first=templates())
def test_the_types_are_those_of_hugging_faces_library(first: Template) -> None:
    """Each of our templates, written for `tokenizers`, gives the ids that we give, and the types that it says."""
    peers = pytest.importorskip("tokenizers")
    vocab = {f"<{i}>": i for i in range(10)} | {"a": 10, "b": 11}
    cls, sep = ("<5>", 5), ("<6>", 6)
    built_in = {
        bert_template(5, 6): {"type": "BertProcessing", "cls": cls, "sep": sep},
        roberta_template(5, 6): {
            "type": "RobertaProcessing", "cls": cls, "sep": sep, "trim_offsets": False, "add_prefix_space": False
        },
    }  # fmt: skip
    for template in (first, Template(), bert_template(5, 6), roberta_template(5, 6), begin_template(5)):
        specs = [write_post_processor(template, None, list(vocab))]
        specs += [built_in[template]] if template in built_in else []
        for spec in specs:
            model = {"type": "WordLevel", "vocab": vocab, "unk_token": "<0>"}
            document = {
                "version": "1.0",
                "added_tokens": [],
                "normalizer": None,
                "pre_tokenizer": None,
                "decoder": None,
            }
            peer = peers.Tokenizer.from_str(json.dumps(document | {"post_processor": spec, "model": model}))
            for texts in (["a"], ["a", "b"]):
                theirs = peer.encode(*texts)
                parts, types = (template.single, template.single_types)
                if len(texts) == 2:
                    parts, types = template.pair, template.pair_types
                assert theirs.ids == template.fill(*([vocab[text]] for text in texts))
                assert theirs.type_ids == [t for t, part in zip(types, parts) for _ in part]


def test_the_types_of_the_usual_templates() -> None:
    assert (bert_template(5, 6).single_types, bert_template(5, 6).pair_types) == ((0, 0, 0), (0, 0, 0, 1, 1))
    assert (roberta_template(5, 6).single_types, roberta_template(5, 6).pair_types) == ((0,) * 3, (0,) * 6)
    assert (begin_template(5).single_types, begin_template(5).pair_types) == ((0, 0), (0, 0, 1, 1))
    assert Template() == Template(("A",), ("A", "B"), (0,), (0, 1)), "one text, or two, and nothing around them"
    for template in (Template(), bert_template(5, 6), roberta_template(5, 6), begin_template(5)):
        assert (template.fill([1]).count(1), [i for i in template.fill([1], [2]) if i < 5]) == (1, [1, 2])
        assert len(template.single) == len(template.single_types)
        assert len(template.pair) == len(template.pair_types)


# Added tokens that are looked for in normalized text

NORMALIZERS: dict[str, Normalizer | None] = {
    "none": None,
    "lower case": Lowercase(),
    "NFKC": UnicodeForm("NFKC"),
    "a space first": Sequence((Prepend("\u2581"), Replace(" ", "\u2581"))),
    "several": Sequence((UnicodeForm("NFKC"), Lowercase(), Replace("e", "x"))),
    "BERT": BertNormalizer(),
}
NAMES = ["<tool>", "<TOOL>", "ｅ<Ü>", "é", "İx", "< x >"]


def tokenizer_of(kind: str, normalizer: str, name: str, *, special: bool) -> BaseTokenizer:
    record = {
        "byte pairs": Tokenizer.train([TEXT], 300).record,
        "SentencePiece": KINDS["SentencePiece in JSON"].record,
        "WordPiece": vocabularies.parse_word_pieces(BERT, {}),
    }[kind]
    if kind != "SentencePiece":
        record = record._replace(normalizer=NORMALIZERS[normalizer])  # type: ignore[union-attr, call-arg]
    token = AddedToken(name, BaseTokenizer.of(record).vocab_size, special=special, normalized=True)
    vocabulary = {"tokens": [*record.tokens, name.encode()]} if kind == "byte pairs" else {}  # type: ignore[union-attr]
    if not vocabulary:
        vocabulary = {"pieces": [*record.pieces, name], "added_only": (*record.added_only, token.id)}  # type: ignore[union-attr]
    return BaseTokenizer.of(record._replace(added_tokens=(*record.added_tokens, token), **vocabulary))  # type: ignore[arg-type]


def test_the_name_of_an_added_token_is_decoded_normalized() -> None:
    llama = tokenizer_of("SentencePiece", "", "<tool>", special=False)
    ids = llama.encode("call <tool> nowfoo")
    assert llama.vocab_size - 1 in ids
    assert llama.decode(ids) == "call <tool> nowfoo"
    bert = tokenizer_of("WordPiece", "BERT", "<TOOL>", special=True)
    assert bert.decode(bert.encode("the <Tool> cat", allowed_special="all")) == "the <tool> cat"
    assert bert.token_to_id("<TOOL>") == bert.token_to_id("<tool>") == bert.vocab_size - 1
    bytes_ = tokenizer_of("byte pairs", "lower case", "<TOOL>", special=False)
    assert bytes_.decode(bytes_.encode("The<Tool>")) == "the<tool>"


@pytest.mark.parity
@given(
    kind=st.sampled_from(["byte pairs", "SentencePiece", "WordPiece"]),
    normalizer=st.sampled_from(sorted(NORMALIZERS)),
    name=st.sampled_from(NAMES),
    special=st.booleans(),
    text=st.lists(st.sampled_from(["the", " ", "cat", "Å", *NAMES]), max_size=6).map("".join),
)
def test_added_tokens_are_decoded_as_in_tokenizers(
    kind: str, normalizer: str, name: str, special: bool, text: str
) -> None:
    peers = pytest.importorskip("tokenizers")
    if tuple(map(int, peers.__version__.split(".")[:2])) < (0, 23):
        pytest.skip("before 0.23, tokenizers decoded an added token to its name in the file")
    assume(kind != "byte pairs" or unspell(name) in (None, name.encode()))  # a name that spells other bytes
    own = tokenizer_of(kind, normalizer, name, special=special)
    peer = peers.Tokenizer.from_str(tokenizer_json.serialize(own.record).decode())
    ids = own.encode(text, allowed_special="all")
    assert ids == peer.encode(text, add_special_tokens=False).ids
    theirs = peer.decode(ids, skip_special_tokens=False)
    assert own.decode(ids) == theirs or kind == "byte pairs" and "\ufffd" in theirs
    if not special:  # `tokenizers` does not skip a special token whose name was changed by the normalizer
        assert own.decode(ids, skip_special_tokens=True) == peer.decode(ids) or "\ufffd" in theirs
    last = own.vocab_size - 1
    assert own.id_to_token(last) == peer.id_to_token(last)
    assert BaseTokenizer.of(tokenizer_json.parse(json.loads(tokenizer_json.serialize(own.record)))) == own


def test_names_of_scores_are_as_before() -> None:
    """A SentencePiece model has no added tokens that are normalized: nothing changes there."""
    tokenizer = BaseTokenizer.of(sentencepiece.parse(model_file(pieces())))
    assert [tokenizer.id_to_token(i) for i in range(3)] == ["<unk>", "<s>", "</s>"]
