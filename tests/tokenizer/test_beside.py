"""The files beside a vocabulary change the tokenizer as they do in transformers 5."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizer.helpers import TEXT, awkward, model_file, pieces
from tokenizer import FormatError, Tokenizer, load
from tokenizer.formats import tokenizer_json
from tokenizer.text.byte_alphabet import spell

TRAINED = Tokenizer.train([TEXT], 300, pattern="gpt2")
DOCUMENT = json.loads(tokenizer_json.serialize(TRAINED.record))
# The vocabulary has <v>, which no merge makes. <a> and <b> are added tokens, <c> and <d> may be added by other files.
DOCUMENT["model"]["vocab"]["<v>"] = 300
PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
CLASS = {"tokenizer_class": "PreTrainedTokenizerFast"}
SPELLED = {spell(token or b""): i for i, token in enumerate(TRAINED.tokens)}
MERGES = "#version: 0.2\n" + "".join(
    f"{spell(TRAINED.tokens[a] or b'')} {spell(TRAINED.tokens[b] or b'')}\n" for a, b in TRAINED.merges
)

flags = st.fixed_dictionaries({name: st.booleans() for name in PLAIN})
roles = st.dictionaries(
    st.sampled_from(["bos_token", "eos_token", "pad_token"]), st.sampled_from(["<v>", "<a>", "<b>"])
)
texts = st.lists(st.sampled_from(["<a>", "<b>", "<c>", "<d>", "<v>", " ", "the", "\n"]) | awkward, max_size=8).map(
    "".join
)


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else text_of(content).encode())
    return folder


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content)


def transformers_tokenizer(folder: Path) -> Any:
    """What transformers makes of the folder, without looking for anything on the network."""
    library = pytest.importorskip("transformers")
    os.environ["HF_HUB_OFFLINE"] = "1"
    library.logging.set_verbosity_error()
    with warnings.catch_warnings(action="ignore"):
        return library.AutoTokenizer.from_pretrained(folder)


def check_same(folder: Path, text: str) -> None:
    """Ids and special tokens are those of transformers."""
    own, theirs = load(folder), transformers_tokenizer(folder)
    for add in False, True:
        ids = own.encode(text, allowed_special="all", add_special_tokens=add)
        assert ids == theirs(text, add_special_tokens=add).input_ids
    # A class of transformers may have names for tokens that are not in the vocabulary. They get ids after all others.
    specials = {i for i, token in theirs.added_tokens_decoder.items() if token.special and i < own.vocab_size}
    assert {*own.special_tokens.values()} == specials


@st.composite
def folders(draw: st.DrawFn) -> dict[str, Any]:
    """A tokenizer.json with two added tokens, and other files that contradict it or say more."""
    added = [{"id": 301 + i, "content": name, **draw(flags)} for i, name in enumerate(["<a>", "<b>"])]
    files: dict[str, Any] = {"tokenizer.json": {**DOCUMENT, "added_tokens": added}, "config.json": {}}
    config: dict[str, Any] = {**CLASS, **draw(roles)}
    config |= draw(
        st.fixed_dictionaries({}, optional={key: st.booleans() for key in ("add_bos_token", "add_eos_token")})
    )
    if draw(st.booleans()):
        config["additional_special_tokens"] = draw(st.lists(st.sampled_from(["<v>", "<a>"]), unique=True))
    listed = {"302": "<b>", "303": "<c>", "304": "<d>"}
    if draw(st.booleans()):
        config["added_tokens_decoder"] = {i: {"content": name, **draw(flags)} for i, name in listed.items()}
    if draw(st.booleans()):
        files["added_tokens.json"] = {"<c>": 303, "<d>": 304}
    if draw(st.booleans()):
        files["special_tokens_map.json"] = draw(roles)
    return files | {"tokenizer_config.json": config}


@settings(deadline=None)
@given(folders(), texts)
def test_added_tokens_and_roles_are_those_of_transformers(files: dict[str, Any], text: str) -> None:
    with TemporaryDirectory() as folder:
        check_same(write(Path(folder), files), text)


BOS = {"bos_token": "<v>", "eos_token": "<v>", "add_bos_token": True, "add_eos_token": True}
VOCABULARY = {"vocab.json": {**SPELLED, "<v>": 300}, "merges.txt": MERGES, "config.json": {"model_type": "gpt2"}}


@pytest.mark.parametrize("switches", [{}, {"add_bos_token": True}, {"add_eos_token": True}, BOS])
@pytest.mark.parametrize("files", [{"tokenizer.json": DOCUMENT}, VOCABULARY])
def test_the_switches_for_ends_count_only_without_a_tokenizer_json(
    switches: dict[str, Any], files: dict[str, Any], tmp_path: Path
) -> None:
    ends = {"bos_token": "<v>", "eos_token": "<v>", "tokenizer_class": "GPT2Tokenizer"}
    check_same(write(tmp_path, files | {"tokenizer_config.json": ends | switches}), "the cat")
    added = len(load(tmp_path).encode("the cat", add_special_tokens=True)) - len(load(tmp_path).encode("the cat"))
    assert added == ("tokenizer.json" not in files) * (len(switches) if switches != BOS else 2)


def test_the_switches_for_ends_of_sentencepiece(tmp_path: Path) -> None:
    write(tmp_path, {"tokenizer.model": model_file(pieces())})
    plain = load(tmp_path).encode("the cat")
    for switches, before, after in [
        ({}, [1], []),
        ({"add_bos_token": False}, [], []),
        ({"add_eos_token": True}, [1], [2]),
        ({"add_bos_token": False, "add_eos_token": True, "eos_token": "<unk>"}, [], [0]),
    ]:
        write(tmp_path, {"tokenizer_config.json": switches})
        assert load(tmp_path).encode("the cat", add_special_tokens=True) == [*before, *plain, *after]


def test_added_tokens_beside_a_sentencepiece_model(tmp_path: Path) -> None:
    write(tmp_path, {"tokenizer.model": model_file(pieces())})
    plain = load(tmp_path)
    size = plain.vocab_size
    write(
        tmp_path, {"added_tokens.json": {"<new>": size + 2, "<t>": size}, "special_tokens_map.json": {"x_token": "<t>"}}
    )
    own = load(tmp_path)
    ids = [*plain.encode("the"), size + 2, size, *plain.encode(" cat")]
    assert own.encode("the<new><t> cat", allowed_special="all") == ids
    assert own.special_tokens == plain.special_tokens | {"<t>": size}
    assert own.encode_ordinary("<t>") == plain.encode_ordinary("<t>")
    assert own.decode(ids) == "the<new><t>  cat"
    assert own.tokens[size + 1] is None
    write(tmp_path, {"added_tokens.json": {"<new>": 10**8}})
    with pytest.raises(FormatError, match="a file beside it gives the id 100000000 to '<new>'"):
        load(tmp_path)


def test_what_an_earlier_tokenizer_has_left_beside_a_saved_one_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, {"tokenizer.json": DOCUMENT, "special_tokens_map.json": {"eos_token": "<v>"}})
    write(tmp_path, {"added_tokens.json": {"<new>": 301}, "additional_chat_templates/x.jinja": "x"})
    assert load(tmp_path).special_tokens == {"<v>": 300}
    TRAINED.save(tmp_path)
    assert load(tmp_path) == TRAINED
    assert load(tmp_path).settings == {}


@pytest.mark.parametrize("model_type", ["gpt2", "qwen2", "qwen3", "gpt_neox", "starcoder2"])
def test_the_model_decides_how_a_bare_vocabulary_splits_text(model_type: str, tmp_path: Path) -> None:
    files = {**VOCABULARY, "config.json": {"model_type": model_type}, "tokenizer_config.json": {"eos_token": "<v>"}}
    write(tmp_path, files | {"vocab.json": {**SPELLED, "<v>": 300, "<|endoftext|>": 301}})
    own, theirs = load(tmp_path), transformers_tokenizer(tmp_path)
    for text in "it's 1234 o\u0301 HE'S", "a\n\n  b":
        assert own.encode(text) == theirs(text).input_ids


def test_chat_templates_in_files_of_their_own(tmp_path: Path) -> None:
    chat, tools = "{{ bos_token }}{{ messages[0].content }}", "{{ tools | length }}"
    write(tmp_path, {"tokenizer.json": DOCUMENT, "tokenizer_config.json": {"chat_template": "x"}})
    write(tmp_path, {"special_tokens_map.json": {"bos_token": "<v>"}, "chat_template.jinja": chat})
    messages = [{"role": "user", "content": "hi"}]
    assert load(tmp_path).render_chat(messages) == "<v>hi"
    write(tmp_path, {"additional_chat_templates/tool_use.jinja": tools})
    assert load(tmp_path).render_chat(messages) == "<v>hi"
    assert load(tmp_path).render_chat(messages, tools=[{}, {}]) == "2"


def test_a_named_token_ends_documents_if_no_usual_name_is_known(tmp_path: Path) -> None:
    write(tmp_path, {"tokenizer.json": DOCUMENT, "tokenizer_config.json": {"eos_token": "<v>", "pad_token": "<v>"}})
    assert (load(tmp_path).end_of_text, load(tmp_path).padding) == (300, 300)
    usual = {**DOCUMENT, "added_tokens": [{"id": 301, "content": "</s>", **PLAIN, "special": True}]}
    assert load(write(tmp_path, {"tokenizer.json": usual})).end_of_text == 301


def test_a_listed_token_without_an_id_of_its_own_is_left_out(tmp_path: Path) -> None:
    """In Llama 3.1, the settings are newer than the tokenizer.json, and give three of its ids to other tokens."""
    taken = {"300": {"content": "<new>", "special": True}, "5": {"content": "<newer>", "special": True}}
    write(tmp_path, {"tokenizer.json": DOCUMENT, "tokenizer_config.json": {"added_tokens_decoder": taken}})
    assert load(tmp_path).special_tokens == {}
    assert load(tmp_path).vocab_size == 301


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config.json": {"eos_token": 5}}, "tokenizer_config.json asks for eos_token = 5"),
        ({"tokenizer_config.json": {"add_bos_token": "yes"}}, 'tokenizer_config.json asks for add_bos_token = "yes"'),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"x": {}}}}, "asks for added_tokens_decoder = "),
        ({"tokenizer_config.json": {"extra_special_tokens": 7}}, "asks for extra_special_tokens = 7"),
        ({"special_tokens_map.json": []}, "special_tokens_map.json is not a table of settings"),
        ({"special_tokens_map.json": "{"}, "special_tokens_map.json is damaged: it is not JSON"),
        ({"added_tokens.json": {"<c>": "1"}}, "added_tokens.json is not a table of names of tokens and their ids"),
        ({"additional_chat_templates/x.jinja": b"\xff"}, "x.jinja is damaged: it is not text in UTF-8"),
        ({"added_tokens.json": {"<c>": 10**8}}, "tokenizer.json is damaged: it has 302 tokens and one of them"),
    ],
)
def test_errors_name_the_file_and_the_field(files: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        load(write(tmp_path, {"tokenizer.json": DOCUMENT, **files}))
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_bare_vocabulary_without_the_token_that_it_shall_begin_with(tmp_path: Path) -> None:
    settings = {"bos_token": "<none>", "add_bos_token": True}
    with pytest.raises(FormatError, match=r"has no token '<none>', which tokenizer_config.json asks for"):
        load(write(tmp_path, {"vocab.json": SPELLED, "merges.txt": MERGES, "tokenizer_config.json": settings}))
