"""The files beside a vocabulary: settings, names of special tokens, added tokens and chat templates.

    tokenizer_config.json                   the class, which tokens have which role, the chat template, added tokens
    special_tokens_map.json                 the roles } two older files, which count only if the settings have no
    added_tokens.json                       tokens    } added_tokens_decoder
    config.json                             of the model: the class, if the settings do not name it
    chat_template.jinja                     the chat template; it counts more than the one in the settings
    additional_chat_templates/NAME.jinja    others

All of it is read as by Hugging Face's `transformers` 5. What the settings say about added tokens counts more than a
tokenizer.json, and a token with a role is special, even if the tokenizer.json says that it is ordinary text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import regex

from tokenizer.formats.atomic import is_file, write_file
from tokenizer.formats.checks import is_id, is_table, is_text, parse_json, unsupported
from tokenizer.formats.components import TOKEN_FLAGS
from tokenizer.formats.records import FormatError
from tokenizer.text.chat_template import ROLES
from tokenizer.text.template import Template, ends_template

SETTINGS_NAME, ROLES_NAME, ADDED_NAME = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
TEMPLATE_NAME, TEMPLATES_FOLDER = "chat_template.jinja", "additional_chat_templates"
# model_type of a config.json -> the class of its tokenizer; that of all others is GPT-2's
CLASSES = dict.fromkeys(["qwen2", "qwen2_moe", "qwen3", "qwen3_moe"], "Qwen2Tokenizer") | {
    "gpt_neox": "GPTNeoXTokenizer"
}
ROLE_ENDING = "_token"  # of bos_token, eos_token, and others that a model may have, such as image_token
MORE_SPECIALS = ("additional_special_tokens", "extra_special_tokens")
OTHERS = (ROLES_NAME, ADDED_NAME, TEMPLATE_NAME)
ENDS = {"add_bos_token": "bos_token", "add_eos_token": "eos_token"}  # switch -> the role of the token that it adds
DECIMAL = regex.compile("[0-9]{1,9}")  # an id as text


# Which values are possible


def is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def is_chat_template(value: Any) -> bool:
    """Whether it is a template, or a list of templates with names."""
    if isinstance(value, list):
        return all(isinstance(one, dict) and is_text(one.get("name")) and is_text(one.get("template")) for one in value)
    return is_text(value)


def is_token(value: Any) -> bool:
    """Whether it is the name of a token, or a table with the name and flags."""
    if not isinstance(value, dict):
        return is_text(value)
    return is_text(value.get("content")) and all(is_switch(value.get(flag, False)) for flag in TOKEN_FLAGS)


def are_tokens(value: Any) -> bool:
    tokens = list(value.values()) if isinstance(value, dict) else value
    return isinstance(tokens, list) and all(map(is_token, tokens))


def is_table_of_tokens(value: Any) -> bool:
    """Whether it maps ids, which JSON spells as text, to tables with the names and flags of tokens."""
    return is_table(value) and all(
        DECIMAL.fullmatch(i) and isinstance(token, dict) and is_token(token) for i, token in value.items()
    )


# The settings of a tokenizer_config.json that are used here, and which values they may have.
# fmt: off
SETTINGS: dict[str, Callable[[Any], bool]] = {
    "tokenizer_class": is_text, "chat_template": is_chat_template, "added_tokens_decoder": is_table_of_tokens,
    **dict.fromkeys(MORE_SPECIALS, are_tokens),
    **dict.fromkeys(["do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space"], is_switch),
    **dict.fromkeys(["add_bos_token", "add_eos_token"], is_switch),
    **dict.fromkeys(ROLES, is_token),
}
# fmt: on


def check_settings(settings: Any) -> dict[str, Any]:
    """The settings without those that are null. FormatError if one that is used here has a value of a wrong kind."""
    if not isinstance(settings, dict):
        raise FormatError("is not a table of settings")
    for name, is_right in SETTINGS.items():
        if settings.get(name) is not None and not is_right(settings[name]):
            raise unsupported(name, settings[name])
    # For the settings that are used, null means the same as a missing setting. All others are kept as they are.
    return {name: value for name, value in settings.items() if value is not None or name not in SETTINGS}


# Reading


def read_settings(folder: Path) -> dict[str, Any]:
    """What all files beside a vocabulary say, as one tokenizer_config.json would say it."""
    settings = read_table(folder / SETTINGS_NAME, check_settings)
    if "added_tokens_decoder" not in settings:
        settings |= read_table(folder / ROLES_NAME, check_settings)
    if templates := read_templates(folder):
        settings["chat_template"] = templates[0]["template"] if len(templates) == 1 else templates
    return settings


def read_table(path: Path, check: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """The content of a file of JSON; an empty table if there is no such file."""
    try:
        return check(parse_json(path.read_bytes())) if is_file(path) else {}
    except FormatError as error:
        raise FormatError(f"{path} {error}") from None


def with_class(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The settings, with the class of the tokenizer that follows from the model if they do not name it."""
    if "tokenizer_class" in settings:
        return settings
    config = read_table(folder / "config.json", lambda data: data if isinstance(data, dict) else {})
    model_type = config.get("model_type")
    named = config.get("tokenizer_class") or (CLASSES.get(model_type) if isinstance(model_type, str) else None)
    return settings | check_settings({"tokenizer_class": named})


