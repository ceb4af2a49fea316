"""The tokenizer that comes with a model: in a folder of Hugging Face, in a GGUF file, beside a .bin of llama2.c.

The formats of tokenizers are read and written in tokenizer/formats. Here is what belongs to a model: which files there
are, what other programs need to know about the special tokens, and errors that name the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm.hub.errors import HubError
from llm.hub.generation_defaults import GenerationDefaults
from llm.model.config import GPTConfig
from tokenizer import BaseTokenizer, load
from tokenizer.formats import gguf_values, gguf_writing, llama2c
from tokenizer.formats.atomic import write_file
from tokenizer.formats.beside import ROLES_NAME, TEMPLATE_NAME, write_settings
from tokenizer.text.chat_template import named_tokens

# The files of tokenizers in a folder of Hugging Face: the first one that exists is read. Each vocab.json belongs to a
# merges.txt. A folder without any of them is that of a model without a tokenizer.
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "encoder.json")
LARGEST_FILE = 1 << 28  # bytes: that of Gemma 3, one of the largest, has 2^25
# The class that `transformers` makes of a tokenizer.json without adding anything: its version 5 calls it
# TokenizersBackend, and still knows this name, the only one that version 4 knows.
PLAIN_CLASS = "PreTrainedTokenizerFast"


@contextmanager
def errors_of(where: Any, *, named: bool = False) -> Iterator[None]:
    """Errors of the block become HubError. `named`: their messages begin with the name of the file already."""
    try:
        yield
    except HubError:
        raise
    except OSError as error:
        if named and error.strerror is None:
            raise HubError(str(error)) from None
        raise HubError(f"{error.filename or where}: {error.strerror or error}") from None
    except ValueError as error:
        raise HubError(str(error) if named else f"{where} {error}") from None


# --- reading ----------------------------------------------------------------------------------------------------------


def folder_tokenizer(folder: str | Path) -> BaseTokenizer | None:
    """The tokenizer of a folder of Hugging Face, with its special tokens and chat template as transformers 5 has them.

    None if there are no files of a tokenizer. Raises HubError if one is damaged, or asks for what is not supported.
    """
    folder = Path(folder)
    # A link that leads nowhere is an error, not a missing file: someone has moved the files of a cache.
    path = next((path for name in VOCABULARIES if (path := folder / name).exists() or path.is_symlink()), None)
    if path is None:
        return None
    with errors_of(path, named=True):
        if path.stat().st_size > LARGEST_FILE:
            raise HubError(f"{path} has {path.stat().st_size:,} bytes, too many for a tokenizer")
        return load(path)


def gguf_tokenizer(metadata: Mapping[str, Any], where: Any = "the GGUF file") -> BaseTokenizer | None:
    """The tokenizer in a GGUF file, by its metadata: numbers, texts and lists by their names.

    None if there is none. Raises HubError if it is damaged or not supported; the message begins with `where`.
    """
    kind = metadata.get(f"{gguf_values.PREFIX}model")
    if gguf_values.DOCUMENT not in metadata and (kind is None or kind in gguf_values.NO_VOCABULARY):
        return None
    with errors_of(where):
        return BaseTokenizer.of(*gguf_values.read(metadata))


def llama2c_tokenizer(path: str | Path) -> BaseTokenizer:
    """The tokenizer in a file of llama2.c, such as tok512.bin. Raises HubError if it is damaged."""
    path = Path(path)
    with errors_of(path):
        return BaseTokenizer.of(llama2c.parse(path.read_bytes()))


# --- writing ----------------------------------------------------------------------------------------------------------


def token_roles(tokenizer: BaseTokenizer) -> dict[str, int]:
    """The ids of bos_token, eos_token, unk_token and pad_token, as far as the tokenizer has such tokens."""
    named = {role: tokenizer.token_to_id(name) for role, name in named_tokens(tokenizer.settings).items()}
    roles: dict[str, int | None] = dict(named)
    if not roles:  # a tokenizer of ours. A text begins after the end of the one before it, as in GPT-2
        begins = tokenizer.template.special_ids()[:1]
        end = tokenizer.end_of_text
        roles = {"bos_token": begins[0] if begins else end, "eos_token": end}
        roles |= {"unk_token": tokenizer.unknown, "pad_token": tokenizer.padding}
    return {role: i for role, i in roles.items() if i is not None}


def save_folder_tokenizer(
    tokenizer: BaseTokenizer, folder: str | Path, config: GPTConfig, model_type: str = ""
) -> None:
    """Write the files of a tokenizer for a folder of Hugging Face, so that transformers gives the same ids and chats.

    `model_type` is that of the folder's config.json. Raises HubError if a tokenizer.json cannot express the tokenizer.
    """
    folder, ids = Path(folder), token_roles(tokenizer)
    with errors_of("tokenizer.json:"):
        tokenizer.save(folder / "tokenizer.json")
    roles = {role: tokenizer.id_to_token(i) for role, i in ids.items()}
    settings = {"tokenizer_class": PLAIN_CLASS, "model_max_length": config.context} | roles
    # Otherwise version 4 removes spaces before punctuation from decoded text.
    settings["clean_up_tokenization_spaces"] = False
    settings |= class_of_qwen2(tokenizer) if model_type == "qwen2" else {}
    if (template := tokenizer.settings.get("chat_template")) is not None:
        settings["chat_template"] = template
    write_settings(folder, settings)
    write_file(folder / ROLES_NAME, json.dumps(roles, indent=2))
    if isinstance(template, str):
        write_file(folder / TEMPLATE_NAME, template)
    GenerationDefaults.of_tokenizer(tokenizer, ids).write(folder)


def class_of_qwen2(tokenizer: BaseTokenizer) -> dict[str, Any]:
    """Settings for the one family for which transformers 5 does not use the class that the settings name.

    Beside a model of the type qwen2, it splits all text as Qwen 2 does, whatever the tokenizer.json says. An entry for
    code of one's own prevents that. It names none, and transformers ignores it, unless it is told to trust such code.
    """
    record: Any = tokenizer.record
    if getattr(record, "pattern", None) == "qwen2" and record.normalizer == gguf_values.QWEN2.normalizer:
        return {"tokenizer_class": "Qwen2Tokenizer"}
    return {"auto_map": {"AutoTokenizer": [None, ""]}}


def gguf_tokenizer_metadata(tokenizer: BaseTokenizer, vocab_size: int | None = None) -> dict[str, Any]:
    """The values of a GGUF file that describe the tokenizer, by their names: texts, numbers, switches and lists.

    `vocab_size` is the number of ids of the model, which may be larger. Raises HubError if llama.cpp would give other
    ids than this tokenizer.
    """
    with errors_of("the GGUF file:"):
        return gguf_writing.write(
            tokenizer.record, token_roles(tokenizer), tokenizer.settings.get("chat_template"), vocab_size or 0
        )
