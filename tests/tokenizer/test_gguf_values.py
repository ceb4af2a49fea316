"""The values of a GGUF file: what is written is read back, and what llama.cpp cannot say is refused."""

from __future__ import annotations

import copy
import json
import random
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizer.damage import VALUES
from tests.tokenizer.helpers import TEXT, awkward, byte_pairs, every_kind, model_file, pieces
from tokenizer import AddedToken, BaseTokenizer, CharTokenizer, FormatError, Tokenizer
from tokenizer.formats import gguf_values, gguf_writing, sentencepiece
from tokenizer.formats.gguf_values import DIGITS, DOCUMENT, LLAMA3, PREFIX, SPLITTINGS
from tokenizer.split.pretokenizer import Pretokenizer, PretokenizerSequence
from tokenizer.text.normalize import Lowercase, UnicodeForm
from tokenizer.text.prefix import Prefix
from tokenizer.text.template import ends_template, roberta_template

KINDS = every_kind()
TRAINED = Tokenizer.train([TEXT], 300, ["<|endoftext|>", "<|begin|>"], pattern="gpt2")
WITH_TOOL = BaseTokenizer.of(
    TRAINED.record._replace(
        tokens=[*TRAINED.tokens, b"<tool>", None, b"<end>"],
        added_tokens=(*TRAINED.added_tokens, AddedToken("<tool>", 300, special=False), AddedToken("<end>", 302)),
        template=ends_template(1, 0),
    )
)


def write(tokenizer: BaseTokenizer, roles: dict[str, int] | None = None, **options: Any) -> dict[str, Any]:
    return gguf_writing.write(tokenizer.record, roles or {}, **options)


def read(values: dict[str, Any]) -> BaseTokenizer:
    return BaseTokenizer.of(*gguf_values.read(values))


@pytest.mark.parametrize("name", SPLITTINGS)
@given(text=awkward)
def test_the_pattern_of_every_name_splits_a_text_into_parts(name: str, text: str) -> None:
    pattern = SPLITTINGS[name].pattern
    split = Pretokenizer(pattern) if isinstance(pattern, str) else PretokenizerSequence(pattern)
    assert "".join(split.split(text)) == text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("smollm", ["it", "'s", " ", "1", "2", " é日本", " ==", "\n", "\n", "X"]),
        ("qwen2", ["it", "'s", " ", "1", "2", " é日本", " ==\n\n", "X"]),
        ("llama-bpe", ["it", "'s", " ", "12", " é日本", " ==\n\n", "X"]),
        ("falcon", ["it", "'", "s", " 12", " é日本", " ", "==", "\n", "\n", "X"]),
        ("deepseek-llm", ["it", "'", "s", " ", "12", " é", "日本", " ==", "\n", "\n", "X"]),
        ("deepseek-coder", ["it", "'", "s", " ", "1", "2", " é", "日本", " ==", "\n", "\n", "X"]),
        ("tekken", ["it", "'s", " ", "1", "2", " é日本", " ==\n\n", "X"]),
    ],
)
def test_how_known_names_split(name: str, words: list[str]) -> None:
    pattern = SPLITTINGS[name].pattern
    split = Pretokenizer(pattern) if isinstance(pattern, str) else PretokenizerSequence(pattern)
    assert split.split("it's 12 é日本 ==\n\nX") == words


@pytest.mark.parametrize("kind", ["byte pairs", "SentencePiece", "llama2.c", "SentencePiece in JSON", "characters"])
def test_what_is_written_is_read_back(kind: str) -> None:
    own = KINDS[kind]
    values = write(own)
    assert read(values) == own
    assert all(isinstance(value, (str, bool, int, list)) for value in values.values())


@given(st.sampled_from(["gpt2", "llama3", "qwen2", "o200k", DIGITS.pattern, LLAMA3]), st.data())
def test_byte_pairs_with_every_setting_are_read_back(pattern: Any, data: st.DataObject) -> None:
    settings: dict[str, Any] = {"pattern": pattern}
    if pattern is LLAMA3:
        settings = {"pattern": "llama3", "ignore_merges": True}
    if pattern == "qwen2" and data.draw(st.booleans()):
        settings["normalizer"] = UnicodeForm("NFC")
    ends = st.none() | st.sampled_from([0, 1])
    settings["template"] = ends_template(data.draw(ends), data.draw(ends))
    own = BaseTokenizer.of(WITH_TOOL.record._replace(**settings))
    values = write(own, size=data.draw(st.integers(0, 320)))
    assert DOCUMENT not in values
    assert read(values) == own


