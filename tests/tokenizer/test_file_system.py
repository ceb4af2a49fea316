"""Tokenizers in a file system: what is no regular file, names in upper case, and what an earlier tokenizer has left."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizer.helpers import TEXT, gguf_file, pieces
from tokenizer import BaseTokenizer, FormatError, Tokenizer, load
from tokenizer.cli import train as cli_train
from tokenizer.cli.commands import main
from tokenizer.text.chat_template import ROLES

TRAINED = Tokenizer.train([TEXT], 280)
BYTES = Tokenizer.train([TEXT], 256)
MARK = "\ufeff"
LLAMA: dict[str, Any] = {"model": "llama", **dict(zip(("tokens", "scores", "token_type"), map(list, zip(*pieces()))))}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(TEXT)
    return tmp_path


# What is no regular file

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@needs_pipes
@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja", "a.tiktoken"]
)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_regular_file_is_not_read(here: Path, name: str, kind: str) -> None:
    if name in ("tokenizer_config.json", "chat_template.jinja"):
        TRAINED.save(here)
    os.mkfifo(name) if kind == "pipe" else Path(name).symlink_to("/dev/zero")
    for path in [here] if (here / "tokenizer.json").is_file() else [here, here / name]:
        with pytest.raises(OSError, match="not a regular file") as caught:
            load(path)
        assert str(caught.value.filename) == str(here / name)


@needs_pipes
def test_merges_and_counts_that_are_no_regular_files(here: Path, capsys: pytest.CaptureFixture) -> None:
    TRAINED.save("own.json")
    vocab = json.loads(Path("own.json").read_text())["model"]["vocab"]
    Path("vocab.json").write_text(json.dumps(vocab))
    os.mkfifo("merges.txt")
    with pytest.raises(OSError, match="not a regular file"):
        load("vocab.json")
    Path("own.json.counts").mkdir()
    assert main(["replay", "low", "-t", "own.json"]) == 1
    assert "own.json.counts: it is a folder" in capsys.readouterr().err


@needs_pipes
@pytest.mark.parametrize("name", ["own.json", "own.json.counts"])
def test_an_output_that_is_no_file_is_refused_before_training(
    here: Path, name: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_train, "learn", lambda *_, **__: pytest.fail("it has begun to learn"))
    os.mkfifo(name)
    assert main(["train", "book.txt", "-n", "270", "-o", "own.json"]) == 1
    assert f"{name}: it is a device or a pipe" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "encode", "decode", "inspect", "compare"])
def test_a_folder_in_place_of_a_text(here: Path, command: str, capsys: pytest.CaptureFixture) -> None:
    Path("corpus").mkdir()
    TRAINED.save("own.json")
    options = {"train": ["-n", "270", "-o", "corpus"], "compare": []}.get(command, ["-t", "own.json"])
    names = ["own.json", "own.json"] if command == "compare" else []
    assert main([command, *names, "corpus", *options]) == 1
    assert "corpus: it is a folder: name the files in it" in capsys.readouterr().err


def test_all_texts_are_looked_for_before_one_is_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_train, "learn", lambda *_, **__: pytest.fail("it has begun to learn"))
    assert main(["train", "book.txt", "missing.txt", "-n", "270", "-o", "own.json"]) == 1


# Names


@pytest.mark.parametrize("suffix", [".json", ".tiktoken"])
@given(data=st.data())
def test_the_case_of_a_suffix_does_not_matter(
    suffix: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    drawn = "".join(data.draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in suffix)
    path = tmp_path_factory.mktemp("saved") / f"t{drawn}"
    BYTES.save(path)
    assert path.is_file()
    assert load(path, **({"pattern": "gpt4"} if suffix == ".tiktoken" else {})).tokens == BYTES.tokens


def test_the_name_of_an_encoding_may_have_a_suffix_in_upper_case(here: Path) -> None:
    Tokenizer.train([TEXT], 270, pattern="gpt2").save("gpt2.TIKTOKEN")
    assert load("gpt2.TIKTOKEN", special_tokens=[]).pattern == "gpt2"


# Settings of a wrong kind


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("value", [5, True, [], ["<s>"], {}, {"content": 5}, {"content": None}, "\ud800"])
def test_a_named_token_is_a_text(role: str, value: Any, here: Path) -> None:
    TRAINED.save(here)
    (here / "tokenizer_config.json").write_text(json.dumps({role: value}))
    with pytest.raises(FormatError, match=f"tokenizer_config.json asks for {role}"):
        load(here)
    for right in ("<s>", {"content": "<s>"}, None):
        (here / "tokenizer_config.json").write_text(json.dumps({role: right}))
        assert load(here).settings == ({} if right is None else {role: right})


@pytest.mark.parametrize("change", [{"bos_token_id": "1"}, {"eos_token_id": 1.5}, {"chat_template": 5}])
def test_a_gguf_file_with_settings_of_a_wrong_kind(change: dict[str, Any], here: Path) -> None:
    Path("a.gguf").write_bytes(gguf_file(LLAMA | change))
    with pytest.raises(FormatError, match="is damaged: its |asks for tokenizer.ggml"):
        load("a.gguf")


# Texts of nothing


@pytest.mark.parametrize("text", ["", MARK])
def test_a_text_of_nothing_but_a_mark_is_empty(here: Path, text: str, capsys: pytest.CaptureFixture) -> None:
    Path("empty.txt").write_text(text, "utf-8")
    assert main(["train", "empty.txt", "empty.txt", "-n", "270", "-o", "own.json"]) == 1
    assert "the texts are empty" in capsys.readouterr().err
    assert not Path("own.json").exists()


@given(text=st.text("ab \n" + MARK, min_size=1, max_size=20).filter(lambda text: text.strip(MARK)))
def test_a_mark_before_a_text_is_not_learned(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    here = tmp_path_factory.mktemp("texts")
    (here / "marked.txt").write_text(MARK + text, "utf-8", newline="")
    assert main(["train", str(here / "marked.txt"), "-n", "270", "-o", str(here / "own.json")]) == 0
    assert load(here / "own.json") == Tokenizer.train([text], 270)


# What an earlier tokenizer has left


@pytest.mark.parametrize("step", ["save", "write_file"])
def test_a_killed_training_leaves_no_counts_of_another_tokenizer(
    here: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", "book.txt", "-n", "270", "-o", "own.json"]
    assert main(command) == 0
    counts = Path("own.json.counts").read_text()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    Path("book.txt").write_text("other words, other merges " * 9)
    with monkeypatch.context() as patched:
        patched.setattr(*((Tokenizer, step) if step == "save" else (cli_train, step)), killed)
        assert main(command) == 130
    left = Path("own.json.counts")
    assert not left.exists() or left.read_text() != counts
    assert main(["replay", "other", "-t", "own.json"]) == 0


@given(
    old=st.sampled_from([{}, {"chat_template": "{{ old }}", "bos_token": "<s>"}]),
    new=st.sampled_from([{}, {"chat_template": "{{ new }}"}, {"eos_token": "</s>"}]),
    template=st.sampled_from([None, "{{ of a file }}"]),
)
def test_a_tokenizer_saved_over_another_one_keeps_its_own_settings(
    old: dict, new: dict, template: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here = tmp_path_factory.mktemp("saved")
    BaseTokenizer.of(TRAINED.record, old).save(here)
    if template:
        (here / "chat_template.jinja").write_text(template)
    BaseTokenizer.of(BYTES.record, new).save(here)
    again = load(here)
    assert (again, again.settings) == (BYTES, new)
