"""tokenizer.json of a SentencePiece-style byte-pair tokenizer: Llama 2, Mistral, Gemma."""

from __future__ import annotations

from collections.abc import Sequence as Row
from typing import Any

from tokenizer.bpe.characters import ESCAPE, SPACE, Metaspace, byte_of, table_of_scores
from tokenizer.bpe.textbook import Pair
from tokenizer.formats.checks import ANY, expect, ordinary_pairs, pairs_of, shorten
from tokenizer.formats.records import FormatError, SentencePieceContents
from tokenizer.formats.stages import (
    byte_pair_model,
    merely_added,
    model_vocab,
    read_normalizer,
    read_post_processor,
    write_post_processor,
)
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


def read(document: dict, pieces: list[str | None], added: Row[AddedToken]) -> SentencePieceContents:
    model = document["model"]
    vocab = model["vocab"]
    expect(model, MODEL | ({"fuse_unk": ANY} if not unknown_bytes(vocab) else {}), "model")
    refuse_characters(added, vocab)
    normalizer = read_normalizer(document.get("normalizer"))
    prefix = read_pre_tokenizer(document.get("pre_tokenizer"), vocab, escapes(normalizer))
    return SentencePieceContents(
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
        merely_added(added, vocab),
    )


def refuse_characters(added: Row[AddedToken], vocab: dict[str, int]) -> None:
    """FormatError if ordinary text could be encoded as a special token because that is a character or byte of it."""
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
    """The bytes without a token that text may need: those of ASCII are characters, which may be tokens themselves."""
    return [byte for byte in range(256) if f"<0x{byte:02X}>" not in vocab and not (byte < 128 and chr(byte) in vocab)]


def read_unknown(model: dict) -> int | None:
    """The id of the token for what is unknown. `tokenizers` puts it after the bytes of the characters that follow it,
    and joins what is left and right of a character for which there is nothing at all: such files are refused.
    """
    vocab, unknown = model["vocab"], model.get("unk_token")
    if unknown is not None and (not isinstance(unknown, str) or unknown not in vocab):
        raise FormatError(f"is damaged: its unk_token {shorten(unknown)} is no token")
    missing = unknown_bytes(vocab)
    if missing and (unknown is None or any(byte_of(piece) is not None for piece in vocab)):
        raise FormatError(
            f"has no token for the byte 0x{missing[0]:02X}, which is supported only if it has an unk_token and none "
            "for bytes"
        )
    return None if unknown is None else vocab[unknown]


def read_pre_tokenizer(spec: Any, vocab: dict[str, int], escaped: bool) -> Metaspace | None:
    """What a Metaspace does. None if the normalizer has `escaped` the spaces: a split at spaces finds none then."""
    if isinstance(spec, dict) and spec.get("type") == "Metaspace":
        return read_metaspace(spec, vocab)
    if not escaped or spec not in (None, UNUSED_SPLIT):
        raise FormatError(f"asks for pre_tokenizer = {shorten(spec)}, which is not supported with byte_fallback")
    return None


def read_metaspace(spec: dict, vocab: dict[str, int]) -> Metaspace:
    """A split at U+2581 changes nothing where no token has one inside."""
    expect(spec, METASPACE, "pre_tokenizer")
    if spec.get("split", True) and any(SPACE in piece[1:] for piece in vocab):
        raise FormatError("asks for pre_tokenizer.split = true, which is not supported with tokens of several spaces")
    scheme = spec.get("prepend_scheme", "always")
    return Metaspace("" if scheme == "never" else SPACE, everywhere=scheme != "first")


def write_metaspace(prefix: Prefix) -> dict[str, Any]:
    scheme = "first" if not prefix.everywhere else "always" if prefix.text else "never"
    return {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": False}


def read_decoder(spec: Any) -> bool:
    """Whether decoding takes a space from the beginning."""
    if spec in ({"type": "Sequence", "decoders": JOIN}, {"type": "Sequence", "decoders": [*JOIN, STRIP]}):
        return STRIP in spec["decoders"]
    raise FormatError(f"asks for decoder = {shorten(spec)}, which is not supported with byte_fallback")


def escapes(normalizer: Any) -> bool:
    """Whether it leaves no spaces in the text."""
    return ESCAPE in (normalizer.normalizers if isinstance(normalizer, Sequence) else (normalizer,))


def write(contents: SentencePieceContents) -> dict[str, Any]:
    if contents.undivided or not contents.byte_fallback:
        raise ValueError(
            "a tokenizer with undivided pieces, or without a token for each byte, cannot be written as a tokenizer.json"
        )
    pieces = contents.pieces
    pairs = merges_of_scores(contents) if contents.merges is None else contents.merges
    merges = [[pieces[left], pieces[right]] for left, right in pairs]
    unknown = None if contents.unknown is None else pieces[contents.unknown]
    vocab = model_vocab(pieces, contents.merely_added)
    return {
        "normalizer": contents.normalizer.spec() if contents.normalizer else None,
        "pre_tokenizer": write_metaspace(contents.prefix) if contents.prefix else None,
        "post_processor": write_post_processor(contents.template, None, lambda i: pieces[i] or ""),
        "decoder": {"type": "Sequence", "decoders": [*JOIN, *([STRIP] if contents.drops_space else [])]},
        "model": byte_pair_model(vocab, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True),
    }


def merges_of_scores(contents: SentencePieceContents) -> list[Pair]:
    """The merges in the order of the scores of what they make; for the same piece in the order of its parts."""
    n = len(contents.pieces)
    ordinary = model_vocab(contents.pieces, [token.id for token in contents.special_tokens])
    table = table_of_scores(ordinary, contents.scores or [], n)
    return sorted((pair for pair in table if max(pair) < n), key=lambda pair: (table[pair], pair))