def test_names_kinds_and_numbers_of_the_values() -> None:
    values = write(WITH_TOOL, {"eos_token": 0, "pad_token": 302}, chat_template="{{ 1 }}", size=305)
    lists = {key: values.pop(PREFIX + key) for key in ("tokens", "token_type", "merges")}
    assert values == {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True, "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 0, "tokenizer.ggml.padding_token_id": 302, "tokenizer.chat_template": "{{ 1 }}",
    }  # fmt: skip
    assert lists["tokens"][:2] == ["<|endoftext|>", "<|begin|>"]
    assert lists["tokens"][300:] == ["<tool>", "[PAD301]", "<end>", "[PAD303]", "[PAD304]"]
    assert lists["token_type"][:3] + lists["token_type"][300:] == [3, 3, 1, 4, 5, 3, 5, 5]
    assert lists["merges"][0] == "a t"


def test_roles_and_chat_templates_become_settings() -> None:
    named = [{"name": "default", "template": "{{ 1 }}"}, {"name": "tool_use", "template": "{{ 2 }}"}]
    for template in "{{ 1 }}", named, named[1:]:
        settings = read(write(WITH_TOOL, {"eos_token": 302, "unk_token": 0}, chat_template=template)).settings
        named_tokens = {"bos_token": "<|begin|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
        assert settings == named_tokens | {"chat_template": template}


def test_gpt4_has_the_name_of_nearly_its_pattern_and_a_tokenizer_json() -> None:
    own = Tokenizer.train([TEXT], 300, pattern="gpt4")
    values = write(own)
    assert values[f"{PREFIX}pre"] == "dbrx"
    assert read(values) == own
    del values[DOCUMENT]
    assert read(values) == BaseTokenizer.of(own.record._replace(pattern="llama3"))


@pytest.mark.parametrize("own", [CharTokenizer.train([TEXT]), Tokenizer.train([TEXT], 257, ["<|endoftext|>"])])
def test_a_tokenizer_without_merges_is_only_there_as_a_tokenizer_json(own: BaseTokenizer) -> None:
    assert write(own).keys() == {f"{PREFIX}model", DOCUMENT}
    assert write(own)[f"{PREFIX}model"] == "none"
    assert read(write(own)) == own


def test_arrays_are_lists() -> None:
    values = write(KINDS["SentencePiece"])
    arrays = {name: np.array(value) if name.endswith(("scores", "type")) else value for name, value in values.items()}
    assert read(arrays) == KINDS["SentencePiece"]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (byte_pairs(TRAINED.tokens, TRAINED.merges, pattern=r"\w+|\W+"), "has no name for its pattern"),
        (byte_pairs(TRAINED.tokens, TRAINED.merges, pattern="gpt2", ignore_merges=True), "and ignore_merges=True"),
        (byte_pairs(TRAINED.tokens, TRAINED.merges, pattern="gpt2", normalizer=Lowercase()), "with its normalizer"),
        (
            byte_pairs(TRAINED.tokens, TRAINED.merges, pattern="gpt2", prefix=Prefix()),
            "llama.cpp would use other prefix",
        ),
        (
            BaseTokenizer.of(TRAINED.record._replace(template=roberta_template(0, 1))),
            "llama.cpp would use other template",
        ),
        (KINDS["WordPiece"], "a WordPiece tokenizer cannot be written into a GGUF file"),
    ],
)
def test_what_llama_cpp_would_read_differently_is_not_written(own: BaseTokenizer, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(own)


GPT2 = write(WITH_TOOL, {"eos_token": 0, "unk_token": 0}, chat_template="{{ messages[0].content }}")
LLAMA = write(KINDS["SentencePiece"], {"eos_token": 2})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "asks for tokenizer.ggml.model = None, which is not supported"),
        (GPT2 | {f"{PREFIX}bos_token_id": 303}, "asks for tokenizer.ggml.bos_token_id = 303, but has 303 tokens"),
        (GPT2 | {f"{PREFIX}bos_token_id": True}, "is damaged: its tokenizer.ggml.bos_token_id is not a whole number"),
        (GPT2 | {f"{PREFIX}bos_token_id": -1}, "add_bos_token = true, but has no tokenizer.ggml.bos_token_id"),
        (GPT2 | {f"{PREFIX}add_bos_token": 1}, "asks for tokenizer.ggml.add_bos_token = 1, which is not supported"),
        (GPT2 | {f"{PREFIX}tokens": ["a", "a"], f"{PREFIX}token_type": [1, 1]}, "it has the token 'a' twice"),
        (GPT2 | {f"{PREFIX}token_type": ["x"] * 303}, "its token_type is not a list with one number"),
        (GPT2 | {"tokenizer.chat_template": 5}, "its chat template 'default' is not text"),
        (GPT2 | {"tokenizer.chat_templates": 5}, "its tokenizer.chat_templates is not a list of names"),
        (GPT2 | {DOCUMENT: "{}"}, f"contains a {DOCUMENT} that is not a tokenizer.json"),
        (GPT2 | {DOCUMENT: 1}, f"its {DOCUMENT} is not text"),
        (GPT2 | {DOCUMENT: write(KINDS["characters"])[DOCUMENT]}, "has other tokens than its tokenizer.ggml.tokens"),
        (LLAMA | {f"{PREFIX}scores": [1]}, "its scores is not a list with one number for each of its"),
    ],
)
def test_errors_name_the_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(values)
    assert message in str(caught.value)


