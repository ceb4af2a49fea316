"""Tokenizers in files: finding the file, recognising its format, reading it, and writing it safely.

The path may be that of a file or of a folder. In a folder, the first of these that exists is read:

    tokenizer.json                      Hugging Face, every kind
    tokenizer.model                     SentencePiece, byte pairs; or tiktoken's format, as Llama 3 has it
    encoder.json + vocab.bpe            GPT-2 as OpenAI published it
    vocab.json + merges.txt             the same as Hugging Face names it
    vocab.txt, or a list in JSON        BERT
    NAME.tiktoken                       OpenAI; NAME may be that of one of its encodings, whose pattern is known
    NAME.gguf                           llama.cpp, the vocabulary beside the weights
    tok*.bin                            llama2.c
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import regex

from tokenizer.arrays.collector import paused_garbage_collector
from tokenizer.formats import gguf, llama2c, sentencepiece, tiktoken, tokenizer_json, vocabularies
from tokenizer.formats.atomic import refuse_other_kinds, write_file
from tokenizer.formats.checks import is_table, is_text, parse_json, unsupported
from tokenizer.formats.records import BytePairRecord, FormatError, PatternKnown, Record, SpecialTokens
from tokenizer.text.chat_template import ROLES

FILE_NAME, SETTINGS_NAME, TEMPLATE_NAME = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
# fmt: off
NAMES_IN_FOLDER = (
    FILE_NAME, "tokenizer.model", "encoder.json", "vocab.json", "vocab.txt", "*.tiktoken", "*.gguf", "tok*.bin",
)
# fmt: on
SUFFIXES = (".json", ".tiktoken")  # of files that are written; any other path is that of a folder
MERGES_OF = {"encoder.json": "vocab.bpe", "vocab.json": "merges.txt"}  # the file of merges of each vocabulary
TIKTOKEN_LINE = regex.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")
# A table, or a list of tables, lists or texts. A "[" alone is not enough: a vocab.txt of BERT may begin with [PAD].
JSON_BEGIN = regex.compile(rb"\s*(?:\{|\[\s*[\[\]{\"])")


def locate(path: str | os.PathLike) -> Path:
    """The file at `path` or in the folder `path`. FileNotFoundError if there is none, OSError if it is a device."""
    path = Path(path)
    if path.is_dir():
        for name in NAMES_IN_FOLDER:
            found = sorted(path.glob(name))
            if len(found) > 1:
                names = f"{found[0].name} and {found[1].name}"
                raise FormatError(f"{path} holds several vocabularies, such as {names}: name one")
            if found:
                path = found[0]
                break
        else:
            path = path / FILE_NAME
    if path.name in MERGES_OF.values():  # the file of merges was given: take its vocabulary
        path = path.with_name(next(name for name, merges in MERGES_OF.items() if merges == path.name))
    if not is_file(path):
        raise FileNotFoundError(f"{path} does not exist: give a {FILE_NAME}, another vocabulary or a folder with one")
    return path


def is_file(path: Path) -> bool:
    """Whether there is a file at `path`. OSError if there is something else, such as a pipe, which may have no end."""
    refuse_other_kinds(path)
    return path.is_file()


@paused_garbage_collector()
def read(
    path: str | os.PathLike, pattern: str | None = None, special_tokens: SpecialTokens = None
) -> tuple[Record, dict[str, Any]]:
    """The content of the file at (or in the folder) `path`, and the settings beside it.

    FormatError if the file is damaged, has an unknown format or asks for what is not supported.
    """
    path = locate(path)
    settings = read_settings(path.parent)
    try:
        with open(path, "rb") as file:
            if file.read(len(gguf.MAGIC)) == gguf.MAGIC:
                refuse_options(pattern, special_tokens)
                # Only the table at the beginning is read, not the weights.
                record, own_settings = gguf.parse(mmap(file.fileno(), 0, access=ACCESS_READ))
                return record, own_settings | settings
        return parse(path, path.read_bytes(), settings, pattern, special_tokens), settings
    except FormatError as error:
        raise type(error)(f"{path} {error}") from None
    except RecursionError:  # JSON that could be parsed, but is nested too deeply for the functions that read its parts
        raise FormatError(f"{path} is not a tokenizer: it is nested too deeply") from None


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a tokenizer_config.json, and the chat template if that is a file of its own."""
    settings: Any = {}
    config, template = folder / SETTINGS_NAME, folder / TEMPLATE_NAME
    try:
        if is_file(config):
            settings = check_settings(parse_json(config.read_bytes()))
    except FormatError as error:
        raise FormatError(f"{config} {error}") from None
    try:
        if is_file(template):
            settings["chat_template"] = template.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{template} is damaged: it is not text in UTF-8 ({error})") from None
    return settings


