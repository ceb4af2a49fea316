"""The same ids, offsets and texts as Hugging Face's `tokenizers`, for the files of real models and for small ones in
which everything that a file can ask for is combined at random."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.tokenizer.helpers import (
    BERT,
    LONG,
    awkward,
    cases,
    check_plain,
    file_in,
    hugging_face,
    load,
    spelled_vocabulary,
)
from tokenizer import BaseTokenizer, FormatError, Tokenizer
from tokenizer.formats import vocabularies
from tokenizer.formats.tokenizer_json import parse, serialize

pytestmark = pytest.mark.parity
MODELS = ["gpt2", "llama3", "qwen2_5", "smollm2", "llama2", "bert"]
# Tested if they are among the real data.
MORE = [pytest.param(name, marks=pytest.mark.slow) for name in ("qwen3", "gemma3", "deepseek_v3", "mistral_nemo")]
SOURCES = {"bert": "bert-base-uncased.vocab.json", "llama2": "tokenizer.model"}


def file_of(name: str, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's tokenizer.json; what has none is saved as one by us."""
    path = shared_data / "tokenizers" / name / "tokenizer.json"
    if path.is_file():
        return path
    source = file_in(shared_data, f"{name}/{SOURCES.get(name, path.name)}")
    saved = tmp_path_factory.getbasetemp() / name / "tokenizer.json"
    if not saved.is_file():
        load(source).save(saved)
    return saved


def check(own: BaseTokenizer, peer: Any, as_text: Any, text: str) -> None:
    expected = peer.encode(text)
    ids, offsets = own.encode_with_offsets(text, allowed_special="all", add_special_tokens=True)
    assert ids == expected.ids
    assert own.encode(text, allowed_special="all", add_special_tokens=True) == ids
    check_plain(own, text, as_text.encode(text, add_special_tokens=False).ids)
    if not isinstance(own, Tokenizer) or -1 not in own.model.word_encoder.byte_ids:
        assert offsets == expected.offsets  # where bytes are left out, theirs are wrong
    for skip in True, False:
        assert own.decode(ids, skip_special_tokens=skip) == peer.decode(ids, skip_special_tokens=skip)


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "llama3")) for name in MODELS] + MORE
)
def test_ids_and_offsets_of_real_models(name: str, shared_data: Path, tmp_path_factory: Any) -> None:
    path = file_of(name, shared_data, tmp_path_factory)
    own, peer, as_text = load(path), hugging_face(path), hugging_face(path, as_text=True)

    @cases(4)
    @given(awkward)
    def all_is_equal(text: str) -> None:
        check(own, peer, as_text, text)

    all_is_equal()
    assert peer.get_vocab_size() == own.vocab_size
    assert peer.get_vocab() == spelled_vocabulary(own)


@pytest.mark.shared
@pytest.mark.parametrize("name", MODELS + MORE)
def test_any_ids_of_real_models_decode_alike(name: str, shared_data: Path, tmp_path_factory: Any) -> None:
    path = file_of(name, shared_data, tmp_path_factory)
    own, peer = load(path), hugging_face(path)
    known = st.integers(0, own.vocab_size - 1) | st.integers(0, 300) | st.sampled_from([t.id for t in own.added_tokens])

    @cases(3)
    @given(st.lists(known.filter(lambda i: own.tokens[i] is not None), max_size=10), st.booleans())
    def texts_are_equal(ids: list[int], skip: bool) -> None:
        assert own.decode(ids, skip_special_tokens=skip) == peer.decode(ids, skip_special_tokens=skip)

    texts_are_equal()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "change", "text"),
    [("llama3", {"ignore_merges": False}, " việc"), ("qwen2_5", {"normalizer": None}, "\u212b e\u0301")],
)
@pytest.mark.control
def test_a_missing_step_is_noticed(name: str, change: dict, text: str, shared_data: Path) -> None:
    """Without one of its steps a tokenizer gives other ids."""
    path = shared_data / "tokenizers" / name / "tokenizer.json"
    expected = hugging_face(path).encode(text, add_special_tokens=False).ids
    assert load(path).encode_ordinary(text) == expected
    assert BaseTokenizer.of(load(path).record._replace(**change)).encode_ordinary(text) != expected


