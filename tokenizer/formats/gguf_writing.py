"""A tokenizer as values of a GGUF file, so that llama.cpp and others can use it.

llama.cpp knows less than a tokenizer.json can say. A tokenizer to which it would give other ids is refused. If it only
knows a detail less, the tokenizer.json is one of the values, under the name that the format has for it, so that the
tokenizer is the same when the file is read here again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizer.formats import byte_pair, character_pair, gguf_values, tokenizer_json
from tokenizer.formats.gguf_values import CHAT, CHATS, DOCUMENT, PREFIX, ROLES, SPLITTINGS
from tokenizer.formats.records import BytePairRecord, CharacterRecord, FormatError, Record, SentencePieceRecord
from tokenizer.formats.sentencepiece import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from tokenizer.text.metaspace import SPACE, byte_of
from tokenizer.text.template import Template

# llama.cpp has no name for GPT-4's pattern. It gives models with GPT-4's tokenizer (dbrx) this nearly equal one: only
# white space at the end of a text is split differently, if a line ends in it.
NEARLY = {"gpt4": "llama3"}


def write(record: Record, roles: Mapping[str, int], chat_template: Any = None, size: int = 0) -> dict[str, Any]:
    """The values by their names: texts, numbers, switches and lists.

    `roles` are the ids of bos_token, eos_token, unk_token and pad_token, as far as there are such tokens. If the model
    has more ids than the tokenizer, its number of ids is `size`: the others get tokens that are not used. ValueError if
    llama.cpp would give other ids. It has no tokenizers of characters or without merges: for these, it gets none.
    """
    if isinstance(record, CharacterRecord) or isinstance(record, BytePairRecord) and not record.merges:
        return {f"{PREFIX}model": "none"} | document(record)
    values = filled(vocabulary(record), size)
    values |= {ROLES[role]: i for role, i in roles.items() if role in ROLES} | ends(record.template)
    named = {PREFIX + name: value for name, value in values.items()} | chats(chat_template)
    return named if read_back(named, record) == record else named | document(record)


def document(record: Record) -> dict[str, str]:
    return {DOCUMENT: tokenizer_json.serialize(record).decode()}


def filled(values: dict[str, Any], size: int) -> dict[str, Any]:
    """The vocabulary with tokens that are not used, up to `size` tokens."""
    used = len(values["tokens"])
    more: dict[str, list[Any]] = {"tokens": [f"[PAD{i}]" for i in range(used, size)]}
    more |= {"token_type": [UNUSED] * (size - used), "scores": [0.0] * (size - used)}
    return values | {name: values[name] + rest for name, rest in more.items() if name in values}


def ends(template: Template) -> dict[str, Any]:
    """The tokens at the beginning and the end of each text."""
    before, after = template.single[0], template.single[-1]
    values: dict[str, Any] = {"add_bos_token": before != "A", "add_eos_token": after != "A"}
    for key, part in ("bos", before), ("eos", after):
        if isinstance(part, tuple):
            (values[f"{key}_token_id"],) = part[:1]
    return values


def chats(template: Any) -> dict[str, Any]:
    """The chat template, or several with names, as in a tokenizer_config.json."""
    if not isinstance(template, list):
        return {} if template is None else {CHAT: template}
    named = {one["name"]: one["template"] for one in template}
    default = {CHAT: named.pop("default")} if "default" in named else {}
    return default | ({CHATS: [*named]} if named else {}) | {f"{CHAT}.{name}": text for name, text in named.items()}


def vocabulary(record: Record) -> dict[str, Any]:
    if isinstance(record, BytePairRecord):
        return byte_pairs(record)
    if isinstance(record, SentencePieceRecord):
        return sentence_pieces(record)
    raise ValueError("a WordPiece tokenizer cannot be written into a GGUF file: models that write text have other ones")


def byte_pairs(record: BytePairRecord) -> dict[str, Any]:
    pattern = NEARLY.get(str(record.pattern), record.pattern)
    names = (
        name
        for name, known in SPLITTINGS.items()
        if (known.pattern, known.ignore_merges, known.normalizer) == (pattern, record.ignore_merges, record.normalizer)
    )
    pre = next(names, None)
    if pre is None:
        raise ValueError(
            f"this tokenizer cannot be written into a GGUF file: llama.cpp has no name for its pattern "
            f"{repr(record.pattern)[:80]} together with its normalizer and ignore_merges={record.ignore_merges}"
        )
    spelling, parts = byte_pair.write(record)
    kinds = {token.id: CONTROL if token.special else USER_DEFINED for token in record.added_tokens}
    return {
        "model": "gpt2",
        "pre": pre,
        "tokens": [f"[PAD{i}]" if text is None else text for i, text in enumerate(spelling)],
        "token_type": [UNUSED if text is None else kinds.get(i, NORMAL) for i, text in enumerate(spelling)],
        "merges": parts["model"]["merges"],
        "add_space_prefix": False,
    }


def sentence_pieces(record: SentencePieceRecord) -> dict[str, Any]:
    pieces = record.pieces
    kinds = {i: BYTE for i, piece in enumerate(pieces) if piece and byte_of(piece) is not None}
    kinds |= {token.id: CONTROL if token.special else USER_DEFINED for token in record.added_tokens}
    kinds |= dict.fromkeys(record.user_defined, USER_DEFINED)
    if record.unknown is not None:
        kinds[record.unknown] = UNKNOWN
    return {
        "model": "llama",
        "tokens": [spelled(i, piece, kinds.get(i)) for i, piece in enumerate(pieces)],
        "token_type": [UNUSED if piece is None else kinds.get(i, NORMAL) for i, piece in enumerate(pieces)],
        "scores": scores_of_merges(record) if record.scores is None else record.scores,
        "add_space_prefix": bool(record.strips_space),
    }


def spelled(i: int, piece: str | None, kind: int | None) -> str:
    """A piece as llama.cpp looks for it: a user-defined one in the text as it is given, without escaped spaces."""
    if piece is None:
        return f"[PAD{i}]"
    return piece.replace(SPACE, " ") if kind == USER_DEFINED else piece


def scores_of_merges(record: SentencePieceRecord) -> list[float]:
    """Scores that imply the merges: the later a piece is made, the lower is its score."""
    scores = [0.0] * len(record.pieces)
    id_of = {piece: i for i, piece in enumerate(record.pieces)}
    for rank, (left, right) in enumerate(record.merges or ()):
        made = id_of[f"{record.pieces[left]}{record.pieces[right]}"]
        scores[made] = scores[made] or -1.0 - rank
    return scores


def read_back(values: Mapping[str, Any], record: Record) -> Record:
    """What these values say. ValueError if llama.cpp would give other ids than the tokenizer of `record`."""
    problem = "this tokenizer cannot be written into a GGUF file"
    try:
        read = gguf_values.read(values)[0]
    except FormatError as error:
        raise ValueError(f"{problem}: it would be one that {error}") from None
    here, there = comparable(record), comparable(read)
    for name in here:
        if here[name] != there[name]:
            raise ValueError(f"{problem}: llama.cpp would use other {name.replace('_', ' ')}")
    return read


def comparable(record: Any) -> dict[str, Any]:
    """What decides the ids, in a form in which a record that was read back can be compared with the first one."""
    pieces = [*(record.tokens if isinstance(record, BytePairRecord) else record.pieces)]
    while pieces and pieces[-1] is None:
        pieces.pop()
    special = {token.content: token.id for token in record.added_tokens if token.special}
    others = {token.id for token in record.added_tokens if not token.special}
    same = {"tokens": pieces, "special_tokens": special, "normalizer": record.normalizer, "prefix": record.prefix}
    same["template"] = record.template
    if isinstance(record, BytePairRecord):
        pattern = NEARLY.get(str(record.pattern), record.pattern)
        return same | {"merges": record.merges, "pattern": pattern, "added_tokens": others}
    merges = character_pair.merges_of_scores(record) if record.merges is None else record.merges
    found_whole = others.union(record.user_defined)
    return same | {"merges": merges, "added_tokens": found_whole, "byte_fallback": record.byte_fallback}
