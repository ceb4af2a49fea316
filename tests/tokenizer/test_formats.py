"""What is saved is what is loaded, and a file with unsupported content is refused in a sentence that names it."""

from __future__ import annotations

import copy
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizer.helpers import byte_pairs
from tokenizer import END_OF_TEXT, PADDING, UNKNOWN, AddedToken, CharTokenizer, FormatError, Tokenizer, load
from tokenizer.formats.tokenizer_json import parse, serialize
from tokenizer.models.base import BaseTokenizer

TEXT = "the cat sat on the mat, the naïve cat 日本\n" * 3
BYTE_PAIRS = Tokenizer.train([TEXT], 280, [END_OF_TEXT, PADDING])
CHARACTERS = CharTokenizer.train([TEXT], [END_OF_TEXT, UNKNOWN])
BYTE_PAIR_DOCUMENT = json.loads(serialize(BYTE_PAIRS.record))
CHARACTER_DOCUMENT = json.loads(serialize(CHARACTERS.record))
KINDS = pytest.mark.parametrize("tokenizer", [BYTE_PAIRS, CHARACTERS], ids=["byte pairs", "characters"])


@given(
    st.text("ab é日\udc80", max_size=40),
    st.integers(258, 300),
    st.sampled_from(["gpt2", "gpt4", r"\p{L}+"]),
    st.lists(st.sampled_from([END_OF_TEXT, "ab", "Ġé"]), unique=True, max_size=2),
)
def test_any_trained_tokenizer_reads_back_the_same(text: str, size: int, pattern: str, names: list[str]) -> None:
    for tokenizer in Tokenizer.train([text], size, names, pattern), CharTokenizer.train([text], names):
        assert BaseTokenizer.of(parse(json.loads(serialized(tokenizer)))) == tokenizer


def serialized(tokenizer: Tokenizer | CharTokenizer) -> bytes:
    return serialize(tokenizer.record)


@KINDS
def test_save_and_load_a_file_or_a_folder(tokenizer: Tokenizer | CharTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "new" / "my.json")
    tokenizer.save(tmp_path)
    assert load(tmp_path / "new" / "my.json") == load(tmp_path) == type(tokenizer).load(str(tmp_path)) == tokenizer
    assert sorted(os.listdir(tmp_path)) == ["new", "tokenizer.json"]


def test_merges_may_be_written_as_pairs() -> None:
    document = copy.deepcopy(BYTE_PAIR_DOCUMENT)
    document["model"]["merges"] = [merge.split(" ") for merge in document["model"]["merges"]]
    assert BaseTokenizer.of(parse(document)) == BYTE_PAIRS


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CHARACTERS.save(tmp_path)

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    for step in "fsync", "replace":
        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(OSError, match="the disk is full"):
                BYTE_PAIRS.save(tmp_path)
        assert os.listdir(tmp_path) == ["tokenizer.json"]
        assert load(tmp_path) == CHARACTERS


def test_what_would_be_read_back_differently_is_not_written(tmp_path: Path) -> None:
    a_word_twice = byte_pairs([*BYTE_PAIRS.tokens, b"the", b"the"], BYTE_PAIRS.merges, BYTE_PAIRS.added_tokens)
    with pytest.raises(ValueError, match="spelled alike"):
        a_word_twice.save(tmp_path)
    assert not os.listdir(tmp_path)


# Files that are refused


