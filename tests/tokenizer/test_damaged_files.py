"""A damaged or strange file of any format gives a tokenizer that works, or one sentence that names the file."""

from __future__ import annotations

import copy
import json
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizer.damage import Files, damage, good_files
from tests.tokenizer.helpers import BERT, BYTE, BYTES, NORMAL, TEXT, WORDS, gguf_file, llama2c_file, model_file, pieces
from tokenizer import BaseTokenizer, FormatError, load

GOOD = good_files()
SPECIAL_TEXT = TEXT + "<|x|> <t>  <tool> [UNK] É <0x41> \ud800 "
pytestmark = pytest.mark.filterwarnings("ignore:the .* of a tokenizer.json is left out")


def write(folder: Path, files: Files) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def use(tokenizer: BaseTokenizer, folder: Path) -> None:
    """Everything that a tokenizer can do works, or is a ValueError: a character without a token, for example."""
    with suppress(ValueError):
        ids = tokenizer.encode(SPECIAL_TEXT, allowed_special="all")
        assert all(0 <= i < tokenizer.vocab_size for i in ids)
        tokenizer.decode(ids), tokenizer.decode_bytes(ids), tokenizer.encode_pair("a", "b")
        tokenizer.encode_with_offsets("the cat É"), tokenizer.encode_batch(["the", TEXT]), repr(tokenizer)
        assert tokenizer.encode_array(TEXT, disallowed_special=()).tolist() == tokenizer.encode_ordinary(TEXT)
    with suppress(ValueError, ImportError):
        tokenizer.render_chat([{"role": "user", "content": "hi"}])
    with suppress(ValueError):
        tokenizer.save(folder / "again.json")
        again = load(folder / "again.json")
        assert [again.id_to_token(i) for i in range(again.vocab_size)] == [
            tokenizer.id_to_token(i) for i in range(tokenizer.vocab_size)
        ]


def loaded(folder: Path) -> BaseTokenizer | None:
    """The tokenizer; None if the file is refused, in one sentence that names it. Any other error is a failure."""
    try:
        return load(folder)
    except FormatError as error:
        message = str(error)
    assert str(folder) in message
    assert len(message) < 1000
    return None


def check(files: Files, folder: Path) -> None:
    start = time.process_time()
    tokenizer = loaded(write(folder, files))
    if tokenizer:
        use(tokenizer, folder)
    assert time.process_time() - start < 30, "no text of this test is long: a search may take 2 seconds"


@pytest.mark.parametrize("name", GOOD)
def test_the_undamaged_files_work(name: str, tmp_path: Path) -> None:
    use(load(write(tmp_path, GOOD[name])), tmp_path)


@given(name=st.sampled_from(sorted(GOOD)), seed=st.integers(0, 2**64))
def test_a_damaged_file_is_a_tokenizer_or_a_format_error(
    name: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(damage(GOOD[name], random.Random(seed)), tmp_path_factory.mktemp("damaged"))


@pytest.mark.slow
@pytest.mark.parametrize("start", range(8))
def test_thousands_of_damaged_files(start: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in GOOD:
        for seed in range(50):
            check(damage(GOOD[name], random.Random(f"{start} {name} {seed}")), tmp_path_factory.mktemp("damaged"))


# Each part of a tokenizer.json replaced by a value of another kind, such as "normalizer": 5

KINDS: list[Any] = [None, True, 5, -1, 1.5, "x", "", [], [1], ["x"], {}, {"x": 1}, {"type": 5}, {"type": "Sequence"}]
DOCUMENTS = {name: json.loads(files["tokenizer.json"]) for name, files in GOOD.items() if "tokenizer.json" in files}


def parts(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all values that say how to tokenize. Of vocabularies and lists of merges only the first values."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [
        path,
        *(inner for key, part in items[: 5 if len(items) > 20 else None] for inner in parts(part, (*path, key))),
    ]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_any_part_may_be_of_another_kind(name: str, tmp_path: Path) -> None:
    choose = random.Random(name)
    for path in parts(DOCUMENTS[name])[1:]:
        is_step_list = path[-1] in ("pretokenizers", "normalizers", "decoders", "processors")
        for value in KINDS if is_step_list else choose.sample(KINDS, 3):
            document = copy.deepcopy(DOCUMENTS[name])
            owner: Any = document
            for key in path[:-1]:
                owner = owner[key]
            owner[path[-1]] = value
            (tmp_path / "tokenizer.json").write_text(json.dumps(document))
            tokenizer = loaded(tmp_path)
            with suppress(ValueError):  # a character without a token
                tokenizer and tokenizer.encode_ordinary("the cat")


@pytest.mark.parametrize("step", ["normalizer", "pre_tokenizer", "decoder", "post_processor", "model"])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_step_that_is_not_known_is_refused(name: str, step: str, tmp_path: Path) -> None:
    """If it were left out, the ids would be wrong in silence."""
    for value in (5, "x", [1], {"type": "Unknown"}, {"type": "Sequence"}):
        (tmp_path / "tokenizer.json").write_text(json.dumps(DOCUMENTS[name] | {step: value}))
        assert loaded(tmp_path) is None, value


# Bytes that are no text

MARK = "QQQQQ"
MARKED = [*WORDS, MARK]
GPT2 = {**GOOD["Qwen"], "merges.txt": f"{MARK} a\n".encode()}
LLAMA = {"model": "llama", "tokens": [*BYTES, MARK], "scores": [0.0] * 257, "token_type": [BYTE] * 256 + [NORMAL]}
WITH_MARK: dict[str, Files] = {
    "SentencePiece": {"tokenizer.model": model_file(pieces(MARKED))},
    "llama2.c": {"tok.bin": llama2c_file(pieces(MARKED))},
    "GGUF": {"a.gguf": gguf_file(LLAMA)},
    "merges": GPT2,
    "BERT": {"vocab.txt": "\n".join([*BERT, MARK]).encode()},
    "JSON": {"vocab.json": json.dumps([*BERT, MARK]).encode()},
    "settings": {**GOOD["BERT"], "tokenizer_config.json": json.dumps({"tokenizer_class": MARK}).encode()},
    "template": {**GOOD["SentencePiece"], "chat_template.jinja": MARK.encode()},
}


@given(
    name=st.sampled_from(sorted(WITH_MARK)), junk=st.sampled_from([b"\xff", b"\x80", b"\xc3", b"\xed\xa0\x80", b"\xf8"])
)
def test_a_piece_that_is_not_utf8_is_refused(name: str, junk: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    broken = {file: data.replace(MARK.encode(), junk.rjust(5, b"a")) for file, data in WITH_MARK[name].items()}
    assert broken != WITH_MARK[name]
    with pytest.raises(FormatError) as caught:
        load(write(folder, broken))
    assert str(folder) in str(caught.value)
