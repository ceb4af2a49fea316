"""The parts of a tokenizer.json that all kinds of models share: added tokens, normalizers, post-processors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from tokenizer.formats.checks import ANY, expect, is_id, is_text, shorten
from tokenizer.formats.records import FormatError
from tokenizer.text.bert_normalizer import BertNormalizer
from tokenizer.text.normalize import Lowercase, Normalizer, Prepend, Replace, Sequence, UnicodeForm
from tokenizer.text.offsets import OffsetTrimming
from tokenizer.text.special_tokens import AddedToken
from tokenizer.text.template import Ids, Part, Template

FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
BYTE_LEVEL = {
    "type": ("ByteLevel",),
    "add_prefix_space": (False, True),
    "trim_offsets": (False, True),
    "use_regex": (False, True),
}


def read_added_tokens(added: Any) -> tuple[AddedToken, ...]:
    """The added tokens, in the order of their ids."""
    if not isinstance(added, list):
        raise FormatError("is damaged: its added_tokens are not a list")
    tokens: dict[str, AddedToken] = {}
    for token in added:
        expect(token, {"id": ANY, "content": ANY, **dict.fromkeys(FLAGS, (False, True))}, "added_tokens")
        name, i = token.get("content"), token.get("id")
        if not is_text(name) or not name or not is_id(i) or name in tokens:
            raise FormatError(f"is damaged: the added token {shorten(token)} contradicts others or is incomplete")
        tokens[name] = AddedToken(name, i, **{flag: bool(token.get(flag)) for flag in FLAGS})
    return tuple(sorted(tokens.values(), key=lambda token: token.id))


def write_added_tokens(tokens: Iterable[AddedToken]) -> list[dict]:
    return [{"id": t.id, "content": t.content, **{flag: getattr(t, flag) for flag in FLAGS}} for t in tokens]


def added_only(added: Iterable[AddedToken], vocab: Collection[str]) -> tuple[int, ...]:
    """The ids of the added tokens that are not in the vocabulary of the model: they are found, but never made by it."""
    return tuple(token.id for token in added if token.content not in vocab)


def model_vocab(pieces: Iterable[str | None], added_only: Collection[int]) -> dict[str, int]:
    """The pieces in the vocabulary of the model, with their ids."""
    return {piece: i for i, piece in enumerate(pieces) if piece is not None and i not in added_only}


def byte_pair_model(vocab: dict[str, int], merges: list, **settings: Any) -> dict[str, Any]:
    """The description of a byte-pair model: `settings`, and defaults for all others."""
    switches = dict.fromkeys(["fuse_unk", "byte_fallback", "ignore_merges"], False)
    nothing = dict.fromkeys(["dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"])
    return {"type": "BPE", **nothing, **switches, **settings, "vocab": vocab, "merges": merges}


# Normalizers

SWITCH = (False, True)


def read_normalizer(spec: Any) -> Normalizer | None:
    """The normalizer that a file describes, or None."""
    if spec is None:
        return None
    kind = spec.get("type") if isinstance(spec, dict) else None
    if not isinstance(kind, str) or kind not in NORMALIZERS:
        raise FormatError(f"asks for normalizer = {shorten(spec)}, which is not supported")
    supported, make = NORMALIZERS[kind]
    expect(spec, {"type": (kind,), **supported}, "normalizer")
    return make(spec)


def read_sequence(spec: dict) -> Normalizer:
    parts = spec.get("normalizers")
    if not isinstance(parts, list):
        raise FormatError("is damaged: its normalizers are not a list")
    return Sequence(tuple(normalizer for part in parts if (normalizer := read_normalizer(part))))


def read_prepend(spec: dict) -> Normalizer:
    if not is_text(spec.get("prepend")) or not spec["prepend"]:
        raise FormatError(f"asks for normalizer = {shorten(spec)}, which is not supported")
    return Prepend(spec["prepend"])


def read_replace(spec: dict) -> Normalizer:
    pattern, content = spec.get("pattern"), spec.get("content", "")
    old = pattern.get("String", "") if isinstance(pattern, dict) else ""
    if not is_text(old) or not is_text(content) or len(old) != 1 or len(content) != 1:
        raise FormatError(f"asks for normalizer = {shorten(spec)}, which is not supported")
    return Replace(old, content)


def read_bert(spec: dict) -> Normalizer:
    return BertNormalizer(**{key: value for key, value in spec.items() if key != "type"})


NORMALIZERS: dict[str, tuple[dict, Callable[[dict], Normalizer]]] = {
    **{form: ({}, lambda spec: UnicodeForm(spec["type"])) for form in ("NFC", "NFD", "NFKC", "NFKD")},
    "Lowercase": ({}, lambda _: Lowercase()),
    "Prepend": ({"prepend": ANY}, read_prepend),
    "Replace": ({"pattern": ANY, "content": ANY}, read_replace),
    "Sequence": ({"normalizers": ANY}, read_sequence),
    "BertNormalizer": (
        {"clean_text": SWITCH, "handle_chinese_chars": SWITCH, "strip_accents": (None, *SWITCH), "lowercase": SWITCH},
        read_bert,
    ),
}


# Post-processors


def read_post_processor(spec: Any) -> tuple[Template, OffsetTrimming | None]:
    """The template, and how spans are trimmed."""
    kind = spec.get("type") if isinstance(spec, dict) else None
    if spec is None:
        return Template(), None
    if kind == "ByteLevel":
        expect(spec, BYTE_LEVEL, "post_processor")
        return Template(), read_trimming(spec)
    if kind == "TemplateProcessing":
        return read_template(spec), None
    if kind == "RobertaProcessing":
        begin, end = read_ends(spec)
        template = Template((begin, "A", end), (begin, "A", end, end, "B", end), (0,) * 3, (0,) * 6)
        return template, read_trimming(spec)
    if kind == "BertProcessing":
        begin, end = read_ends(spec)
        return Template((begin, "A", end), (begin, "A", end, "B", end), (0, 0, 0), (0, 0, 0, 1, 1)), None
    if kind == "Sequence" and isinstance(spec.get("processors"), list):
        steps = [read_post_processor(step) for step in spec["processors"]]
        templates = [template for template, _ in steps if template != Template()]
        trimmings = [trimming for _, trimming in steps if trimming]
        if len(templates) <= 1 and len(trimmings) <= 1:
            return templates[0] if templates else Template(), trimmings[0] if trimmings else None
    raise FormatError(f"asks for post_processor = {shorten(spec)}, which is not supported")


def read_trimming(spec: dict) -> OffsetTrimming | None:
    return OffsetTrimming(spec.get("add_prefix_space", True)) if spec.get("trim_offsets", True) else None


def read_ends(spec: dict) -> tuple[Ids, Ids]:
    switches = {"trim_offsets": SWITCH, "add_prefix_space": SWITCH}
    expect(spec, {"type": (spec["type"],), "sep": ANY, "cls": ANY, **switches}, "post_processor")
    ends = []
    for key in "cls", "sep":
        end = spec.get(key)
        if not isinstance(end, list) or len(end) != 2 or not is_id(end[1]):
            raise FormatError(f"asks for post_processor.{key} = {shorten(end)}, which is not supported")
        ends.append((end[1],))
    return ends[0], ends[1]


def read_template(spec: dict) -> Template:
    supported = {"type": ("TemplateProcessing",), "single": ANY, "pair": ANY, "special_tokens": ANY}
    expect(spec, supported, "post_processor")
    special = spec.get("special_tokens")
    try:
        ids = {name: tuple(token["ids"]) for name, token in (special or {}).items()}
        single = [read for part in spec["single"] for read in read_part(part, ids)]
        pair = [read for part in spec["pair"] for read in read_part(part, ids)]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise FormatError(f"asks for post_processor = {shorten(spec)}, which is not supported") from None
    columns = [tuple(column) for parts in (single, pair) for column in (zip(*parts) if parts else ((), ()))]
    return Template(columns[0], columns[2], columns[1], columns[3])


def read_part(part: dict, ids: dict[str, Ids]) -> list[tuple[Part, int]]:
    """The part with the type of its ids. A special token of several ids becomes several parts."""
    ((kind, value),) = part.items()
    if kind == "Sequence" and value["id"] in ("A", "B") and is_id(value["type_id"]):
        return [(value["id"], value["type_id"])]
    if kind == "SpecialToken" and all(map(is_id, ids[value["id"]])) and is_id(value["type_id"]):
        return [((i,), value["type_id"]) for i in ids[value["id"]]]
    raise ValueError(part)


def write_post_processor(template: Template, trimming: OffsetTrimming | None, name_of: Callable[[int], str]) -> Any:
    steps: list[dict[str, Any]] = []
    if trimming:
        keeps = {"add_prefix_space": trimming.keeps_first}
        steps.append({"type": "ByteLevel", **keeps, "trim_offsets": True, "use_regex": True})
    if template != Template():
        special = {i for part in (*template.single, *template.pair) if isinstance(part, tuple) for i in part}
        names = {i: name_of(i) for i in sorted(special)}
        single = write_parts(template.single, template.single_types, name_of)
        pair = write_parts(template.pair, template.pair_types, name_of)
        described = {name: {"id": name, "ids": [i], "tokens": [name]} for i, name in names.items()}
        steps.append({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": described})
    return {"type": "Sequence", "processors": steps} if len(steps) > 1 else steps[0] if steps else None


def write_parts(parts: Iterable[Part], types: Ids, name_of: Callable[[int], str]) -> list[dict]:
    written: list[dict] = []
    for part, type_id in zip(parts, types):
        if isinstance(part, str):
            written.append({"Sequence": {"id": part, "type_id": type_id}})
        else:
            written += [{"SpecialToken": {"id": name_of(i), "type_id": type_id}} for i in part]
    return written