@pytest.mark.shared
@pytest.mark.parametrize("name", ["gpt2", "qwen2_5", "smollm2", *MORE])
def test_what_is_written_again_is_the_same(name: str, shared_data: Path, tmp_path: Path) -> None:
    own = load(file_in(shared_data, f"{name}/tokenizer.json"))
    own.save(tmp_path / "tokenizer.json")
    peer = hugging_face(tmp_path / "tokenizer.json")

    @cases(3)
    @given(awkward)
    def ids_are_equal(text: str) -> None:
        assert peer.encode(text).ids == own.encode(text, allowed_special="all", add_special_tokens=True)

    ids_are_equal()


# Small tokenizers with everything in them

TEXT = "the cat sat on the mat; 'twas naïve — 日本語 日本 😀😀 and 1234 more cats.\n\n  the end e\u0301\n" * 3
DOCUMENTS = {
    pattern: serialize(Tokenizer.train([TEXT], 330, ["<|endoftext|>"], pattern).record)
    for pattern in ["gpt2", "llama3"]
}
PIECES = ["the", " the", " cat", " ", "  ", "\n", "<|endoftext|>", "<t>", "abc", "cat", "_", "é", "e\u0301", "\u0301"]
PIECES += ["日本", "1", "23", "a", "<u> ", "X", "\t", "—", "s", "'s", ".", "aba", "ab", "\u00a0", "İ", "\u1e9b\u0323"]
PIECES += ["Ġthe", "Ġ", "ü", "Å", "ﬁ", "\x1c", "<=>", "<="]
NAMES = ["<t>", "cat", "<u> ", "zz", "the", "1", "X", "Ġthe", "ü", "Å", "ﬁ", "\n", " X", "<=>"]
texts = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
flags = st.fixed_dictionaries(dict.fromkeys(["single_word", "lstrip", "rstrip", "special"], st.booleans()))


def byte_level(**options: bool) -> dict:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True, **options}


@st.composite
def documents(draw: st.DrawFn) -> dict:
    document = json.loads(DOCUMENTS[draw(st.sampled_from(sorted(DOCUMENTS)))])
    vocab = document["model"]["vocab"]
    document["model"]["ignore_merges"] = draw(st.booleans())
    vocab |= {"<=": len(vocab), "<=>": len(vocab) + 1}
    document["model"]["merges"] += ["< =", "<= >"]
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4)):
        i = vocab.get(name, len({*vocab.values(), *(token["id"] for token in document["added_tokens"])}))
        token = {"id": i, "content": name, **draw(flags), "normalized": draw(st.booleans()) and name == "zz"}
        # A special " X" that is to be plain text would hide "X" from `tokenizers`.
        if name in vocab and name != "<=>" or name == " X":
            token["special"] = False
        document["added_tokens"].append(token)
    forms = [{"type": form} for form in ["NFC", "NFD", "NFKC", "NFKD"]]
    lower = {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "_"}
    document["normalizer"] = draw(st.sampled_from([None, *forms, {"type": "Lowercase"}, lower, replace]))
    digits = {"type": "Digits", "individual_digits": draw(st.booleans())}
    split = {"type": "Split", "pattern": {"String": "ca"}, "behavior": "Isolated", "invert": False}
    sequences = [[digits, byte_level()], [split, byte_level()], [digits, split, byte_level()]]
    document["pre_tokenizer"] = draw(
        st.just(document["pre_tokenizer"])
        | st.just(byte_level(add_prefix_space=True))
        | st.sampled_from([{"type": "Sequence", "pretokenizers": steps} for steps in sequences])
    )
    document["post_processor"] = draw(
        st.booleans().flatmap(lambda prefixed: st.sampled_from(post_processors(prefixed)))
    )
    return document


