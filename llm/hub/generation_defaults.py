"""What a model says about writing text: which tokens end it, and how the next token is best chosen."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llm.hub.errors import HubError, shown
from llm.runs.files import read_json
from tokenizer import BaseTokenizer
from tokenizer.formats.atomic import write_file

FILE_NAME = "generation_config.json"
TOKENS = {"end_tokens": "eos_token_id", "begin_token": "bos_token_id", "pad_token": "pad_token_id"}  # ours -> theirs
LARGEST_ID = 1 << 31
# A GGUF file names one token that ends a text. A model for chats has others, which llama.cpp finds by their names.
GGUF_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
END_NAMES = {
    "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<EOT>",
}  # fmt: skip


@dataclass(frozen=True)
class GenerationDefaults:
    """The content of a generation_config.json. None: the file does not say it."""

    end_tokens: tuple[int, ...] = ()
    """Each of these ids ends the text. A model for chats often has two: the end of a turn and the end of a document."""
    begin_token: int | None = None
    pad_token: int | None = None
    do_sample: bool | None = None
    """False: always take the most likely token, whatever the values below are."""
    temperature: float | None = None
    top_k: int | None = None
    """0 means all tokens."""
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields of a generation_config.json."""
        ends = self.end_tokens[0] if len(self.end_tokens) == 1 else list(self.end_tokens) or None
        values = asdict(self) | {"end_tokens": ends}
        return {TOKENS.get(name, name): value for name, value in values.items() if value is not None}

    def write(self, folder: Path) -> None:
        """Write the generation_config.json of a folder."""
        write_file(Path(folder) / FILE_NAME, json.dumps(self.to_json(), indent=2) + "\n")

    @classmethod
    def read(cls, folder: str | Path) -> GenerationDefaults:
        """Those of a folder of Hugging Face. Ids that its generation_config.json does not name are in its config.json.

        Raises HubError for a value that is not possible.
        """
        path = Path(folder) / FILE_NAME
        values, config = read_values(path), read_values(Path(folder) / "config.json")
        given = {}
        for name in cls.__dataclass_fields__:
            theirs = TOKENS.get(name, name)
            value = values.get(theirs)
            if value is None and name in TOKENS:
                value = config.get(theirs)
            if value is not None:
                given[name] = checked(path if theirs in values else path.with_name("config.json"), theirs, value)
        return cls(**given)

    @classmethod
    def of_gguf(cls, metadata: Mapping[str, Any], tokenizer: BaseTokenizer | None) -> GenerationDefaults:
        """Those of a GGUF file, by the metadata and the tokenizer in it."""
        values = {name.rpartition(".")[2]: value for name, value in metadata.items() if name.startswith("tokenizer.")}
        size = 0 if tokenizer is None else tokenizer.vocab_size
        # Some files say with -1 or 2^32 - 1 that there is no such token.
        ids = {name: i for name, i in values.items() if name.endswith("token_id") and type(i) is int and 0 <= i < size}
        ends = {ids[name]: None for name in GGUF_ENDS if name in ids}  # a dict: in this order, and each id once
        specials = {} if tokenizer is None else tokenizer.special_tokens
        ends |= {i: None for name, i in specials.items() if name in END_NAMES}
        return cls(tuple(ends), ids.get("bos_token_id"), ids.get("padding_token_id"))

    @classmethod
    def of_tokenizer(cls, tokenizer: BaseTokenizer, roles: Mapping[str, int]) -> GenerationDefaults:
        """Those of a model that says no more than its tokenizer, which has tokens with these roles."""
        ends = {roles["eos_token"]: None} if "eos_token" in roles else {}
        if tokenizer.settings.get("chat_template"):  # two ends: that of an answer and that of a document
            ends |= {i: None for name, i in tokenizer.special_tokens.items() if name in END_NAMES}
        return cls(tuple(ends), roles.get("bos_token"), roles.get("pad_token"))


def read_values(path: Path) -> dict[str, Any]:
    """The values in a file of JSON; none if there is no file."""
    try:
        return read_json(path) if path.exists() else {}
    except ValueError as error:
        raise HubError(f"{path}: {error}") from None


def checked(path: Path, name: str, value: Any) -> Any:
    """The value of a field. HubError if it is not possible."""
    if name == "eos_token_id" and not isinstance(value, list):
        value = [value]
    is_possible, wanted = POSSIBLE[name]
    if not is_possible(value):
        raise HubError(f"{path}: {name}={shown(value)} is not possible; it must be {wanted}")
    return tuple(value) if isinstance(value, list) else value


def is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST_ID


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < LARGEST_ID  # false for NaN too


POSSIBLE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "eos_token_id": (lambda ids: all(map(is_id, ids)), "an id or a list of ids"),
    "bos_token_id": (is_id, "an id"),
    "pad_token_id": (is_id, "an id"),
    "do_sample": (lambda value: isinstance(value, bool), "true or false"),
    "temperature": (is_number, "a number of at least 0"),
    "top_k": (is_id, "a whole number of at least 0"),
    "top_p": (lambda value: is_number(value) and 0 < value <= 1, "a number above 0 and at most 1"),
    "min_p": (lambda value: is_number(value) and value <= 1, "a number of at least 0 and at most 1"),
    "typical_p": (lambda value: is_number(value) and 0 < value <= 1, "a number above 0 and at most 1"),
    "repetition_penalty": (lambda value: is_number(value) and value > 0, "a number above 0"),
}
