"""An opened model: what it is, and how its tensors and its tokenizer are read. Only descriptions have been read so far.

`load`, `inspect`, `convert` and `train.py --from` all begin with `open_model`, whatever kind of file the model is in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from llm.hub.classes import SCORE, Classes, parts_of_classifier, read_classes
from llm.hub.errors import HubError, possible_model, shown
from llm.hub.families import FAMILIES, Family
from llm.hub.generation_defaults import GenerationDefaults, read_values
from llm.hub.gguf_files import read_gguf
from llm.hub.gguf_models import gguf_config, gguf_tensors
from llm.hub.llama2c import llama2c_config, llama2c_tensors, read_llama2c
from llm.hub.safetensors_files import read_safetensors_folder, refuse_foreign
from llm.hub.stored import Stored, same_numbers
from llm.hub.tokenizer_files import errors_of, folder_tokenizer, gguf_tokenizer, llama2c_tokenizer, token_roles
from llm.hub.weights import Part, SameNames
from llm.model.config import GPTConfig
from llm.model.cost import parameters
from llm.runs.checkpoints import MODEL
from llm.runs.files import open_regular
from llm.runs.load import read_checkpoint, read_config, read_tokenizer
from llm.runs.run import CONFIG, Run
from tokenizer import BaseTokenizer

# The values that these fields of config.json must have, whatever the family: others mean another kind of model.
ALWAYS = {"is_encoder_decoder": False, "quantization_config": None}
STATE_SPACE = (
    "mamba", "mamba2", "falcon_mamba", "jamba", "bamba", "rwkv", "zamba", "zamba2", "xlstm", "recurrent_gemma"
)  # fmt: skip
# run.c of llama2.c begins each text with the token 1, <s>, and ends it where the model writes this token again.
LLAMA2C_DEFAULTS = GenerationDefaults(end_tokens=(1,), begin_token=1)
SIZES = ("vocab_size", "context", "layers", "heads", "kv_heads", "dim", "head_dim", "mlp_dim", "experts")
RUN = "run"  # the family of runs
HEADS = ("lm_head.weight", "lm_head.bias", "embed_out.weight", SCORE)  # the names that never have a prefix


@dataclass(frozen=True)
class Source:
    """A model in a file or folder."""

    where: Path
    family: str
    config: GPTConfig
    parts: Mapping[str, Part]  # our tensors -> how each is kept in the file
    read_tensors: Callable[[], Mapping[str, Stored]]
    load_tokenizer: Callable[[], BaseTokenizer | None]
    read_defaults: Callable[[BaseTokenizer | None], GenerationDefaults]  # takes the tokenizer, once it is loaded
    surplus: tuple[str, ...] = ()  # patterns of tensors of the file that hold no weights
    classes: Classes | None = None  # of a classifier; its parts have the names of llm/model/classifier.py

    @cached_property
    def tensors(self) -> Mapping[str, Stored]:
        """The tensors of the file by name. They stay in the file until they are used; only those of a run are read."""
        return self.read_tensors()


def open_model(path: str | Path) -> Source:
    """The model at `path`, whatever kind of file it is in."""
    path = Path(path)
    if path.suffix == ".gguf" and not path.is_dir():
        return open_gguf(path)
    if path.suffix in (".bin", ".pt", ".pth") and path.is_file():
        if path.suffix != ".bin" or is_pickle(path):
            refuse_foreign([path])
        return open_llama2c(path)
    if (path / CONFIG).is_file():
        data = read_values(path / CONFIG)
        return open_run(path) if is_of_run(data) else open_folder(path, data)
    if len(files := list(path.glob("*.gguf"))) == 1:  # a folder of nothing else
        return open_gguf(files[0])
    raise HubError(f"{path} {why_no_model(path)}")


def why_no_model(path: Path) -> str:
    """What is at `path` instead of a model, and what to give: the rest of a sentence."""
    wanted = "a run of train.py, a folder with a config.json, a .gguf file or a .bin file of llama2.c"
    if (path / "adapter_config.json").is_file():
        return "is an adapter and no model; give the model that it was made for, and this folder as its adapter"
    if path.is_dir():
        folders = (config.parent for config in path.glob("*/config.json"))
        weights = (file for file in path.glob("*.bin") if not file.name.startswith("tok"))  # those are tokenizers
        models = sorted(map(str, [*folders, *path.glob("*.gguf"), *weights]))
        if models:
            shown = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
            return f"is a folder with models in it, and not one itself; give {'one of ' * (len(models) > 1)}{shown}"
    elif path.exists():
        if (path.parent / CONFIG).is_file():
            return f"is one file of a model; give its folder, {path.parent}"
    elif len(path.parts) == 2 and not path.parent.exists() and not path.is_absolute():  # a name on Hugging Face
        return (
            f"does not exist, and nothing is downloaded; fetch it first, with the program hf: hf download {path} "
            f"--local-dir {path.name}"
        )
    return f"{'is no model' if path.exists() else 'does not exist'}; give {wanted}"


def is_pickle(path: Path) -> bool:
    """Whether the file is one of PyTorch: a zip archive, or a pickle by itself."""
    with open_regular(path) as file:
        begin = file.read(4)
    return begin == b"PK\x03\x04" or begin[:1] == b"\x80"


# --- a folder of Hugging Face -----------------------------------------------------------------------------------------


def open_folder(folder: Path, data: dict[str, Any]) -> Source:
    """A folder of Hugging Face. `data`: what is in its config.json."""
    family, config = read_family(folder, data)
    tensors = usual_names(read_safetensors_folder(folder), family)
    check_sizes(folder, config, tensors)
    if config.tied_head and has_own_head(family.tensors(config), tensors):
        config = replace(config, tied_head=False)
    classes = read_classes(data, tensors, f"{folder}/config.json")
    if classes is not None:  # it has another head
        config = replace(config, tied_head=True, head_bias=False)
    parts = family.tensors(config)
    return Source(
        folder,
        family.model_type,
        config,
        parts if classes is None else parts_of_classifier(parts),
        read_tensors=lambda: tensors,
        load_tokenizer=lambda: folder_tokenizer(folder),
        read_defaults=lambda _: GenerationDefaults.read(folder),
        surplus=family.surplus,
        classes=classes,
    )


def read_family(where: Path, data: dict[str, Any]) -> tuple[Family, GPTConfig]:
    """What the fields of a config.json describe."""
    name = data.get("model_type")
    if "model_type" not in data:
        raise HubError(f"{where}/config.json has no model_type, which names the family of the model; add it")
    if name in STATE_SPACE:
        raise HubError(f"{where} is a state-space model ({name}); this program reads transformers only")
    if not isinstance(name, str) or name not in FAMILIES:
        raise HubError(f"{where} is of the family {shown(name)}; the families known are {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    fields = family.fields(data, f"{where}/config.json")
    fields.refuse_unless(**ALWAYS)
    with possible_model(fields.where):
        return family, family.read(fields)


def usual_names(tensors: Mapping[str, Stored], family: Family) -> dict[str, Stored]:
    """The tensors under the names that the family has now. Some files are of the model without its head, or older."""
    if not any(name.startswith(family.prefix) for name in tensors):
        tensors = {name if name in HEADS else family.prefix + name: tensor for name, tensor in tensors.items()}
    return {family.renamed.get(name, name): tensor for name, tensor in tensors.items()}


def has_own_head(parts: Mapping[str, Part], tensors: Mapping[str, Stored]) -> bool:
    """Whether the file holds a head with other numbers than those of the embedding, whatever its config.json says.

    transformers uses these then. (Many files hold the embedding a second time under the name of the head.)
    """
    names = [name for ours in ("embedding.weight", "head.weight") for name in parts[ours].names]
    if any(name not in tensors for name in names) or len({tensors[name].shape for name in names}) > 1:
        return False
    embedding, head = (tensors[name] for name in names)
    return not same_numbers(embedding, head)


# --- other kinds of files ---------------------------------------------------------------------------------------------


def open_gguf(path: Path) -> Source:
    """A GGUF file."""
    file = read_gguf(path)
    config = gguf_config(file.metadata, file.tensors, str(path))
    name = file.metadata["general.architecture"]
    # The factors of rope are part of the configuration here.
    tensors = {n: tensor for n, tensor in file.tensors.items() if not n.startswith("rope_")}
    check_sizes(path, config, tensors)
    return Source(
        path,
        name,
        config,
        gguf_tensors(config, name),
        read_tensors=lambda: tensors,
        load_tokenizer=lambda: gguf_tokenizer(file.metadata, path),
        read_defaults=lambda tokenizer: GenerationDefaults.of_gguf(file.metadata, tokenizer),
    )


def open_llama2c(path: Path) -> Source:
    """A .bin file of llama2.c, whose tokenizer is a file beside it: tokNUMBER.bin or tokenizer.bin."""
    file = read_llama2c(path)
    config = llama2c_config(file)
    return Source(
        path,
        "llama2.c",
        config,
        llama2c_tensors(config),
        read_tensors=lambda: file.tensors,
        load_tokenizer=lambda: tokenizer_beside(path, config),
        read_defaults=lambda _: LLAMA2C_DEFAULTS,
    )


def tokenizer_beside(path: Path, config: GPTConfig) -> BaseTokenizer | None:
    for name in (f"tok{config.vocab_size}.bin", "tokenizer.bin"):
        if path.with_name(name).is_file():
            return llama2c_tokenizer(path.with_name(name))
    return None


def open_run(folder: Path) -> Source:
    """A run of train.py. Its tensors have our names already."""
    run = Run(folder)
    with errors_of(folder, named=True):
        config = merged_config(run, read_config(run))

    def read_weights() -> dict[str, Stored]:
        if run.has_adapter:  # llm/hub/tuned.py reads it
            raise HubError(
                f"{folder} holds only the adapter of another model; for the whole model: python -m llm.hub convert "
                f"{folder} FOLDER"
            )
        with errors_of(folder, named=True):
            weights = read_checkpoint(run, config).weights
        return {name: Stored.from_array(array) for name, array in weights.items()}

    def load_tokenizer() -> BaseTokenizer:
        with errors_of(folder, named=True):
            return read_tokenizer(run, config)

    def read_defaults(tokenizer: BaseTokenizer | None) -> GenerationDefaults:
        if tokenizer is None:
            return GenerationDefaults()
        return GenerationDefaults.of_tokenizer(tokenizer, token_roles(tokenizer))

    return Source(folder, RUN, config, SameNames(), read_weights, load_tokenizer, read_defaults)


def merged_config(run: Run, config: GPTConfig) -> GPTConfig:
    """That of the model with its adapter merged: if the embedding or the head has an update, they are tied no more."""
    path = run.folder / MODEL
    if not config.tied_head or not run.has_adapter or not path.is_file():
        return config
    try:
        with safe_open(path, "numpy") as file:
            untied = any(name.startswith(("embedding.update", "head.")) for name in file.keys())  # noqa: SIM118  no dict
    except SafetensorError:  # `read_checkpoint` says what is wrong with it
        return config
    return replace(config, tied_head=not untied)


def is_of_run(data: dict[str, Any]) -> bool:
    """Whether a config.json is that of a run. It holds options, and no family."""
    return "model_type" not in data and bool({"model", "training"} & data.keys())


def check_sizes(where: Path, config: GPTConfig, tensors: Mapping[str, Stored]) -> None:
    """Raise HubError if the configuration asks for a far larger model than that of the tensors.

    What is only a little larger lacks some tensors, and `load` names them. But a size that is wrong by far could take
    all memory before that.
    """
    numbers = sum(prod(tensor.shape) for tensor in tensors.values())
    routers = config.layers * (config.experts or 0) * config.dim
    if config.layers > max(64, len(tensors)) or max(parameters(config).total, routers) > 2 * numbers + (1 << 20):
        sizes = {name: getattr(config, name) for name in SIZES if getattr(config, name) is not None}
        text = ", ".join(f"{name} {value}" for name, value in sizes.items())
        raise HubError(f"{where} asks for {text}, but its {len(tensors)} tensors hold only {numbers:,} numbers")
