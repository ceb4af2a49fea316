"""A tokenizer.json of a SentencePiece-style byte-pair tokenizer: Llama 2, Mistral, Gemma."""

from __future__ import annotations

from collections.abc import Sequence as Row
from typing import Any

from tokenizer.bpe.characters import table_of_scores
from tokenizer.bpe.merge_table import Pair
from tokenizer.formats.checks import ANY, expect, ordinary_pairs, pairs_of, shorten
from tokenizer.formats.components import (
    added_only,
    byte_pair_model,
    model_vocab,
    read_normalizer,
    read_post_processor,
    write_post_processor,
)
from tokenizer.formats.records import FormatError, SentencePieceRecord
from tokenizer.text.metaspace import ESCAPE_SPACES, SPACE, Metaspace, byte_of
from tokenizer.text.normalize import Sequence
from tokenizer.text.prefix import Prefix
from tokenizer.text.special_tokens import AddedToken

MODEL = {
    "type": ("BPE", None),
    "vocab": ANY,
    "merges": ANY,
    "dropout": (None, 0),
    "unk_token": ANY,
    "fuse_unk": (True,),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (True,),
    "ignore_merges": (False,),
}
METASPACE = {
    "type": ("Metaspace",),
    "replacement": (SPACE,),
    "prepend_scheme": ("always", "first", "never"),
    "split": (False, True),
    "add_prefix_space": (True,),
    "str_rep": (SPACE,),
}
UNUSED_SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
JOIN = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def read(document: dict, pieces: list[str | None], added: Row[AddedToken]) -> SentencePieceRecord:
    model = document["model"]
    vocab = model["vocab"]
    expect(model, MODEL | ({"fuse_unk": ANY} if not unknown_bytes(vocab) else {}), "model")
    refuse_characters(added, vocab)
    normalizer = read_normalizer(document.get("normalizer"))
    prefix = read_pre_tokenizer(document.get("pre_tokenizer"), vocab, escaped=escapes(normalizer))
    return SentencePieceRecord(
        pieces,
        read_merges(model, pieces, added),
        None,
        tuple(added),
        normalizer,
        prefix,
        read_post_processor(document.get("post_processor"))[0],
        read_unknown(model),
        True,
        (),
        read_decoder(document.get("decoder")),
        added_only(added, vocab),
    )


def refuse_characters(added: Row[AddedToken], vocab: dict[str, int]) -> None:
    """FormatError for a special token that is a single character or byte: ordinary text could be encoded as it."""
    for token in added:
        if token.special and token.content in vocab and (len(token.content) == 1 or byte_of(token.content) is not None):
            raise FormatError(f"has the special token {token.content!r}, which stands for a single character or byte")


def read_merges(model: dict, pieces: list[str | None], added: Row[AddedToken]) -> list[Pair]:
    merges = pairs_of(model.get("merges"), model["vocab"])
    for left, right in merges:
        made = f"{pieces[left]}{pieces[right]}"
        if made not in model["vocab"]:
            raise FormatError(f"is damaged: a merge makes {made!r}, which is no token")
    return ordinary_pairs(merges, pieces, added)


def unknown_bytes(vocab: dict[str, int]) -> list[int]:
    """The bytes without a token. An ASCII byte needs none if its character is a token."""
    return [byte for byte in range(256) if f"<0x{byte:02X}>" not in vocab and not (byte < 128 and chr(byte) in vocab)]


def read_unknown(model: dict) -> int | None:
    """The id of the unknown token.

    `tokenizers` puts it after the bytes of the characters that follow it. If there is none, it joins what is left and
    right of an unknown character. Files with these effects are refused.
    """
    vocab, unknown = model["vocab"], model.get("unk_token")
    if unknown is not None and (not isinstance(unknown, str) or unknown not in vocab):
        raise FormatError(f"is damaged: its unk_token {shorten(unknown)} is no token")
    missing = unknown_bytes(vocab)
    if missing and (unknown is None or any(byte_of(piece) is not None for piece in vocab)):
        raise FormatError(
            f"has no token for the byte 0x{missing[0]:02X}, which is supported only with an unk_token and without any "
            "tokens for bytes"
        )
    return None if unknown is None else vocab[unknown]


def read_pre_tokenizer(spec: Any, vocab: dict[str, int], *, escaped: bool) -> Metaspace | None:
    """The Metaspace. None if the normalizer has `escaped` the spaces: then a split at spaces finds none."""
    if isinstance(spec, dict) and spec.get("type") == "Metaspace":
        return read_metaspace(spec, vocab)
    if not escaped or spec not in (None, UNUSED_SPLIT):
        raise FormatError(f"asks for pre_tokenizer = {shorten(spec)}, which is not supported with byte_fallback")
    return None


def read_metaspace(spec: dict, vocab: dict[str, int]) -> Metaspace:
    """FormatError if its split at U+2581 would matter. It does not if no token has that character inside."""
    expect(spec, METASPACE, "pre_tokenizer")
    if spec.get("split", True) and any(SPACE in piece[1:] for piece in vocab):
        raise FormatError("asks for pre_tokenizer.split = true, which is not supported with tokens of several spaces")
    scheme = spec.get("prepend_scheme", "always")
    return Metaspace("" if scheme == "never" else SPACE, everywhere=scheme != "first")


def write_metaspace(prefix: Prefix) -> dict[str, Any]:
    scheme = "first" if not prefix.everywhere else "always" if prefix.text else "never"
    return {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": False}


def read_decoder(spec: Any) -> bool:
    """Whether decoding removes a space at the beginning."""
    if spec in ({"type": "Sequence", "decoders": JOIN}, {"type": "Sequence", "decoders": [*JOIN, STRIP]}):
        return STRIP in spec["decoders"]
    raise FormatError(f"asks for decoder = {shorten(spec)}, which is not supported with byte_fallback")


def escapes(normalizer: Any) -> bool:
    """Whether the normalizer replaces all spaces."""
    return ESCAPE_SPACES in (normalizer.normalizers if isinstance(normalizer, Sequence) else (normalizer,))


def write(record: SentencePieceRecord) -> dict[str, Any]:
    if record.user_defined or not record.byte_fallback:
        raise ValueError(
            "a tokenizer with user-defined pieces, or without a token for each byte, cannot be written as a "
            "tokenizer.json"
        )
    pieces = record.pieces
    pairs = merges_of_scores(record) if record.merges is None else record.merges
    merges = [[pieces[left], pieces[right]] for left, right in pairs]
    unknown = None if record.unknown is None else pieces[record.unknown]
    vocab = model_vocab(pieces, record.added_only)
    return {
        "normalizer": record.normalizer.spec() if record.normalizer else None,
        "pre_tokenizer": write_metaspace(record.prefix) if record.prefix else None,
        "post_processor": write_post_processor(record.template, None, lambda i: pieces[i] or ""),
        "decoder": {"type": "Sequence", "decoders": [*JOIN, *([STRIP] if record.strips_space else [])]},
        "model": byte_pair_model(vocab, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True),
    }


def merges_of_scores(record: SentencePieceRecord) -> list[Pair]:
    """The merges: first those that make the pieces of the highest scores, for the same piece in the order of ids."""
    n = len(record.pieces)
    ordinary = model_vocab(record.pieces, [token.id for token in record.added_tokens])
    table = table_of_scores(ordinary, record.scores or [], n)
    return sorted((pair for pair in table if max(pair) < n), key=lambda pair: (table[pair], pair))