def test_user_defined_pieces_have_spaces_that_are_not_escaped() -> None:
    """The runs of spaces of Gemma. In a SentencePiece model, the same pieces are spelled with U+2581."""
    rows = [*pieces(), ("▁▁▁", 0.0, 4), ("<x y>".replace(" ", "▁"), 0.0, 4)]
    own = BaseTokenizer.of(sentencepiece.parse(model_file(rows)))
    values = gguf_writing.vocabulary(own.record)
    assert values["tokens"][-2:] == ["   ", "<x y>"]
    assert (
        own.encode("a   the<x y>")[-3:] == read({PREFIX + k: v for k, v in values.items()}).encode("a   the<x y>")[-3:]
    )


def test_defaults_of_llama_cpp() -> None:
    """A SentencePiece vocabulary without any settings begins with <s> and a space."""
    bare = {key: LLAMA[PREFIX + key] for key in ("model", "tokens", "scores", "token_type")}
    own = read({PREFIX + key: value for key, value in bare.items()})
    assert own == BaseTokenizer.of(sentencepiece.parse(model_file(pieces())))
    assert own.encode("the", add_special_tokens=True)[0] == 1
    plain = {key: value for key, value in GPT2.items() if not key.startswith(f"{PREFIX}add_")}
    assert read(plain).template == ends_template(None, None)
    assert read(plain | {f"{PREFIX}pre": "llama-bpe"}).template == ends_template(1, None)


@given(st.sampled_from([GPT2, LLAMA, write(KINDS["characters"])]), st.integers(0, 2**32))
def test_one_changed_value_gives_a_tokenizer_or_an_error(values: dict[str, Any], seed: int) -> None:
    choose = random.Random(seed)
    changed = copy.deepcopy(values)
    name = choose.choice([*changed])
    if isinstance(changed[name], list) and choose.random() < 0.7:
        part = changed[name]
        part[choose.randrange(len(part))] = choose.choice(VALUES)
        if choose.random() < 0.3:
            part.pop()
    elif choose.random() < 0.1:
        del changed[name]
    else:
        changed[name] = choose.choice(VALUES)
    problem = problem_of(changed)
    assert "\n" not in problem
    assert len(problem) < 600


def problem_of(values: dict[str, Any]) -> str:
    """What is wrong with the values. Nothing: they describe a tokenizer, which can be used."""
    try:
        own = read(values)
    except FormatError as error:
        return str(error)
    with suppress(ValueError):  # a tokenizer of characters does not know all of them
        own.encode_ordinary("a the\n")
    return ""


@pytest.mark.control
def test_a_writer_that_forgets_a_setting_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_writing, "ends", lambda template: {})
    with pytest.raises(ValueError, match="other template"):
        write(WITH_TOOL)
    assert json.dumps(GPT2)
