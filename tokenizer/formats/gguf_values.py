"""What the table of a GGUF file says about its tokenizer, as a record. gguf_writing.py is the way back.

Among the values are lists of the tokens, of merges or scores, and of the kinds of tokens, which are SentencePiece's
kinds of pieces. How text is split is not in the file: it has a name, `tokenizer.ggml.pre`, and llama.cpp knows the
pattern. Sources: github.com/ggml-org/ggml, docs/gguf.md; llama.cpp, src/llama-vocab.cpp, for names and defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tokenizer.arrays.collector import paused_garbage_collector
from tokenizer.formats import byte_pair, sentencepiece, tokenizer_json, vocabularies
from tokenizer.formats.checks import is_text, parse_json, spelling_of_ids
from tokenizer.formats.records import BytePairRecord, FormatError, Record, SentencePieceRecord, WordPieceRecord
from tokenizer.formats.sentencepiece import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Piece, Settings
from tokenizer.text.metaspace import SPACE
from tokenizer.text.normalize import Normalizer, UnicodeForm
from tokenizer.text.special_tokens import AddedToken
from tokenizer.text.template import Template, ends_template

PREFIX, DOCUMENT = "tokenizer.ggml.", "tokenizer.huggingface.json"
CHAT, CHATS = "tokenizer.chat_template", "tokenizer.chat_templates"
NO_VOCABULARY = ("none", "no_vocab")  # as tokenizer.ggml.model
NO_ID = (-1, 2**32 - 1)  # how some files say that there is no such token
# The roles of a tokenizer_config.json -> the values that hold their ids
ROLES = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}


class Splitting(NamedTuple):
    """How text is split into words, and what else llama.cpp does for a tokenizer of this name."""

    pattern: str | tuple[str, ...]
    ignore_merges: bool = False  # a word that is a token stays whole
    adds_bos: bool = False  # if the file does not say whether there is a token at the beginning
    normalizer: Normalizer | None = None


GPT2, DIGITS = Splitting("gpt2"), Splitting((r"\p{N}", "gpt2"))  # DIGITS: each digit is a word
LLAMA3, QWEN2 = (
    Splitting("llama3", ignore_merges=True, adds_bos=True),
    Splitting("qwen2", normalizer=UnicodeForm("NFC")),
)
CASED, CHINESE = r"[\p{Lu}\p{Ll}\p{Lt}]", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]"
SYMBOLS = "[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]"
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# tokenizer.ggml.pre -> what it stands for. The first name for a pattern is the one that is written.
SPLITTINGS: dict[str, Splitting] = {
    **dict.fromkeys(["gpt-2", "phi-2", "olmo", "mpt", "jais", "exaone4"], GPT2),
    **dict.fromkeys(["smollm", "starcoder", "refact", "codeshell", "minerva-7b"], DIGITS),
    **dict.fromkeys(["llama-bpe", "llama3", "llama-v3", "falcon3", "lfm2"], LLAMA3),
    **dict.fromkeys(["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], Splitting("llama3")),
    **dict.fromkeys(["qwen2", "deepseek-r1-qwen", "megrez"], QWEN2),
    "stablelm2": Splitting("qwen2"),
    **dict.fromkeys(["gpt-4o", "llama4"], Splitting("o200k")),
    "tekken": Splitting(TEKKEN, ignore_merges=True, adds_bos=True),
    "falcon": Splitting((r"[\p{P}$+<=>^~|`]+", "gpt2", "[0-9][0-9][0-9]")),
    "deepseek-llm": Splitting((r"[\r\n]", rf"\s?{CASED}+", rf"\s?{SYMBOLS}+", r"\s+$", f"{CHINESE}+", r"\p{N}+")),
    "deepseek-coder": Splitting((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", f"{CHINESE}+", r"\p{N}")),
}


# Reading


@paused_garbage_collector()
def read(metadata: Mapping[str, Any]) -> tuple[Record, dict[str, Any]]:
    """The vocabulary, and what a tokenizer_config.json would say. `metadata` may have other values too."""
    values = {name.removeprefix(PREFIX): plain(value) for name, value in metadata.items() if name.startswith(PREFIX)}
    read_model = None if DOCUMENT in metadata else MODELS[read_kind(values)]
    tokens = read_tokens(values)
    record = read_model(values, tokens) if read_model else read_document(metadata[DOCUMENT], tokens)
    settings: dict[str, Any] = {}
    for role, key in ROLES.items():
        if (i := read_id(values, key, tokens)) is not None:
            settings[role] = tokens[i]
    return record, settings | read_chat(metadata)


def plain(value: Any) -> Any:
    """An array as a list."""
    return value.tolist() if hasattr(value, "tolist") else list(value) if isinstance(value, tuple) else value


def unsupported(key: str, value: Any, known: str) -> FormatError:
    return FormatError(f"asks for {PREFIX}{key} = {repr(value)[:80]}, which is not supported ({known})")


def read_kind(values: dict[str, Any]) -> str:
    kind = values.get("model")
    if not isinstance(kind, str) or kind not in MODELS:
        raise unsupported("model", kind, f"{', '.join(MODELS)} are")
    return kind


def read_tokens(values: dict[str, Any]) -> list[str]:
    tokens = values.get("tokens", [] if values.get("model") in NO_VOCABULARY else None)
    if not isinstance(tokens, list) or not all(map(is_text, tokens)):
        raise FormatError("is damaged: its tokens are not a list of texts")
    return tokens


def read_document(text: Any, tokens: list[str]) -> Record:
    """The tokenizer.json that the file contains: it says all, also what the other values cannot say."""
    if not is_text(text):
        raise FormatError(f"is damaged: its {DOCUMENT} is not text")
    try:
        record = tokenizer_json.parse(parse_json(text.encode()))
    except FormatError as error:
        raise FormatError(f"contains a {DOCUMENT} that {error}") from None
    spelling, _ = tokenizer_json.WRITERS[type(record)](record)
    is_longer = len(spelling) > len(tokens) > 0  # without tokens, there is nothing to compare
    if is_longer or any(name not in (None, token) for name, token in zip(spelling, tokens)):
        raise FormatError(f"is damaged: its {DOCUMENT} has other tokens than its {PREFIX}tokens")
    return record


def read_chat(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The chat template. If there are others with names: a list, as a tokenizer_config.json has it."""
    names, default = plain(metadata.get(CHATS, [])), metadata.get(CHAT)
    if not isinstance(names, list) or not all(map(is_text, names)):
        raise FormatError(f"is damaged: its {CHATS} is not a list of names")
    templates = {"default": default} | {name: metadata.get(f"{CHAT}.{name}") for name in names}
    found = {name: template for name, template in templates.items() if template is not None}
    for name, template in found.items():
        if not is_text(template):
            raise FormatError(f"is damaged: its chat template {name!r} is not text")
    if not found.keys() - {"default"}:
        return {"chat_template": default} if found else {}
    return {"chat_template": [{"name": name, "template": template} for name, template in found.items()]}


