"""Read a model of somebody else, or of ours: config.json, weights and tokenizer become a GPT and a tokenizer.

Nothing is ever half-loaded: each tensor of the model is in the file, with the right shape, and each tensor of the file
is used.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from llm.hub.errors import HubError
from llm.hub.safetensors_files import refuse_foreign
from llm.hub.source import Source, open_folder, open_gguf, open_llama2c, open_run, read_config
from llm.hub.stored_model import StoredGPT
from llm.hub.tokenizer_files import errors_of
from llm.model.gpt import GPT
from llm.runs.files import open_regular
from llm.runs.load import load_model
from llm.runs.run import Run
from minigrad.backend import pick_device
from minigrad.nn import Parameter
from tokenizer import BaseTokenizer
from tokenizer import load as tokenizer_at

# Files may hold masks in these, but numbers of weights in integers mean nothing without the scales of a quantization.
INTEGERS = ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
Weights = Literal["widened", "stored"]


def load(
    path: str | Path, dtype: Any = np.float32, weights: Weights = "widened", *, tokenizer: str | Path | None = None
) -> tuple[GPT, BaseTokenizer | None]:
    """The model and the tokenizer at `path`; the tokenizer is None if there are no files of one.

    `path`: a folder of Hugging Face, a run of train.py, a GGUF file, or a .bin file of llama2.c.
    `dtype`: of the weights in memory. `weights`: "widened" converts them all to it at once. "stored" keeps bf16, f16
    and q8 as they are in the file, and converts a block of rows at each use: less memory, slower.
    `tokenizer`: a file or folder of a tokenizer, to be used instead of the model's own.
    The model is in evaluation mode. Raises HubError, a ValueError, or OSError if it cannot be read.
    """
    if weights not in get_args(Weights):
        raise ValueError(f"weights={weights!r} is not possible; use {' or '.join(get_args(Weights))}")
    source = open_model(path)
    return load_weights(source, dtype, weights), load_tokenizer(source, tokenizer)


def load_any(
    path: Run | str | Path,
    which: Literal["last", "best"] = "last",
    device: str = "cpu",
    *,
    weights: Weights = "widened",
    tokenizer: str | Path | None = None,
) -> tuple[GPT, BaseTokenizer]:
    """The model at `path`, ready to write on `device`, and its tokenizer. `llm.load` is this function.

    `path`: the folder of a run, such as "runs/default-1", or what `load` takes. `which`: the "last" checkpoint of a
    run, or the "best" one by validation loss. `weights` and `tokenizer`: as in `load`. Raises ValueError (RunError,
    HubError) or OSError for what cannot be used, and for a model without a tokenizer.
    """
    if isinstance(path, Run) or is_run(Path(path)):
        return load_model(path, which, device)
    model, found = load(path, weights=weights, tokenizer=tokenizer)
    if found is None:
        raise HubError(f"{path} has no tokenizer; give the path of one with tokenizer=, or use llm.hub.load")
    if device != "cpu":
        model.to(pick_device(device))
    return model, found


def load_weights(source: Source, dtype: Any = np.float32, weights: Weights = "widened") -> GPT:
    """The model, in evaluation mode. The arguments are those of `load`."""
    # No initial weights: they are read in the next lines.
    model = (StoredGPT if weights == "stored" else GPT)(source.config, rng=None, dtype=dtype)
    check_names(source, names_of(model))
    if isinstance(model, StoredGPT):
        model.keep_matrices(source)
    for name, parameter in model.named_parameters():
        read_tensor(source, name, parameter)
    model.eval()
    return model


def load_tokenizer(source: Source, path: str | Path | None = None) -> BaseTokenizer | None:
    """The tokenizer of the model, or instead the one at `path`, a file or folder."""
    if path is None:
        return source.load_tokenizer()
    with errors_of(path, named=True):
        tokenizer = tokenizer_at(path)
    # (The model's own may have a few ids more: tokens that were added and never used.)
    if tokenizer.vocab_size > source.config.vocab_size:
        raise HubError(
            f"the tokenizer {path} has {tokenizer.vocab_size} ids and the model {source.config.vocab_size}; "
            "give the tokenizer that the model was trained with"
        )
    return tokenizer


def open_model(path: str | Path) -> Source:
    """The model at `path`, whatever kind of file it is in."""
    path = Path(path)
    if path.suffix == ".gguf" and not path.is_dir():
        return open_gguf(path)
    if path.suffix in (".bin", ".pt", ".pth") and path.is_file():
        if path.suffix != ".bin" or is_pickle(path):
            refuse_foreign([path])
        return open_llama2c(path)
    if (path / "config.json").is_file():
        return open_run(path) if is_run(path) else open_folder(path)
    if len(files := list(path.glob("*.gguf"))) == 1:  # a folder of nothing else
        return open_gguf(files[0])
    raise HubError(f"{path} {why_no_model(path)}")


def why_no_model(path: Path) -> str:
    """What is at `path` instead of a model, and what to give: the rest of a sentence."""
    wanted = "a run of train.py, a folder with a config.json, a .gguf file or a .bin file of llama2.c"
    if path.is_dir():
        folders = (config.parent for config in path.glob("*/config.json"))
        weights = (file for file in path.glob("*.bin") if not file.name.startswith("tok"))  # those are tokenizers
        models = sorted(map(str, [*folders, *path.glob("*.gguf"), *weights]))
        if models:
            shown = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
            return f"is a folder with models in it, and not one itself; give {'one of ' * (len(models) > 1)}{shown}"
    elif path.exists():
        if (path.parent / "config.json").is_file():
            return f"is one file of a model; give its folder, {path.parent}"
    elif len(path.parts) == 2 and not path.parent.exists() and not path.is_absolute():  # a name on Hugging Face
        return (
            f"does not exist, and nothing is downloaded; fetch it first, with the program hf: hf download {path} "
            f"--local-dir {path.name}"
        )
    return f"{'is no model' if path.exists() else 'does not exist'}; give {wanted}"


def is_run(path: Path) -> bool:
    """Whether the folder is a run of train.py. In its config.json are options, and no family."""
    if not (path / "config.json").is_file():
        return False
    data = read_config(path / "config.json")
    return "model_type" not in data and bool({"model", "training"} & data.keys())


def is_pickle(path: Path) -> bool:
    """Whether the file is one of PyTorch: a zip archive, or a pickle by itself."""
    with open_regular(path) as file:
        begin = file.read(4)
    return begin == b"PK\x03\x04" or begin[:1] == b"\x80"


def read_tensor(source: Source, name: str, parameter: Parameter) -> None:
    """Copy one tensor of the model from the file."""
    try:
        source.parts[name].fill(parameter.data, source.tensors.__getitem__)
    except HubError as error:
        raise HubError(f"{source.where}: {error}") from None


def our_names(source: Source) -> list[str]:
    """The names of our tensors. Raises HubError if the file lacks some of them, or has others."""
    names = names_of(GPT(source.config, rng=None))  # its zeros are never written, and so take no memory
    check_names(source, names)
    return names


def names_of(model: GPT) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def check_names(source: Source, ours: Iterable[str]) -> None:
    """Raise HubError if the file lacks tensors of the model, whose names are `ours`, or has others than those."""
    needed = {theirs for name in ours for theirs in source.parts[name].names}
    if missing := sorted(needed - source.tensors.keys()):
        raise HubError(f"{source.where} lacks {shorten(missing)}, which its configuration asks for")
    for name in sorted(needed):
        if source.tensors[name].kind in INTEGERS:
            kind = source.tensors[name].kind
            raise HubError(f"{source.where} holds {name} as {kind}, without scales; weights are BF16, F16 or F32")
    # With a tied head, some files hold the embedding a second time under the name of the head.
    known = needed | {name for part in tied_head(source) for name in part.names}
    surplus = [n for n in sorted(source.tensors.keys() - known) if not any(fnmatch(n, p) for p in source.surplus)]
    if surplus:
        raise HubError(f"{source.where} holds {shorten(surplus)}, for which its configuration has no place")


def tied_head(source: Source) -> list[Any]:
    return [source.parts["head.weight"]] if source.config.tied_head and "head.weight" in source.parts else []


def shorten(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"the tensor{'s' if len(names) > 1 else ''} {', '.join(names[:3])}{more}"
