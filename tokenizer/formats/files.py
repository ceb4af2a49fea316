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

import os
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import regex

from tokenizer.arrays.collector import paused_garbage_collector
from tokenizer.formats import gguf, llama2c, sentencepiece, tiktoken, tokenizer_json, vocabularies
from tokenizer.formats.atomic import is_file, write_file
from tokenizer.formats.beside import (
    added_tokens,
    read_ends,
    read_settings,
    with_added_tokens,
    with_class,
    write_settings,
)
from tokenizer.formats.checks import parse_json
from tokenizer.formats.components import read_added_tokens
from tokenizer.formats.records import (
    BytePairRecord,
    FormatError,
    PatternKnown,
    Record,
    SentencePieceRecord,
    SpecialTokens,
)

FILE_NAME = "tokenizer.json"
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
            listed = with_added_tokens({"model": {"vocab": document}}, settings, path.parent).get("added_tokens", [])
            settings, data = with_class(settings, path.parent), merges.read_bytes()
            return vocabularies.parse_byte_pairs(document, data, settings, listed, pattern, special_tokens)
    refuse_options(pattern, special_tokens)
    if isinstance(document, list) and document or isinstance(document, dict) and "[UNK]" in document:
        return vocabularies.parse_word_pieces(document, settings)
    if document is not None:
        return tokenizer_json.parse(with_added_tokens(document, settings, path.parent))
    # Other formats. A SentencePiece model begins with its first piece: field 1, a string of bytes, is written 0x0A.
    if data[:1] == b"\n":
        return with_settings(sentencepiece.parse(data), settings, path.parent)
    if llama2c.is_llama2c(data):
        return llama2c.parse(data)
    if b"[UNK]" in data:
        try:
            return vocabularies.parse_word_pieces(data.decode().splitlines(), settings)
        except UnicodeDecodeError:
            pass
    raise FormatError("is not a vocabulary in a known format")


def with_settings(record: SentencePieceRecord, settings: dict[str, Any], folder: Path) -> SentencePieceRecord:
    """A SentencePiece model with what the files beside it say."""
    id_of = {piece: i for i, piece in enumerate(record.pieces) if piece is not None}
    tokens = {token.content: vars(token) for token in record.added_tokens}
    added = read_added_tokens(added_tokens(id_of, tokens, settings, folder))
    record = sentencepiece.with_added_tokens(record, added)
    id_of |= {token.content: token.id for token in added}
    return record._replace(template=read_ends(settings, id_of, sentencepiece.ENDS, record.template))


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