def read_id(values: dict[str, Any], key: str, tokens: list[str], default: int | None = None) -> int | None:
    """The id `key`; None if there is no such token."""
    i = values.get(key, default)
    if i is None or i in NO_ID:
        return None
    if type(i) is not int:
        raise FormatError(f"is damaged: its {PREFIX}{key} is not a whole number")
    if not 0 <= i < len(tokens):
        raise FormatError(f"asks for {PREFIX}{key} = {repr(i)[:80]}, but has {len(tokens)} tokens")
    return i


def read_template(values: dict[str, Any], tokens: list[str], *, adds_bos: bool, ids: tuple = (None, None)) -> Template:
    """The tokens at the beginning and the end of each text. `adds_bos` and `ids` apply if the file does not say it."""
    ends = []
    for key, adds, default in ("bos", adds_bos, ids[0]), ("eos", False, ids[1]):
        adds = read_switch(values, f"add_{key}_token", adds)
        i = read_id(values, f"{key}_token_id", tokens, default)
        if adds and i is None and f"add_{key}_token" in values:
            raise FormatError(f"asks for {PREFIX}add_{key}_token = true, but has no {PREFIX}{key}_token_id")
        ends.append(i if adds else None)
    return ends_template(*ends)


def read_switch(values: dict[str, Any], key: str, default: bool) -> bool:
    value = values.get(key, default)
    if not isinstance(value, bool):
        raise unsupported(key, value, "true and false are")
    return value