def check_settings(settings: Any) -> dict[str, Any]:
    """The settings without those that are null. FormatError if one that is used here has a value of a wrong kind."""
    if not isinstance(settings, dict):
        raise FormatError("is not a table of settings")
    for name, is_right in SETTINGS.items():
        if settings.get(name) is not None and not is_right(settings[name]):
            raise unsupported(name, settings[name])
    # For the settings that are used, null means the same as a missing setting. All others are kept as they are.
    return {name: value for name, value in settings.items() if value is not None or name not in SETTINGS}


def is_chat_template(value: Any) -> bool:
    """Whether it is a template, or a list of templates with names."""
    if isinstance(value, list):
        return all(isinstance(one, dict) and is_text(one.get("name")) and is_text(one.get("template")) for one in value)
    return is_text(value)


def is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def is_named_token(value: Any) -> bool:
    """Whether it is the name of a token, or a table with the name as its content."""
    return is_text(value.get("content") if isinstance(value, dict) else value)


# The settings of a tokenizer_config.json that are used here, and which values they may have.
# fmt: off
SETTINGS: dict[str, Callable[[Any], bool]] = {
    "tokenizer_class": is_text, "chat_template": is_chat_template, "added_tokens_decoder": is_table,
    **dict.fromkeys(["do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space"], is_switch),
    **dict.fromkeys(ROLES, is_named_token),
}
# fmt: on


def parse(
    path: Path, data: bytes, settings: dict[str, Any], pattern: str | None, special_tokens: SpecialTokens
) -> Record:
    """Recognise the format by the content. From `path` only the name and the files beside it are used."""
    suffix = path.suffix.lower()
    if suffix == ".tiktoken" or TIKTOKEN_LINE.match(data):
        name = path.stem if suffix == ".tiktoken" else path.name
        return tiktoken.parse(data, name, pattern, special_tokens)
    # JSON: a vocabulary with a file of merges beside it, BERT's vocabulary, or a tokenizer.json.
    document = parse_json(data) if JSON_BEGIN.match(data) or suffix == ".json" else None
    if isinstance(document, dict) and not isinstance(document.get("model"), dict):
        merges = path.with_name(MERGES_OF.get(path.name, "merges.txt"))
        if is_file(merges):
            return vocabularies.parse_byte_pairs(document, merges.read_bytes(), settings, pattern, special_tokens)
    refuse_options(pattern, special_tokens)
    if isinstance(document, list) and document or isinstance(document, dict) and "[UNK]" in document:
        return vocabularies.parse_word_pieces(document, settings)
    if document is not None:
        return tokenizer_json.parse(document)
    # Other formats. A SentencePiece model begins with its first piece: field 1, a string of bytes, is written 0x0A.
    if data[:1] == b"\n":
        return sentencepiece.parse(data)
    if llama2c.is_llama2c(data):
        return llama2c.parse(data)
    if b"[UNK]" in data:
        try:
            return vocabularies.parse_word_pieces(data.decode().splitlines(), settings)
        except UnicodeDecodeError:
            pass
    raise FormatError("is not a vocabulary in a known format")


def refuse_options(pattern: str | None, special_tokens: SpecialTokens) -> None:
    if pattern is not None or special_tokens is not None:
        kind = FormatError if pattern is None else PatternKnown
        raise kind("says how text is split and which tokens are special: leave out pattern and special_tokens")


def destination(path: str | os.PathLike) -> Path:
    """The file that `write` makes: NAME.json or NAME.tiktoken; any other path is that of a folder for FILE_NAME."""
    path = Path(path)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        return path
    if path.exists() and not path.is_dir():  # most likely a text, which must not be overwritten
        raise FileExistsError(f"{path} is a file, not a folder: give the path of a folder, NAME.json or NAME.tiktoken")
    return path / FILE_NAME


def write(path: str | os.PathLike, record: Record, settings: dict[str, Any]) -> None:
    """Write a tokenizer.json, or tiktoken's format if the name ends in .tiktoken. A folder also gets the settings."""
    file = destination(path)
    if file.suffix.lower() != ".tiktoken":
        data = tokenizer_json.serialize(record)
    elif isinstance(record, BytePairRecord):
        data = tiktoken.serialize(record)
    else:
        raise ValueError(f"{file}: only byte-level tokenizers can be written in tiktoken's format")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, data)
    if file != Path(path):  # `path` is a folder
        write_settings(file.parent, settings)


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write a tokenizer_config.json. What an earlier tokenizer has left in the folder is no longer read."""
    config, template = folder / SETTINGS_NAME, folder / TEMPLATE_NAME
    if settings or config.exists():
        text = json.dumps(settings, ensure_ascii=False, indent=1)
        # UTF-8 cannot encode a surrogate. It is written \ud800, as JSON spells it.
        write_file(config, text.encode(errors="backslashreplace"))
    template.unlink(missing_ok=True)  # the chat template is among the settings