def refuse(path: Path, data: bytes, message: str = "") -> None:
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@KINDS
@given(fraction=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(tokenizer: Tokenizer, tmp_path_factory: Any, fraction: float) -> None:
    data = serialized(tokenizer)
    refuse(tmp_path_factory.mktemp("cut") / "cut.json", data[: int(fraction * len(data))], "is damaged")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{\xff\xfe\x00junk", "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "describes no model"),
        (b'{"model": 3}', "describes no model"),
        (b'{"model": {"type": "Unigram"}}', 'a model of type "Unigram"'),
        (b'{"model": {"type": "BPE"}, "speed": 2}', "asks for speed = 2"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    refuse(tmp_path / "junk.json", data, message)


SPLIT = BYTE_PAIR_DOCUMENT["pre_tokenizer"]["pretokenizers"][0]
BYTE_LEVEL = BYTE_PAIR_DOCUMENT["decoder"]
PREFIXED = BYTE_LEVEL | {"use_regex": True, "add_prefix_space": True}
TOKEN = BYTE_PAIR_DOCUMENT["added_tokens"][0]
THE = BYTE_PAIRS.tokens.index(b"the")
EDITS = [  # (where, the new value, what the sentence says)
    ("normalizer", {"type": "Nmt"}, 'normalizer = {"type": "Nmt"}'),
    ("normalizer", {"type": "NFC", "speed": 2}, "normalizer.speed = 2"),
    (
        "normalizer",
        {"type": "Replace", "pattern": {"Regex": "a"}, "content": "b"},
        'normalizer.pattern = {"Regex": "a"}',
    ),
    ("normalizer", {"type": "Sequence", "normalizers": [{"type": "Strip"}]}, 'normalizer = {"type": "Strip"}'),
    ("normalizer", {"type": "Sequence"}, "normalizer.normalizers = null"),
    ("truncation", 8, "truncation = 8"),
    (
        "post_processor",
        {"type": "Sequence", "processors": [BYTE_LEVEL, BYTE_LEVEL]},
        'post_processor = {"type": "Sequence"',
    ),
    ("decoder", None, "decoder = null"),
    ("decoder", {"type": "Fuse"}, 'decoder.type = "Fuse"'),
    ("post_processor", {"type": "BertProcessing"}, "post_processor.cls = null"),
    ("post_processor", {"type": "Other"}, 'post_processor = {"type": "Other"}'),
    ("post_processor", {"type": "TemplateProcessing", "single": [{"SpecialToken": {}}]}, "post_processor"),
    ("pre_tokenizer", None, "pre_tokenizer = null"),
    ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [SPLIT]}, "pre_tokenizer"),
    (
        "pre_tokenizer",
        {"type": "Sequence", "pretokenizers": [SPLIT, PREFIXED]},
        "pre_tokenizer.add_prefix_space = true",
    ),
    ("pre_tokenizer", BYTE_LEVEL | {"use_regex": False}, "which does not split the text"),
    ("pre_tokenizer.pretokenizers.0.behavior", "MergedWithNext", 'pre_tokenizer.behavior = "MergedWithNext"'),
    ("pre_tokenizer.pretokenizers.0.pattern", {"Other": " "}, "pre_tokenizer.pattern"),
    ("pre_tokenizer.pretokenizers.0.pattern.Regex", "[a", "is not a regular expression"),
    ("pre_tokenizer.pretokenizers.0.pattern.Regex", "\\d{1,3}+", "reads differently"),
    ("model.byte_fallback", True, "model.fuse_unk = false"),
    ("model.dropout", 0.1, "model.dropout = 0.1"),
    ("model.vocab", [], "its vocab is not a table"),
    ("model.vocab.!", 10**9, "has the id 1000000000"),
    ("model.vocab.!", 3, "have the same id 3"),
    ("model.vocab." + "a" * 9999, 3, "aaa... have the same id 3"),
    ("model.vocab.!", "2", 'its vocab has "!" with the id "2"'),
    ("model.vocab.!", -1, 'its vocab has "!" with the id -1'),
    ("model.vocab.日", 280, "the token '日', which is not spelled in the byte-level alphabet"),
    ("model.merges", {}, "its merges are not a list"),
    ("model.merges.0", "a b c", 'the merge "a b c" is not a pair of its tokens'),
    ("model.merges.0", ["a", 3], "is not a pair"),
    ("model.merges.0", "! !", "a merge makes '!!', which is no token"),
    ("added_tokens", {}, "added_tokens are not a list"),
    ("added_tokens.0", 5, "added_tokens = 5"),
    ("added_tokens.0.lstrip", 2, "added_tokens.lstrip = 2"),
    ("added_tokens.0.id", 7, "the added token '<|endoftext|>' has another id in the vocab"),
    ("added_tokens.0.id", -7, "contradicts others or is incomplete"),
    ("added_tokens.1", TOKEN, "contradicts"),
    ("added_tokens.0.content", "\ud800", "contradicts others or is incomplete"),
    ("added_tokens.0", TOKEN | {"content": "the", "id": THE}, "merges that make the special token 'the'"),
]