def numbers_per_token(values: dict[str, Any], key: str, tokens: list[str], default: Any) -> list:
    """The list `key`, which has a number for each token."""
    numbers = values.get(key, [default] * len(tokens))
    is_right = isinstance(numbers, list) and len(numbers) == len(tokens) and set(map(type, numbers)) <= {int, float}
    if not is_right:
        raise FormatError(f"is damaged: its {key} is not a list with one number for each of its {len(tokens)} tokens")
    return numbers


def read_byte_pairs(values: dict[str, Any], tokens: list[str]) -> BytePairRecord:
    pre = values.get("pre")
    if not isinstance(pre, str) or pre not in SPLITTINGS:
        raise unsupported("pre", pre, f"{', '.join(SPLITTINGS)} are")
    splitting = SPLITTINGS[pre]
    kinds = numbers_per_token(values, "token_type", tokens, NORMAL)
    added = [
        AddedToken(token, i, special=kind != USER_DEFINED)
        for i, (token, kind) in enumerate(zip(tokens, kinds))
        if kind in (UNKNOWN, CONTROL, USER_DEFINED)
    ]
    used = [(token, i) for i, (token, kind) in enumerate(zip(tokens, kinds)) if kind != UNUSED]
    id_of = dict(used)
    if len(id_of) < len(used):
        twice = next(token for token, i in used if id_of[token] != i)
        raise FormatError(f"is damaged: it has the token {repr(twice)[:80]} twice")
    return byte_pair.make_record(
        spelling_of_ids(id_of),
        id_of,
        values.get("merges"),
        added,
        pattern=splitting.pattern,
        normalizer=splitting.normalizer,
        template=read_template(values, tokens, adds_bos=splitting.adds_bos),
        ignore_merges=splitting.ignore_merges,
    )


def read_sentence_pieces(values: dict[str, Any], tokens: list[str]) -> SentencePieceRecord:
    """The record of a SentencePiece `.model` with the same pieces and settings."""
    scores = numbers_per_token(values, "scores", tokens, 0.0)
    kinds = numbers_per_token(values, "token_type", tokens, NORMAL)
    settings = Settings(
        model_type=sentencepiece.BYTE_PAIR,
        byte_fallback=1,
        prefix_space=read_switch(values, "add_space_prefix", True),
        remove_extra_spaces=read_switch(values, "remove_extra_whitespaces", False),
    )
    # llama.cpp looks for a user-defined piece in the text as it is given, SentencePiece where spaces are escaped.
    texts = [text.replace(" ", SPACE) if kind == USER_DEFINED else text for text, kind in zip(tokens, kinds)]
    size = max((i + 1 for i, kind in enumerate(kinds) if kind != UNUSED), default=0)  # the rest only fills up a matrix
    record = sentencepiece.make_record([*map(Piece, texts, scores, kinds)][:size], settings)
    ids = tuple(i if i < len(tokens) and kinds[i] == CONTROL else None for i in (1, 2))  # <s> and </s>
    return record._replace(template=read_template(values, tokens, adds_bos=True, ids=ids))


def read_word_pieces(values: dict[str, Any], tokens: list[str]) -> WordPieceRecord:
    """The record of BERT. Its settings are always the same."""
    return vocabularies.parse_word_pieces(tokens, {})


MODELS: dict[str, Callable[[dict[str, Any], list[str]], Record]] = {
    "gpt2": read_byte_pairs,
    "llama": read_sentence_pieces,
    "bert": read_word_pieces,
}
