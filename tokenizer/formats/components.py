"""The parts of a tokenizer.json that several kinds of models share: added tokens, normalizers, post-processors."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from tokenizer.formats.checks import ANY, SWITCH, expect, expect_kind, is_id, is_list, is_text, unsupported
from tokenizer.formats.records import FormatError, Spelling
from tokenizer.text.bert_normalizer import BertNormalizer
from tokenizer.text.normalize import Lowercase, Normalizer, Prepend, Replace, Sequence, UnicodeForm
from tokenizer.text.offsets import OffsetTrimming
from tokenizer.text.special_tokens import AddedToken
from tokenizer.text.template import Ids, Part, Template, bert_template, roberta_template


class Document(NamedTuple):
    """A tokenizer.json. The parts that all kinds of models share are read already, the others are as in the file."""

    spelling: Spelling  # of all ids: those of the model's vocabulary and those of added tokens
    added: tuple[AddedToken, ...]
    normalizer: Normalizer | None
    template: Template
    trim_offsets: OffsetTrimming | None
    model: dict[str, Any]
    pre_tokenizer: Any
    decoder: Any


# Added tokens

TOKEN_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
ADDED_TOKEN = {"id": ANY, "content": ANY, **dict.fromkeys(TOKEN_FLAGS, SWITCH)}


def read_added_tokens(added: Any) -> tuple[AddedToken, ...]:
    """The added tokens, in the order of their ids."""
    if not is_list(added):
        raise FormatError("is damaged: its added_tokens are not a list")
    tokens: dict[str, AddedToken] = {}
    usual = {"id", "content", *TOKEN_FLAGS}
    for token in added:
        if not isinstance(token, dict) or token.keys() != usual:  # there may be thousands that need no closer look
            expect(token, ADDED_TOKEN, "added_tokens")
        name, i = token.get("content"), token.get("id")
        flags = [token.get(flag, False) for flag in TOKEN_FLAGS]
        if set(map(type, flags)) != {bool}:
            expect(token, ADDED_TOKEN, "added_tokens")
        if not is_text(name) or not name or not is_id(i) or name in tokens:
            raise unsupported("added_tokens", token, "which contradicts others or is incomplete")
        tokens[name] = AddedToken(name, i, **dict(zip(TOKEN_FLAGS, map(bool, flags))))
    return tuple(sorted(tokens.values(), key=lambda token: token.id))


def write_added_tokens(tokens: Iterable[AddedToken]) -> list[dict]:
    return [{"id": t.id, "content": t.content, **{flag: getattr(t, flag) for flag in TOKEN_FLAGS}} for t in tokens]


# The vocabulary of a model, which need not contain the added tokens


def added_only(added: Iterable[AddedToken], vocab: Collection[str]) -> Ids:
    """The ids of the added tokens that are not in the vocabulary of the model: they are found, but never made by it."""
    return tuple(token.id for token in added if token.content not in vocab)


def model_vocab(pieces: Spelling, added_only: Collection[int]) -> dict[str, int]:
    """The pieces in the vocabulary of the model, with their ids."""
    return {piece: i for i, piece in enumerate(pieces) if piece is not None and i not in added_only}


# fmt: off
BPE_MODEL = {
    "type": ("BPE", None), "dropout": (None, 0), "unk_token": ANY, "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""), "fuse_unk": ANY, "byte_fallback": SWITCH, "ignore_merges": SWITCH,
    "vocab": ANY, "merges": ANY,
}
# fmt: on


def write_bpe_model(vocab: dict[str, int], merges: list, **settings: Any) -> dict[str, Any]:
    """The description of a byte-pair model: `settings`, and defaults for all others."""
    defaults = dict.fromkeys(BPE_MODEL) | dict.fromkeys(["fuse_unk", "byte_fallback", "ignore_merges"], False)
    return defaults | {"type": "BPE", "vocab": vocab, "merges": merges} | settings


# Normalizers


def is_not_empty(value: Any) -> bool:
    return is_text(value) and value != ""


def is_character(value: Any) -> bool:
    return is_text(value) and len(value) == 1


def is_character_pattern(value: Any) -> bool:
    return isinstance(value, dict) and is_character(value.get("String"))


BERT_SWITCHES = dict.fromkeys(["clean_text", "handle_chinese_chars", "lowercase"], SWITCH)
NORMALIZERS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(["NFC", "NFD", "NFKC", "NFKD", "Lowercase"], {}),
    "Prepend": {"prepend": is_not_empty},
    "Replace": {"pattern": is_character_pattern, "content": is_character},
    "Sequence": {"normalizers": is_list},
    "BertNormalizer": {"strip_accents": (None, *SWITCH), **BERT_SWITCHES},
}


def read_normalizer(spec: Any) -> Normalizer | None:
    """The normalizer that a file describes, or None."""
    if spec is None:
        return None
    kind: Any = expect_kind(spec, NORMALIZERS, "normalizer")
    if kind == "Lowercase":
        return Lowercase()
    if kind == "Prepend":
        return Prepend(spec["prepend"])
    if kind == "Replace":
        return Replace(spec["pattern"]["String"], spec["content"])
    if kind == "Sequence":
        return Sequence(tuple(step for part in spec["normalizers"] if (step := read_normalizer(part))))
    if kind == "BertNormalizer":
        return BertNormalizer(**{key: value for key, value in spec.items() if key != "type"})
    return UnicodeForm(kind)


def write_normalizer(normalizer: Normalizer | None) -> dict[str, Any] | None:
    """The inverse of `read_normalizer`."""
    match normalizer:
        case None:
            return None
        case Lowercase():
            return {"type": "Lowercase"}
        case Prepend(prefix):
            return {"type": "Prepend", "prepend": prefix}
        case Replace(old, new):
            return {"type": "Replace", "pattern": {"String": old}, "content": new}
        case Sequence(normalizers):
            return {"type": "Sequence", "normalizers": [*map(write_normalizer, normalizers)]}
        case BertNormalizer():
            return {"type": "BertNormalizer", **vars(normalizer)}
        case UnicodeForm(form):
            return {"type": form}
    raise ValueError("a tokenizer that removes extra spaces cannot be written as a tokenizer.json")


# Post-processors


def is_name_and_id(value: Any) -> bool:
    return is_list(value) and len(value) == 2 and is_id(value[1])


BYTE_LEVEL = dict.fromkeys(["add_prefix_space", "trim_offsets", "use_regex"], SWITCH)
ENDS = {"cls": is_name_and_id, "sep": is_name_and_id, "trim_offsets": SWITCH, "add_prefix_space": SWITCH}
POST_PROCESSORS: dict[str, dict[str, Any]] = {
    "ByteLevel": BYTE_LEVEL,
    "BertProcessing": ENDS,
    "RobertaProcessing": ENDS,
    "TemplateProcessing": {"single": is_list, "pair": is_list, "special_tokens": ANY},
    "Sequence": {"processors": is_list},
}


def read_post_processor(spec: Any) -> tuple[Template, OffsetTrimming | None]:
    """The template, and how spans are trimmed."""
    if spec is None:
        return Template(), None
    kind = expect_kind(spec, POST_PROCESSORS, "post_processor")
    trimming = OffsetTrimming(spec.get("add_prefix_space", True)) if spec.get("trim_offsets", True) else None
    if kind == "ByteLevel":
        return Template(), trimming
    if kind == "BertProcessing":
        return bert_template(spec["cls"][1], spec["sep"][1]), None
    if kind == "RobertaProcessing":
        return roberta_template(spec["cls"][1], spec["sep"][1]), trimming
    if kind == "TemplateProcessing":
        return read_template(spec), None
    steps = [read_post_processor(step) for step in spec["processors"]]
    templates = [template for template, _ in steps if template != Template()]
    trimmings = [trimming for _, trimming in steps if trimming]
    if len(templates) > 1 or len(trimmings) > 1:
        raise unsupported("post_processor", spec)
    return templates[0] if templates else Template(), trimmings[0] if trimmings else None


def read_template(spec: dict) -> Template:
    try:
        tokens = {name: [(i,) for i in token["ids"]] for name, token in (spec.get("special_tokens") or {}).items()}
        parts: dict[str, dict[str, list]] = {"Sequence": {"A": ["A"], "B": ["B"]}, "SpecialToken": tokens}
        single, single_types = read_parts(spec["single"], parts)
        pair, pair_types = read_parts(spec["pair"], parts)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise unsupported("post_processor", spec) from None
    numbers = [*single_types, *pair_types, *(i for ids in tokens.values() for (i,) in ids)]
    if not all(map(is_id, numbers)):
        raise unsupported("post_processor", spec)
    return Template(single, pair, single_types, pair_types)


def read_parts(specs: Iterable[dict], parts_of: dict[str, dict[str, list]]) -> tuple[tuple[Part, ...], Ids]:
    """The parts, and the type of each. `parts_of[kind][name]` is a list: a special token may have several ids."""
    parts: list[Part] = []
    types: list[int] = []
    for spec in specs:
        ((kind, value),) = spec.items()  # such as {"SpecialToken": {"id": "<s>", "type_id": 0}}
        new = parts_of[kind][value["id"]]
        parts += new
        types += [value["type_id"]] * len(new)
    return tuple(parts), tuple(types)


def write_post_processor(template: Template, trimming: OffsetTrimming | None, spelling: Spelling) -> Any:
    """The inverse of `read_post_processor`."""
    steps: list[dict[str, Any]] = []
    if trimming:
        steps.append(write_byte_level(use_regex=True, has_prefix=trimming.keeps_first))
    if template != Template():
        single = write_parts(template.single, template.single_types, spelling)
        pair = write_parts(template.pair, template.pair_types, spelling)
        names = {spelling[i]: {"id": spelling[i], "ids": [i], "tokens": [spelling[i]]} for i in template.special_ids()}
        steps.append({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": names})
    return {"type": "Sequence", "processors": steps} if len(steps) > 1 else steps[0] if steps else None


def write_parts(parts: Iterable[Part], types: Ids, spelling: Spelling) -> list[dict]:
    written: list[dict] = []
    for part, type_id in zip(parts, types):
        if isinstance(part, str):
            written.append({"Sequence": {"id": part, "type_id": type_id}})
        else:
            written += [{"SpecialToken": {"id": spelling[i], "type_id": type_id}} for i in part]
    return written


def write_byte_level(*, use_regex: bool, has_prefix: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": has_prefix, "trim_offsets": True, "use_regex": use_regex}
