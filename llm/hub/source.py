"""An opened model: what it is, and where its tensors and its tokenizer are. Nothing is read yet but the descriptions.

`load`, `inspect` and `convert` all begin here, whatever kind of file the model is in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from llm.hub.errors import HubError, shown
from llm.hub.families import FAMILIES, Family
from llm.hub.gguf_files import read_gguf
from llm.hub.gguf_models import gguf_tensors, read_metadata
from llm.hub.llama2c import read_llama2c
from llm.hub.llama2c_models import llama2c_config, llama2c_tensors
from llm.hub.safetensors_files import read_safetensors_folder
from llm.hub.stored import Stored
from llm.hub.tokenizer_files import folder_tokenizer, gguf_tokenizer, llama2c_tokenizer
from llm.hub.weights import Part, Same
from llm.model.config import GPTConfig
from llm.model.cost import parameters
from llm.runs.files import read_json
from llm.runs.load import read_run
from llm.runs.run import Run
from tokenizer import BaseTokenizer

# Fields of config.json that mean another model than the one that the rest describes, whatever the family.
NEVER = {"is_encoder_decoder": False, "quantization_config": None}
STATE_SPACE = (
    "mamba", "mamba2", "falcon_mamba", "jamba", "bamba", "rwkv", "zamba", "zamba2", "xlstm", "recurrent_gemma"
)  # fmt: skip

HEADS = ("lm_head.weight", "lm_head.bias", "embed_out.weight")  # the names that never have a prefix


@dataclass(frozen=True)
class Source:
    """A model in a file or folder."""

    where: Path
    family: str
    config: GPTConfig
    parts: Mapping[str, Part]  # our tensors -> how each is kept in the file
    tensors: Mapping[str, Stored]  # the tensors of the file
    load_tokenizer: Callable[[], BaseTokenizer | None]
    surplus: tuple[str, ...] = field(default=())  # patterns of tensors of the file that hold no weights


def open_folder(folder: Path) -> Source:
    """A folder of Hugging Face."""
    data = read_config(folder / "config.json")
    return family_source(folder, data, read_safetensors_folder(folder), lambda: folder_tokenizer(folder))


def family_source(
    where: Path, data: dict[str, Any], tensors: Mapping[str, Stored], tokenizer: Callable[[], BaseTokenizer | None]
) -> Source:
    """A model that is described by the fields of a config.json."""
    name = data.get("model_type")
    if name in STATE_SPACE:
        raise HubError(f"{where} is a state-space model ({name}); this program reads transformers only")
    if not isinstance(name, str) or name not in FAMILIES:
        raise HubError(f"{where} is of the family {shown(name)}; the families known are {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    fields = family.fields(data, f"{where}/config.json")
    fields.refuse_unless(**NEVER)
    try:
        config = family.read(fields)
    except HubError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError, ZeroDivisionError) as error:
        raise HubError(f"{fields.where} describes no possible model ({str(error)[:300]})") from None
    check_size(where, config, tensors)
    tensors = usual_names(tensors, family)
    return Source(where, name, config, family.tensors(config), tensors, tokenizer, family.surplus)


def check_size(where: Path, config: GPTConfig, tensors: Mapping[str, Stored]) -> None:
    """Raise HubError if the model would have far more numbers than the file: it takes memory before it is read."""
    experts = config.layers * (config.experts or 0) * config.dim * config.mlp_size
    described, held = max(parameters(config).total, experts), sum(prod(tensor.shape) for tensor in tensors.values())
    if described > 4 * held:  # anything below that gets an error that names the tensor
        raise HubError(
            f"{where} describes a model of {described:,} parameters, but its files hold {held:,} numbers; "
            f"the configuration is not the one of these files"
        )


def usual_names(tensors: Mapping[str, Stored], family: Family) -> dict[str, Stored]:
    """The tensors under the names that the family has now. Some files are of the model without its head, or older."""
    if not any(name.startswith(family.prefix) for name in tensors):
        tensors = {name if name in HEADS else family.prefix + name: tensor for name, tensor in tensors.items()}
    return {family.renamed.get(name, name): tensor for name, tensor in tensors.items()}


def open_gguf(path: Path) -> Source:
    """A GGUF file."""
    file = read_gguf(path)
    config = read_metadata(file.metadata, file.tensors, str(path))
    name = file.metadata["general.architecture"]
    # The factors of rope are part of the configuration here.
    tensors = {n: tensor for n, tensor in file.tensors.items() if not n.startswith("rope_")}
    return Source(path, name, config, gguf_tensors(config, name), tensors, lambda: gguf_tokenizer(file.metadata, path))


def open_llama2c(path: Path) -> Source:
    """A .bin file of llama2.c, whose tokenizer is a file beside it: tokNUMBER.bin or tokenizer.bin."""
    file = read_llama2c(path)
    config = llama2c_config(file)
    return Source(
        path, "llama2.c", config, llama2c_tensors(config), file.tensors, lambda: tokenizer_beside(path, config)
    )


def tokenizer_beside(path: Path, config: GPTConfig) -> BaseTokenizer | None:
    for name in (f"tok{config.vocab_size}.bin", "tokenizer.bin"):
        if path.with_name(name).is_file():
            return llama2c_tokenizer(path.with_name(name))
    return None


def open_run(folder: Path) -> Source:
    """A run of train.py."""
    config, tokenizer, checkpoint = read_run(Run(folder))
    tensors = {name: Stored.from_array(array) for name, array in checkpoint.weights.items()}
    return Source(folder, "run", config, {name: Same(name) for name in tensors}, tensors, lambda: tokenizer)


def read_config(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except ValueError as error:
        raise HubError(f"{path}: {error}") from None
