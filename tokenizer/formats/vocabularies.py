"""Bare vocabularies: files of tokens without settings.

A byte-pair vocabulary consists of two files, a table of tokens and ids and a list of merges: encoder.json + vocab.bpe
of GPT-2, vocab.json + merges.txt of Hugging Face. A list of pieces that contains [UNK] is BERT's vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokenizer.formats import byte_pair
from tokenizer.formats.beside import read_ends
from tokenizer.formats.checks import is_text, spelling_of_ids
from tokenizer.formats.components import read_added_tokens
from tokenizer.formats.records import BytePairRecord, FormatError, PatternKnown, SpecialTokens, WordPieceRecord
from tokenizer.split.pretokenizer import PATTERNS
from tokenizer.text.bert_normalizer import BertNormalizer
from tokenizer.text.normalize import Normalizer, UnicodeForm
from tokenizer.text.prefix import Prefix
from tokenizer.text.special_tokens import END_OF_TEXT, AddedToken
from tokenizer.text.template import Template, bert_template

# The files of a vocabulary do not say its pattern and normalizer. They follow from the class that the
# tokenizer_config.json beside them names.
CLASSES: dict[str, tuple[str, Normalizer | None]] = {
    "GPT2Tokenizer": ("gpt2", None),
    "CodeGenTokenizer": ("gpt2", None),
    "GPTNeoXTokenizer": ("gpt2", UnicodeForm("NFC")),
    "Qwen2Tokenizer": ("qwen2", UnicodeForm("NFC")),
}
WORD_END = "</w>"
BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def parse_byte_pairs(
    vocab: dict[str, Any],
    merges: bytes,
    settings: dict[str, Any],
    listed: list[dict[str, Any]],
    pattern: str | None,
    special_tokens: SpecialTokens,
) -> BytePairRecord:
    """A vocabulary and its file of merges.

    `settings` are those of a tokenizer_config.json, which may name a class whose pattern is known. `listed` are the
    added tokens that the files beside the vocabulary list. `special_tokens` are names that the vocabulary has, or new
    ones with their ids.
    """
    pattern, normalizer = pattern_and_normalizer(settings, pattern)
    added = added_tokens(vocab, listed, special_tokens)
    spelling = spelling_of_ids(vocab | {token.content: token.id for token in added})
    prefix = Prefix() if settings.get("add_prefix_space") and pattern == "gpt2" else None
    lines = lines_of(merges)
    refuse_word_ends(vocab, lines, added)
    ends = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
    template = read_ends(settings, {text: i for i, text in enumerate(spelling) if text is not None}, ends, Template())
    return byte_pair.make_record(
        spelling, vocab, lines, added, pattern=pattern, normalizer=normalizer, prefix=prefix, template=template
    )


def pattern_and_normalizer(settings: dict[str, Any], pattern: str | None) -> tuple[str, Normalizer | None]:
    """Those of the class that the settings name. Without a class: `pattern`, or else GPT-2's."""
    kind = settings.get("tokenizer_class", "GPT2Tokenizer" if pattern is None else "").removesuffix("Fast")
    if kind in CLASSES:
        known, normalizer = CLASSES[kind]
        if pattern not in (None, known, PATTERNS[known]):
            raise PatternKnown(f"has settings beside it that say how text is split ({known}): leave out pattern=")
        return known, normalizer
    if pattern is None:
        raise FormatError(f"belongs to a {kind}, whose pattern is not known: give pattern=")
    return pattern, None


def refuse_word_ends(vocab: Mapping[str, Any], merges: Iterable[str], added: Iterable[AddedToken]) -> None:
    """FormatError if the last token of each word has the mark </w>, as "e</w>" of CLIP and GPT-1.

    Such files look like GPT-2's otherwise. In a vocabulary of GPT-2 each token is a byte or is made by a merge, even
    "e</w>". In one of CLIP, "e</w>" is a token, but no merge makes it.
    """
    made = {merge.replace(" ", "", 1) for merge in merges} | {token.content for token in added}
    parts = {part for merge in merges for part in merge.split(" ")}
    for token in (*vocab, *parts):
        if len(token) > len(WORD_END) and token.endswith(WORD_END) and token not in made:
            raise FormatError(f"has the token {token!r}: marked ends of words, as in CLIP and GPT-1, are not supported")


def lines_of(merges: bytes) -> list[str]:
    """The lines of a merges.txt, without the one at its beginning that says its version."""
    try:
        lines = merges.decode().split("\n")
    except UnicodeDecodeError:
        raise FormatError("has a file of merges beside it that is not text in UTF-8") from None
    lines = lines[1:] if lines[0].startswith("#version") else lines
    return [line.rstrip("\r") for line in lines if line.strip()]


def added_tokens(vocab: dict, listed: list[dict], special_tokens: SpecialTokens) -> tuple[AddedToken, ...]:
    """`special_tokens` if given, or else the `listed` ones, or else the end of text."""
    if isinstance(special_tokens, Mapping):
        return tuple(AddedToken(name, i) for name, i in special_tokens.items())
    if special_tokens is not None:
        for name in special_tokens:
            if name not in vocab:
                raise FormatError(f"has no token {name!r}: give special_tokens as a table of names and ids")
        return tuple(AddedToken(name, vocab[name]) for name in special_tokens)
    if listed:
        return read_added_tokens(listed)
    return (AddedToken(END_OF_TEXT, vocab[END_OF_TEXT]),) if END_OF_TEXT in vocab else ()


def parse_word_pieces(vocab: Any, settings: dict[str, Any]) -> WordPieceRecord:
    """BERT's vocabulary: a table of pieces and ids, or a list in the order of the ids."""
    if isinstance(vocab, list):
        if not all(map(is_text, vocab)):
            raise FormatError("is damaged: its vocabulary contains something that is not text")
        # A list for TensorFlow.js marks the pieces that begin words (with U+2581) instead of the pieces inside words.
        if sum(piece.startswith("\u2581") for piece in vocab) > len(vocab) // 2:
            vocab = [with_continuation_mark(piece) for piece in vocab]
        vocab = {piece: i for i, piece in enumerate(vocab)}
    pieces = spelling_of_ids(vocab)
    for name in "[UNK]", "[CLS]", "[SEP]":
        if name not in vocab:
            raise FormatError(f"is not a vocabulary of BERT: it has no {name}")
    lowercase, accents = settings.get("do_lower_case", True), settings.get("strip_accents")
    chinese = settings.get("tokenize_chinese_chars", True)
    specials = sorted((vocab[name], name) for name in BERT_SPECIALS if name in vocab)
    added = tuple(AddedToken(name, i) for i, name in specials)
    normalizer = BertNormalizer(True, chinese, accents, lowercase)
    return WordPieceRecord(pieces, added, normalizer, bert_template(vocab["[CLS]"], vocab["[SEP]"]))


def with_continuation_mark(piece: str) -> str:
    """A piece of a list for TensorFlow.js as BERT spells it."""
    if piece.startswith("\u2581"):
        return piece[1:]
    return piece if piece.startswith("[") and piece.endswith("]") and len(piece) > 2 else "##" + piece