def edited(document: dict, where: str, value: Any) -> bytes:
    document = copy.deepcopy(document)
    *path, last = where.split(".")
    part: Any = document
    for key in path:
        part = part[int(key) if isinstance(part, list) else key]
    part[int(last) if isinstance(part, list) else last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(("where", "value", "message"), EDITS)
def test_unsupported_content_is_named(tmp_path: Path, where: str, value: Any, message: str) -> None:
    refuse(tmp_path / "edited.json", edited(BYTE_PAIR_DOCUMENT, where, value), message)


def without_byte(spelling: str) -> dict:
    document = copy.deepcopy(BYTE_PAIR_DOCUMENT)
    del document["model"]["vocab"][spelling]
    return document


def test_an_added_token_may_stand_for_bytes() -> None:
    """A token that is spelled as bytes is those bytes, except a special token, which is its name."""
    document = without_byte("þ")  # 0xFE, which never occurs in UTF-8
    vocab = document["model"]["vocab"]
    names = {"Ġcat": vocab["Ġcat"], "é": vocab["é"], "þ": 280, "日": 281}
    document["added_tokens"] += [{"content": name, "id": i, "special": False} for name, i in names.items()]
    document["added_tokens"].append({"content": "<é>", "id": 282, "special": True})
    tokenizer = BaseTokenizer.of(parse(document))
    assert tokenizer.encode("Ġcat cat日") == [names["Ġcat"], names["Ġcat"], names["日"]]
    assert tokenizer.encode_bytes(b"\xe9\xfe") == tokenizer.encode("éþ") == [names["é"], names["þ"]]
    assert [tokenizer.id_of(name) for name in ("Ġcat", "日", " cat")] == [names["Ġcat"], 281, names["Ġcat"]]
    assert tokenizer.decode_bytes([*names.values(), 282]) == b" cat\xe9\xfe" + "日<é>".encode()
    assert BaseTokenizer.of(parse(json.loads(serialize(tokenizer.record)))) == tokenizer


def test_added_tokens_are_not_written_into_the_vocab() -> None:
    """In the vocab they would be whole words if merges are ignored."""
    names = ["zz", "\n"]
    added = [AddedToken(name, 280 + i, special=False) for i, name in enumerate(names)]
    record = BYTE_PAIRS.record._replace(ignore_merges=True)
    tokens, every_added = [*record.tokens, b"zz", b"\n"], (*record.added_tokens, *added)
    written = json.loads(serialize(record._replace(tokens=tokens, added_tokens=every_added)))
    assert len(written["model"]["vocab"]) == 280
    assert [token["content"] for token in written["added_tokens"]][-2:] == names


def test_a_byte_without_a_token_is_left_out(tmp_path: Path) -> None:
    document = without_byte("~")
    assert BaseTokenizer.of(parse(document)).encode("a~") == BYTE_PAIRS.encode("a")
    refuse(tmp_path / "unknown.json", edited(document, "model.unk_token", "a"), "asks for model.unk_token")
    spelled = TOKEN | {"content": "~", "id": 280, "special": False}
    refuse(
        tmp_path / "added.json",
        edited(document, "added_tokens.1", spelled),
        "the added token '~', which is the spelling",
    )
    complete = edited(BYTE_PAIR_DOCUMENT, "model.unk_token", "a")
    assert BaseTokenizer.of(parse(json.loads(complete))) == BYTE_PAIRS


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("model.unk_token", "<unk>", 'model.unk_token = "<unk>"'),
        ("model.max_chars", 3, "model.max_chars = 3"),
        ("model.vocab.ab", CHARACTERS.vocab_size, "the token 'ab', which is not a single character"),
        ("pre_tokenizer", {"type": "Whitespace"}, "pre_tokenizer"),
        ("decoder", None, "decoder = null"),
    ],
)
def test_the_same_for_characters(tmp_path: Path, where: str, value: Any, message: str) -> None:
    refuse(tmp_path / "edited.json", edited(CHARACTER_DOCUMENT, where, value), message)


scalars = st.none() | st.booleans() | st.integers(-3, 400) | st.floats() | st.text(max_size=5) | st.just("a b")
junk = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@pytest.mark.filterwarnings("ignore:the .* of a tokenizer.json is left out")
@given(st.sampled_from([BYTE_PAIR_DOCUMENT, CHARACTER_DOCUMENT]), st.integers(0, 2**32 - 1), junk)
def test_damage_anywhere_is_refused_or_harmless(document: dict, seed: int, value: Any) -> None:
    rng = np.random.default_rng(seed)
    document = part = copy.deepcopy(document)
    while True:  # descend at random, so that the few structural parts are hit as often as the many tokens
        key = list(part)[rng.integers(len(part))] if isinstance(part, dict) else int(rng.integers(len(part)))
        if not isinstance(part[key], (dict, list)) or not part[key] or rng.random() < 0.3:
            part[key] = value
            break
        part = part[key]
    with suppress(FormatError):
        tokenizer = BaseTokenizer.of(parse(json.loads(json.dumps(document))))
        tokenizer.decode(tokenizer.encode_ordinary("the cat"))


def test_any_kind_is_loaded_and_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json does not exist"):
        load(tmp_path)
    CHARACTERS.save(tmp_path)
    assert isinstance(Tokenizer.load(tmp_path), CharTokenizer)
