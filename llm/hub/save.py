"""Write a model of ours as a folder of Hugging Face, which transformers loads without code of ours.

The family is the first one that can say everything that the configuration says. What no family can say is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from llm.hub.classes import fields_of_classifier, parts_of_classifier
from llm.hub.errors import HubError
from llm.hub.families import FAMILIES, Family
from llm.hub.generation_defaults import GenerationDefaults
from llm.hub.stored_model import StoredGPT
from llm.hub.tokenizer_files import save_folder_tokenizer
from llm.hub.weights import Part
from llm.model.adapters.attach import AdaptedGPT
from llm.model.attention import attention_scale
from llm.model.classifier import Classifier
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.runs.files import new_folder
from minigrad.backend import to_device
from minigrad.nn import Module
from tokenizer import BaseTokenizer
from tokenizer.formats.atomic import write_file


def save(
    model: GPT | Classifier,
    tokenizer: BaseTokenizer | None,
    folder: str | Path,
    generation: GenerationDefaults | None = None,
) -> None:
    """Write config.json, model.safetensors and the files of the tokenizer to a new folder. A classifier stays one.

    `generation`: the content of generation_config.json. None: what the tokenizer says about the ends of texts.

    Raises HubError if no family of transformers has such models, or the folder exists and is not empty.
    """
    refuse_unusual(model if isinstance(model, GPT) else model.model)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HubError(f"{folder} exists already; give a new folder")
    config = model.config if isinstance(model, GPT) else with_a_head(model.config)
    family = nearest_family(config)
    parts = family.tensors(config)
    data = config_json(config, family, str(model.dtype))
    if isinstance(model, Classifier):
        parts, data = parts_of_classifier(parts), data | fields_of_classifier(model, family)
    with new_folder(folder) as partial:
        save_file(their_tensors(model, parts), partial / "model.safetensors", {"format": "pt"})
        if tokenizer is not None:
            save_folder_tokenizer(tokenizer, partial, config, family.model_type)
        if generation is not None:
            generation.write(partial)
        write_file(partial / "config.json", json.dumps(data, indent=2) + "\n")


def refuse_unusual(model: GPT) -> None:
    """Raise HubError for a model that is more, or less, than its parameters."""
    if isinstance(model, StoredGPT):
        raise HubError("this model was loaded with weights='stored'; to save it, load it with weights='widened'")
    if isinstance(model, AdaptedGPT):
        raise HubError("the model has an adapter; save that with save_adapter, or first merge it into the weights")


def config_json(config: GPTConfig, family: Family, dtype: str) -> dict[str, Any]:
    """The fields of config.json."""
    names = {"model_type": family.model_type, "architectures": [family.architecture], "dtype": dtype}
    # The ids of special tokens are in generation_config.json. Without this line they would be those of the family.
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    return names | ids | family.write(config)


def their_tensors(model: Module, parts: Mapping[str, Part]) -> dict[str, np.ndarray]:
    """All tensors as they are kept in the file."""
    found: dict[str, np.ndarray] = {}
    for name, parameter in model.named_parameters():
        for theirs, array in parts[name].split(to_device(parameter.data, "cpu")).items():
            found[theirs] = np.ascontiguousarray(array)
    return found


# --- which family -----------------------------------------------------------------------------------------------------


def nearest_family(config: GPTConfig) -> Family:
    """The first family that can say all that the configuration says."""
    return FAMILIES[
        first_that_fits(config, FAMILIES, lambda name: lost(config, FAMILIES[name]), "family of transformers")
    ]


def with_a_head(config: GPTConfig) -> GPTConfig:
    """The configuration of a classifier with the head that its family has, which the file does not hold."""
    heads = (config, replace(config, tied_head=False), replace(config, tied_head=False, head_bias=True))
    return next((one for one in heads if any(not lost(one, family) for family in FAMILIES.values())), config)


def first_that_fits(config: GPTConfig, names: Iterable[str], lost_in: Callable[[str], list[str]], kind: str) -> str:
    """The first of the names in which no field is lost. Otherwise HubError says what is lost in the nearest one."""
    tried: dict[str, list[str]] = {}
    for name in names:
        tried[name] = lost_in(name)
        if not tried[name]:
            return name
    nearest = min(tried, key=lambda name: len(tried[name]))
    fields = ["experts"] if "experts" in tried[nearest] else tried[nearest]  # other fields of a mixture follow from it
    values = ", ".join(f"{field}={meaning(config)[field]!r}" for field in fields)
    raise HubError(f"no {kind} has such a model; the nearest, {nearest}, cannot have {values}")


def lost(config: GPTConfig, family: Family) -> list[str]:
    """The fields that have another meaning after writing and reading the configuration as this family."""
    ours = meaning(config)
    try:
        # Where a family cannot say something, it writes what is nearest, and the comparison finds the difference.
        data = json.loads(json.dumps(family.write(config)))
        theirs = meaning(family.read(family.fields(data)))
    except (ValueError, ArithmeticError):  # such a model is impossible in this family
        return list(ours)
    return [name for name in ours if ours[name] != theirs.get(name)]


def meaning(config: GPTConfig) -> dict[str, Any]:
    """The fields with their defaults filled in, and only those that have an effect on the results of this model."""
    found = config.to_json() | {f"{part}_bias": config.has_bias(part) for part in ("qkv", "out", "mlp", "norm")}
    found |= {"kv_heads": config.key_heads, "head_dim": config.head_size, "mlp_dim": config.mlp_size}
    found |= {"rope_dim": config.rotated, "attention_scale": attention_scale(config, layer=0)}
    if config.dense_layers and config.dense_mlp_dim is None:
        found["dense_mlp_dim"] = config.mlp_size
    for name in ("rope_layers", "window_layers"):
        layers = getattr(config, name)
        found[name] = sorted(range(config.layers) if layers is None else layers)
    without = without_effect(config)
    return {name: value for name, value in found.items() if name not in without}


def without_effect(config: GPTConfig) -> set[str]:
    """The fields that change nothing in this model, because others have the values that they have."""
    names = {"bias", "dropout", "balance_by_layer"}  # `meaning` fills in the first; the others act only in training
    if config.positions != "rope":
        names |= {"rope_base", "rope_interleaved", "rope_dim", "rope_scaling", "rope_layers", "window_rope_base"}
    if config.window is None:
        names |= {"window_layers", "window_rope_base"}
    if config.norm == "rmsnorm":
        names |= {"norm_bias"}
    if not config.qk_norm:
        names |= {"qk_norm_all"}
    if not config.dense_layers:
        names |= {"dense_mlp_dim"}
    if config.experts is None:
        names |= {"experts_per_token", "normalize_experts", "balance_loss", "dense_layers", "dense_mlp_dim"}
    return names