def check_added(table: Any) -> dict[str, int]:
    if not isinstance(table, dict) or not all(is_text(name) and is_id(i) for name, i in table.items()):
        raise FormatError("is not a table of names of tokens and their ids")
    return table


def read_templates(folder: Path) -> list[dict[str, str]]:
    """The chat templates that are files of their own: the default one first."""
    named = {path.stem: path for path in sorted(folder.glob(f"{TEMPLATES_FOLDER}/*.jinja"))}
    if is_file(folder / TEMPLATE_NAME):
        named = {"default": folder / TEMPLATE_NAME} | {name: path for name, path in named.items() if name != "default"}
    return [{"name": name, "template": read_text(path)} for name, path in named.items()]


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is damaged: it is not text in UTF-8 ({error})") from None


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write a tokenizer_config.json. What an earlier tokenizer has left in the folder is no longer read."""
    config = folder / SETTINGS_NAME
    if settings or config.exists():
        text = json.dumps(settings, ensure_ascii=False, indent=1)
        # UTF-8 cannot encode a surrogate. It is written \ud800, as JSON spells it.
        write_file(config, text.encode(errors="backslashreplace"))
    # The chat templates are among the settings, the added tokens in the tokenizer.json.
    for path in (*(folder / name for name in OTHERS), *folder.glob(f"{TEMPLATES_FOLDER}/*.jinja")):
        path.unlink(missing_ok=True)


# Tokens at the beginning and the end of a text


def read_ends(settings: dict[str, Any], id_of: dict[str, int], names: dict[str, str], template: Template) -> Template:
    """The template that add_bos_token and add_eos_token ask for; `template` if the settings have neither of them.

    `names` are those of the two tokens if the settings do not name them. This is for vocabularies only: beside a
    tokenizer.json, whose post_processor says it, `transformers` 5 does not look at these two settings.
    """
    if settings.keys().isdisjoint(ENDS):
        return template
    adds = {"add_bos_token": template != Template(), "add_eos_token": False} | settings
    ends: list[int | None] = []
    for key, role in ENDS.items():
        name = token_name(settings.get(role)) or names[role]
        if adds[key] and name not in id_of:
            raise FormatError(f"has no token {name!r}, which {SETTINGS_NAME} asks for ({key})")
        ends.append(id_of[name] if adds[key] else None)
    return ends_template(*ends)


# Added tokens


def roles(settings: dict[str, Any]) -> dict[str, str]:
    """The names of the tokens that have a role, by the role."""
    more = [settings[key] for key in MORE_SPECIALS if is_table(settings.get(key))]
    values = [(key, value) for key, value in settings.items() if key.endswith(ROLE_ENDING)]
    named = {key: token_name(value) for key, value in [*values, *(item for table in more for item in table.items())]}
    return {key: name for key, name in named.items() if name is not None}


def more_specials(settings: dict[str, Any]) -> list[str]:
    """The names of tokens that are listed as special, but have no role."""
    tokens = [token for key in MORE_SPECIALS if isinstance(settings.get(key), list) for token in settings[key]]
    return [name for name in map(token_name, tokens) if name is not None]


def token_name(value: Any) -> str | None:
    """The name of a token that is given as a name, or as a table with name and flags. None if it is something else."""
    name = value.get("content") if isinstance(value, dict) else value
    return name if is_text(name) and name else None


def listed_tokens(settings: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """The added tokens of the settings, or else those of an added_tokens.json, by their names, with id and flags."""
    if "added_tokens_decoder" in settings:
        return {token["content"]: {**token, "id": int(i)} for i, token in settings["added_tokens_decoder"].items()}
    specials = {*roles(settings).values(), *more_specials(settings)}
    return {
        name: {"content": name, "id": i, "special": name in specials, "normalized": name not in specials}
        for name, i in read_table(folder / ADDED_NAME, check_added).items()
    }


def with_added_tokens(document: Any, settings: dict[str, Any], folder: Path) -> Any:
    """A tokenizer.json with what the files beside it say about added tokens. A damaged one is returned as it is."""
    if not is_complete(document) or not (settings or (folder / ADDED_NAME).is_file()):
        return document
    added = document.get("added_tokens", [])
    tokens = {token["content"]: token for token in added}
    if len(tokens) < len(added):  # a token twice: the document is read alone, which refuses it
        return document
    return {**document, "added_tokens": added_tokens(document["model"]["vocab"], tokens, settings, folder)}


def added_tokens(
    vocab: dict[str, int], tokens: dict[str, dict[str, Any]], settings: dict[str, Any], folder: Path
) -> list[dict[str, Any]]:
    """The added tokens of a vocabulary that has the added tokens `tokens` already.

    If two files disagree about an id, that of the vocabulary is right. A token for which that leaves no id is left out:
    `transformers` gives it a new id after all others, but the model has no embedding for that id.
    """
    listed, specials = listed_tokens(settings, folder), {*roles(settings).values()}
    more = {name: {"content": name, "special": True} for name in [*specials, *more_specials(settings)]}
    # A tokenizer.json counts less than an added_tokens_decoder, and more than an added_tokens.json.
    has_decoder = "added_tokens_decoder" in settings
    found = more | (tokens | listed if has_decoder else listed | tokens)
    id_of = {name: vocab[name] for name in found if name in vocab} | {name: t["id"] for name, t in tokens.items()}
    if new := {name: token["id"] for name, token in listed.items() if name not in id_of}:
        taken = {*vocab.values(), *id_of.values()}
        id_of |= {name: i for name, i in new.items() if i not in taken}
    # A token with a role is special, unless only the tokenizer.json knows it and the decoder should have listed it.
    specials = {name for name in specials if not has_decoder or name in listed or name not in tokens}
    found |= {name: {**found[name], "special": True} for name in specials}
    return [{**token, "id": id_of[name]} for name, token in found.items() if name in id_of]


def is_complete(document: Any) -> bool:
    """Whether it has what `with_added_tokens` needs. All else is checked when the document is read."""
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        return False
    added = document.get("added_tokens", [])
    has_names = isinstance(added, list) and all(
        is_token(token) and is_table(token) and "id" in token for token in added
    )
    vocab = document["model"].get("vocab")
    if not has_names or not is_table(vocab) or len({token["content"] for token in added}) < len(added):
        return False
    # An id may be a list in a damaged file, and then it cannot be in a set.
    return set(map(type, [*vocab.values(), *(token["id"] for token in added)])) <= {int}
