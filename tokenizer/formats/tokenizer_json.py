"""`tokenizer.json`, the format of Hugging Face's `tokenizers` library, for every kind of tokenizer.

A file describes the steps from a text to its ids: normalizer, pre-tokenizer (splits text into words), model, and
post-processor (adds special tokens). The parts that differ between the kinds of models are read in byte_pair.py,
character_pair.py, word_piece.py and characters.py.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from typing import Any

from tokenizer.formats import byte_pair, character_pair, characters, components, records, word_piece
from tokenizer.formats.checks import ANY, expect, is_table_or_none, shorten, spelling_of_ids
from tokenizer.formats.records import FormatError, Record, SentencePieceRecord, Spelling
from tokenizer.text.special_tokens import AddedToken
from tokenizer.text.template import Template

PARTS = ("normalizer", "added_tokens", "pre_tokenizer", "post_processor", "decoder", "model")
# Padding and truncation are for batches of a model. sentence-transformers, for example, saves them.
LEFT_OUT = ("truncation", "padding")
TOP = {"version": ("1.0",), **dict.fromkeys(LEFT_OUT, is_table_or_none), **dict.fromkeys(PARTS, ANY)}

MODELS: dict[str, Any] = {"BPE": byte_pair.read, "WordPiece": word_piece.read, "WordLevel": characters.read}
WRITERS: dict[type, Any] = {
    records.BytePairRecord: byte_pair.write,
    records.SentencePieceRecord: character_pair.write,
    records.WordPieceRecord: word_piece.write,
    records.CharacterRecord: characters.write,
}


def parse(data: Any) -> Record:
    """What the file says. FormatError if any of it is not supported."""
    if isinstance(data, dict) and isinstance(data.get("vocab"), list) and "config" in data:
        raise FormatError("is a tekken.json of Mistral, which is not supported: give the tokenizer.json of that model")
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise FormatError("is not a tokenizer.json: it describes no model")
    expect(data, TOP, "")
    left_out = " and ".join(name for name in LEFT_OUT if data.get(name) is not None)
    if left_out:
        message = f"the {left_out} of a tokenizer.json is left out: each text gets all of its ids and no others"
        warnings.warn(message, stacklevel=2)
    model = data["model"]
    # Older files of byte pairs do not give the type.
    kind = model.get("type", "BPE" if "merges" in model else None)
    if not isinstance(kind, str) or kind not in MODELS:
        raise FormatError(f"asks for a model of type {shorten(kind)}, which is not supported ({', '.join(MODELS)} are)")
    if not isinstance(model.get("vocab"), dict):
        raise FormatError("is damaged: its vocab is not a table")
    read = character_pair.read if kind == "BPE" and model.get("byte_fallback") else MODELS[kind]
    return read(read_document(data))


def read_document(data: dict[str, Any]) -> components.Document:
    """The file, with the parts read that all models share."""
    added = components.read_added_tokens(data.get("added_tokens", []))
    spelling = spelling_of(data["model"]["vocab"], added)
    template, trim_offsets = components.read_post_processor(data.get("post_processor"))
    for i in template.special_ids():
        if i >= len(spelling) or spelling[i] is None:
            raise FormatError(f"asks for the special token {i} in its post_processor, but has no token with that id")
    return components.Document(
        spelling=spelling,
        added=added,
        normalizer=components.read_normalizer(data.get("normalizer")),
        template=template,
        trim_offsets=trim_offsets,
        model=data["model"],
        pre_tokenizer=data.get("pre_tokenizer"),
        decoder=data.get("decoder"),
    )


def spelling_of(vocab: dict[str, Any], added: Iterable[AddedToken]) -> Spelling:
    """How each id is spelled, with those of added tokens."""
    id_of = dict(vocab)
    for token in added:
        if id_of.setdefault(token.content, token.id) != token.id:
            raise FormatError(f"is damaged: the added token {token.content!r} has another id in the vocab")
    return spelling_of_ids(id_of)


def serialize(record: Record) -> bytes:
    """The content of the file. ValueError if it would not be read back the same."""
    spelling, parts = WRITERS[type(record)](record)
    settings = record._asdict()  # not every kind of record has a normalizer, a template or trimmed offsets
    template = settings.get("template", Template())
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": components.write_added_tokens(record.added_tokens),
        "normalizer": components.write_normalizer(settings.get("normalizer")),
        "pre_tokenizer": parts["pre_tokenizer"],
        "post_processor": components.write_post_processor(template, settings.get("trim_offsets"), spelling),
        "decoder": parts["decoder"],
        "model": parts["model"],
    }
    data = json.dumps(document, ensure_ascii=False, indent=1).encode()
    problem = "this tokenizer cannot be written as a tokenizer.json: "
    try:
        if reads_back(parse(json.loads(data)), record):
            return data
    except FormatError as error:
        raise ValueError(f"{problem}it would be one that {error}") from None
    raise ValueError(f"{problem}two of its tokens are spelled alike")


def reads_back(read: Record, written: Record) -> bool:
    """Whether what was read back is what was written. Scores are written as merges."""
    if isinstance(written, SentencePieceRecord) and isinstance(read, SentencePieceRecord) and written.scores:
        return read._replace(merges=None, scores=written.scores) == written
    return read == written


def with_special_tokens(record: Record, names: Iterable[str]) -> Record:
    """The record with more special tokens. A name that is a token already keeps its id; others come after all tokens.

    ValueError if this kind of tokenizer cannot be written as a tokenizer.json.
    """
    document = json.loads(serialize(record))
    kept = [token for token in document["added_tokens"] if token["content"] not in set(names)]
    known = document["model"]["vocab"] | {token["content"]: token["id"] for token in document["added_tokens"]}
    for name in names:
        known.setdefault(name, max(known.values(), default=-1) + 1)
    added = [AddedToken(name, known[name]) for name in names]
    return parse(document | {"added_tokens": kept + components.write_added_tokens(added)})