def post_processors(prefixed: bool) -> list[dict | None]:
    end = ["<|endoftext|>", 0]
    special, first, second = ({"SpecialToken": {"id": "E", "type_id": 0}}, *(
        {"Sequence": {"id": letter, "type_id": i}} for i, letter in enumerate("AB")
    ))  # fmt: skip
    template = {
        "type": "TemplateProcessing",
        "single": [special, first, special],
        "pair": [first, special, second],
        "special_tokens": {"E": {"id": "E", "ids": [0, 0], "tokens": ["<|endoftext|>"] * 2}},
    }
    trimming = byte_level(trim_offsets=True, add_prefix_space=prefixed)
    roberta = {"type": "RobertaProcessing", "sep": end, "cls": end, "trim_offsets": True, "add_prefix_space": prefixed}
    sequence = {"type": "Sequence", "processors": [trimming, template]}
    bert = {"type": "BertProcessing", "sep": end, "cls": end}
    return [None, byte_level(), trimming, template, roberta, sequence, bert]


EXAMPLES = 20_000 if LONG else 3 * settings().max_examples


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(documents(), st.lists(texts, min_size=6, max_size=6))
def test_whatever_a_file_asks_for(document: dict, samples: list[str]) -> None:
    hf = pytest.importorskip("tokenizers")
    try:
        own = BaseTokenizer.of(parse(json.loads(json.dumps(document))))
    except FormatError:
        assume(False)
    peer, as_text = (hf.Tokenizer.from_str(json.dumps(document)) for _ in range(2))
    as_text.encode_special_tokens = True
    again = hf.Tokenizer.from_str(serialize(own.record).decode())
    for text in samples:
        check(own, peer, as_text, text)
        assert again.encode(text).ids == peer.encode(text).ids
        assert own.encode_pair(text, samples[0], allowed_special="all") == peer.encode(text, samples[0]).ids


words = st.lists(st.sampled_from(["cats", "hs", "has", "Cat", "xa", "thes", "don't", "h"]), max_size=8).map(" ".join)


@st.composite
def word_pieces(draw: st.DrawFn) -> dict:
    """A tokenizer.json of BERT's kind."""
    document = json.loads(serialize(vocabularies.parse_word_pieces([*BERT, "##a", "é", "e", "##\u0301", "x"], {})))
    vocab = document["model"]["vocab"]
    document["model"]["max_input_chars_per_word"] = draw(st.sampled_from([3, 100]))
    switches = ["clean_text", "handle_chinese_chars", "lowercase"]
    options = {switch: draw(st.booleans()) for switch in switches} | {"strip_accents": draw(st.none() | st.booleans())}
    bert = {"type": "BertNormalizer", **options}
    document["normalizer"] = draw(st.just(bert) | st.sampled_from([None, {"type": "Lowercase"}, {"type": "NFKC"}]))
    for name in draw(st.lists(st.sampled_from(["ca", "<t>", "a", "h", "X"]), unique=True, max_size=3)):
        size = len({*vocab.values(), *(token["id"] for token in document["added_tokens"])})
        token = {"id": vocab.get(name, size), "content": name, **draw(flags), "normalized": False}
        document["added_tokens"].append(token | {"special": token["special"] and name == "<t>"})
    return document


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(
    word_pieces(), st.lists(texts | words | st.text("theCatsx日é\u0301 ,.'\0<>", max_size=12), min_size=6, max_size=6)
)
def test_whatever_a_file_of_word_pieces_asks_for(document: dict, samples: list[str]) -> None:
    hf = pytest.importorskip("tokenizers")
    own = BaseTokenizer.of(parse(json.loads(json.dumps(document))))
    peer, as_text = (hf.Tokenizer.from_str(json.dumps(document)) for _ in range(2))
    as_text.encode_special_tokens = True
    again = hf.Tokenizer.from_str(serialize(own.record).decode())
    assert peer.get_vocab() == again.get_vocab() == spelled_vocabulary(own)
    for text in samples:
        check(own, peer, as_text, text)
        assert again.encode(text).ids == peer.encode(text).ids
        assert own.encode_pair(text, samples[0], allowed_special="all") == peer.encode(text, samples[0]).ids
