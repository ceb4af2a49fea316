"""A tokenizer.json of a SentencePiece-style byte-pair tokenizer: Llama 2, Mistral, Gemma."""

from __future__ import annotations

from collections.abc import Sequence as Row
from typing import Any

from tokenizer.bpe.characters import table_of_scores
from tokenizer.bpe.merge_table import Pair
from tokenizer.formats.checks import ANY, SWITCH, expect, is_text, shorten, unsupported
from tokenizer.formats.components import BPE_MODEL, Document, added_only, model_vocab, write_bpe_model
from tokenizer.formats.merges import read_merges
from tokenizer.formats.records import FormatError, SentencePieceRecord, Spelling
from tokenizer.text.metaspace import ESCAPE_SPACES, SPACE, Metaspace, byte_of
from tokenizer.text.normalize import Normalizer, Sequence
from tokenizer.text.prefix import Prefix
from tokenizer.text.special_tokens import AddedToken

# fmt: off
METASPACE = {
    "type": ("Metaspace",), "replacement": (SPACE,), "prepend_scheme": ("always", "first", "never"), "split": SWITCH,
    "add_prefix_space": (True,), "str_rep": (SPACE,),  # these two are in older files only
}
# fmt: on
UNUSED_SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
# The decoders of these models: U+2581 becomes a space, pieces such as <0xE2> become bytes, everything is joined, and
# most models remove the space at the beginning.
JOIN = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def read(document: Document) -> SentencePieceRecord:
    model, pieces, added = document.model, document.spelling, document.added
    vocab = model["vocab"]
    fuse = (True,) if unknown_bytes(vocab) else ANY
    expect(model, BPE_MODEL | {"byte_fallback": (True,), "ignore_merges": (False,), "fuse_unk": fuse}, "model")
    refuse_characters(added, vocab)
    outside = added_only(added, vocab)
    return SentencePieceRecord(
        pieces=pieces,
        merges=read_merges(model.get("merges"), pieces, added, outside),
        scores=None,
        added_tokens=added,
        normalizer=document.normalizer,
        prefix=read_pre_tokenizer(document.pre_tokenizer, vocab, spaces_are_escaped=escapes(document.normalizer)),
        template=document.template,
        unknown=read_unknown(model),
        strips_space=read_decoder(document.decoder),
        added_only=outside,
    )


def refuse_characters(added: Row[AddedToken], vocab: dict[str, int]) -> None:
    """FormatError for a special token that is a single character or byte: ordinary text could be encoded as it."""
    for token in added:
        if token.special and token.content in vocab and (len(token.content) == 1 or byte_of(token.content) is not None):
            raise FormatError(f"has the special token {token.content!r}, which stands for a single character or byte")


def unknown_bytes(vocab: dict[str, int]) -> list[int]:
    """The bytes without a token. An ASCII byte needs none if its character is a token."""
    return [byte for byte in range(256) if f"<0x{byte:02X}>" not in vocab and not (byte < 128 and chr(byte) in vocab)]


def read_unknown(model: dict) -> int | None:
    """The id of the unknown token, or None.

    FormatError if some bytes have tokens and others have none. For such files, `tokenizers` puts the unknown token of a
    character after the bytes of the characters that follow it. Without an unknown token, it leaves the character out
    and merges what is left and right of it. This is not imitated here.
    """
    vocab, unknown = model["vocab"], model.get("unk_token")
    if unknown is not None and (not is_text(unknown) or unknown not in vocab):
        raise FormatError(f"is damaged: its unk_token {shorten(unknown)} is no token")
    missing = unknown_bytes(vocab)
    if missing and (unknown is None or any(byte_of(piece) is not None for piece in vocab)):
        raise FormatError(
            f"has no token for the byte 0x{missing[0]:02X}, which is supported only with an unk_token and without any "
            "tokens for bytes"
        )
    return None if unknown is None else vocab[unknown]


def read_pre_tokenizer(spec: Any, vocab: dict[str, int], *, spaces_are_escaped: bool) -> Metaspace | None:
    """The Metaspace. None if the normalizer has escaped the spaces: then a split at spaces has no effect."""
    if isinstance(spec, dict) and spec.get("type") == "Metaspace":
        return read_metaspace(spec, vocab)
    if not spaces_are_escaped or spec not in (None, UNUSED_SPLIT):
        raise unsupported("pre_tokenizer", spec, "which is not supported with byte_fallback")
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
    for strips_space in SWITCH:
        if spec == write_decoder(strips_space=strips_space):
            return strips_space
    raise unsupported("decoder", spec, "which is not supported with byte_fallback")


def write_decoder(*, strips_space: bool) -> dict[str, Any]:
    return {"type": "Sequence", "decoders": [*JOIN, STRIP] if strips_space else JOIN}


def escapes(normalizer: Normalizer | None) -> bool:
    """Whether the normalizer replaces all spaces."""
    return ESCAPE_SPACES in (normalizer.normalizers if isinstance(normalizer, Sequence) else (normalizer,))


def write(record: SentencePieceRecord) -> tuple[Spelling, dict[str, Any]]:
    if record.user_defined or not record.byte_fallback:
        problem = "user-defined pieces or without a token for each byte"
        raise ValueError(f"a tokenizer with {problem} cannot be written as a tokenizer.json")
    pieces = record.pieces
    pairs = merges_of_scores(record) if record.merges is None else record.merges
    merges = [[pieces[left], pieces[right]] for left, right in pairs]
    unknown = None if record.unknown is None else pieces[record.unknown]
    vocab = model_vocab(pieces, record.added_only)
    return pieces, {
        "pre_tokenizer": write_metaspace(record.prefix) if record.prefix else None,
        "decoder": write_decoder(strips_space=record.strips_space),
        "model": write_bpe_model(vocab, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True),
    }


def merges_of_scores(record: SentencePieceRecord) -> list[Pair]:
    """The merges that are implied by scores: those that make the pieces of the highest scores come first."""
    n = len(record.pieces)
    ordinary = model_vocab(record.pieces, [token.id for token in record.added_tokens])
    table = table_of_scores(ordinary, record.scores or [], n)
    # Several pairs may make the same piece: they are in the order of their ids.
    return sorted((pair for pair in table if max(pair) < n), key=lambda pair: (table[pair], pair))
