"""Folders of PEFT: adapter_config.json and adapter_model.safetensors.

Nothing is half-loaded: each tensor that the settings ask for is in the file, and each tensor of the file is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from llm.hub.adapters.attach import attach_lora, attach_prefix, attach_prompt
from llm.hub.adapters.experts import FIELD, split_experts
from llm.hub.adapters.matrices import Matrix, layer_of, matrices_of
from llm.hub.adapters.settings import HEADS, LoRASettings, PrefixSettings, read_settings, written
from llm.hub.adapters.targets import chosen
from llm.hub.classes import SCORE
from llm.hub.errors import HubError, shown
from llm.hub.generation_defaults import read_values
from llm.hub.safetensors_files import read_safetensors, refuse_foreign
from llm.hub.stored import Stored
from llm.model.adapters.attach import AdaptedGPT
from llm.model.adapters.lora import LoRA, LoRAEmbed, Update
from llm.model.classifier import Classifier
from llm.model.gpt import GPT
from llm.runs.files import new_folder
from llm.runs.state import STATE
from minigrad.backend import to_device
from tokenizer.formats.atomic import write_file

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX, VECTORS = "base_model.model.", "prompt_embeddings"
KINDS = ("weight", "bias")
HEAD = PREFIX + SCORE  # of a classifier: it is in the folder, because it was trained together with the adapter


def load_adapter(model: GPT | Classifier, folder: str | Path) -> GPT | Classifier:
    """Attach the adapter in a folder of PEFT to the model, which is returned.

    With an adapter of a classifier, it is a Classifier around the model, with the head that is in the folder. Raises
    HubError or ValueError if the adapter is not one of this model.
    """
    folder = Path(folder)
    data, where = _read_config(folder), str(folder / CONFIG)
    tensors: dict[str, Stored] = dict(read_safetensors(folder / TENSORS))
    try:
        if HEAD in tensors:
            model = with_head(model, tensors.pop(HEAD).widen(np.float64))
        _load_updates(model.model if isinstance(model, Classifier) else model, data, tensors, where)
    except ValueError as error:
        said = str(error)
        raise HubError(said if str(folder) in said else f"{folder}: {said}") from None
    return model


def with_head(model: GPT | Classifier, weight: np.ndarray) -> Classifier:
    """A classifier around the model, with this head (classes, C)."""
    width = model.config.dim
    if weight.ndim != 2 or not len(weight) or weight.shape[1] != width:
        raise HubError(f"{HEAD} has the shape {weight.shape}, and must have {width} numbers for each class")
    if not isinstance(model, Classifier):
        model = Classifier(model, len(weight), rng=None)
    elif len(weight) != len(model.labels):
        raise HubError(
            f"the adapter is one of a classifier of {len(weight)} classes, the model has {len(model.labels)}"
        )
    model.score.weight.data[...] = to_device(weight.astype(model.dtype), model.device)
    return model


def _load_updates(model: GPT, data: dict[str, Any], tensors: Mapping[str, Stored], where: str) -> None:
    if data.get(FIELD):
        data, tensors = split_experts(model, data, tensors, where)
    settings = read_settings(data, where)
    if isinstance(settings, LoRASettings):
        _load_lora(model, settings, tensors)
    else:
        _load_vectors(model, settings.tokens, tensors, is_prefix=isinstance(settings, PrefixSettings))


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        if not folder.is_dir():
            raise HubError(f"{folder} is no folder; give that of an adapter, as PEFT saves it")
        if (folder / STATE).is_file():
            raise HubError(
                f"{folder} is a run, which is opened without another model: generate.py --run {folder}; a folder for "
                "PEFT is written by llm.hub.save_adapter"
            )
        inside = ", ".join(sorted(str(path.parent) for path in folder.glob(f"*/{CONFIG}"))[:3])
        hint = f"give one of {inside}" if inside else "give the folder of an adapter, as PEFT saves it"
        raise HubError(f"{folder} has no {CONFIG}; {hint}")
    if not (folder / TENSORS).is_file():
        refuse_foreign(sorted(folder.glob("adapter_model.*")))
        raise HubError(f"{folder} has no {TENSORS}; download it again")
    return read_values(folder / CONFIG)


# --- LoRA -------------------------------------------------------------------------------------------------------------


def keys_of(matrix: Matrix, *, dora: bool) -> list[str]:
    """The names of A and B, and with DoRA of the magnitudes, in a file."""
    kinds = ("lora_embedding_A", "lora_embedding_B") if matrix.is_embedding else ("lora_A.weight", "lora_B.weight")
    return [f"{PREFIX}{matrix.name}.{kind}" for kind in (*kinds, *(["lora_magnitude_vector"] if dora else []))]


def _load_lora(model: GPT, settings: LoRASettings, tensors: Mapping[str, Stored]) -> None:
    matrices = matrices_of(model)
    used = {key for m in chosen(matrices, settings) for key in keys_of(m, dora=settings.dora)}
    bases = {f"{PREFIX}{m.name}.base_layer.{kind}" for m in matrices if m.is_embedding or m.is_head for kind in KINDS}
    if surplus := sorted(tensors.keys() - used - bases):
        raise HubError(f"{TENSORS} holds {shown(surplus[0])}, which the target_modules do not ask for")

    def values(matrix: Matrix, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        rows, names = matrix.rows.stop - matrix.rows.start, keys_of(matrix, dora=settings.dora)
        if matrix.is_embedding:
            a, b = (_tensor(tensors, *place) for place in zip(names, ((rank, rows), (matrix.width, rank))))
            return a.T, b, None
        a, b, *m = (_tensor(tensors, *place) for place in zip(names, ((rank, matrix.width), (rows, rank), (rows,))))
        return a, matrix.part.in_our_order(b), matrix.part.in_our_order(m[0]) if m else None

    for matrix in matrices:
        _check_base(model, matrix, tensors)
    attach_lora(model, settings, values)


def _check_base(model: GPT, matrix: Matrix, tensors: Mapping[str, Stored]) -> None:
    """PEFT also writes the weights of an embedding and a head that have an update. Refuse others than the model has."""
    layer = "embedding" if matrix.is_head and model.config.tied_head else matrix.layer
    for kind in KINDS if matrix.is_head or matrix.is_embedding else ():
        name, ours = f"{PREFIX}{matrix.name}.base_layer.{kind}", getattr(layer_of(model, layer), kind, None)
        if name in tensors and (ours is None or not np.array_equal(_tensor(tensors, name, ours.shape), ours.data)):
            raise HubError(f"{TENSORS} holds {name}, which is not that of the model; give the model it was made for")


def _tensor(tensors: Mapping[str, Stored], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of the file. Raises HubError if it is not there, or has another shape."""
    if name not in tensors:
        raise HubError(f"{TENSORS} lacks {name}, for which the target_modules ask")
    if tensors[name].shape != shape:
        raise HubError(f"{name} has the shape {tensors[name].shape}, and the model and {CONFIG} ask for {shape}")
    return tensors[name].widen(np.float64)


def updates_of(model: GPT) -> dict[str, Update]:
    """The updates of a model by the names of their matrices in transformers."""
    found: dict[str, Update] = {}
    for _, module in model.named_modules():
        if isinstance(module, LoRA):
            found |= {update.name: update for update in module.updates}
        elif isinstance(module, LoRAEmbed):
            found[module.update.name] = module.update
    return found


def _lora_tensors(model: GPT, settings: LoRASettings) -> dict[str, np.ndarray]:
    """The tensors of a file."""
    updates, found = updates_of(model), dict[str, np.ndarray]()
    for matrix in matrices_of(model):
        if (update := updates.get(matrix.name)) is None:
            continue
        a, b = to_device(update.A.data, "cpu"), to_device(update.B.data, "cpu")
        arrays = [a.T, b] if matrix.is_embedding else [a, matrix.part.in_their_order(b)]
        if update.magnitude is not None:
            arrays.append(matrix.part.in_their_order(to_device(update.magnitude.data, "cpu")))
        found |= dict(zip(keys_of(matrix, dora=settings.dora), arrays))
    return found


# --- virtual tokens ---------------------------------------------------------------------------------------------------


def _load_vectors(model: GPT, tokens: int, tensors: Mapping[str, Stored], *, is_prefix: bool) -> None:
    if set(tensors) != {VECTORS}:
        raise HubError(f"{TENSORS} must hold {VECTORS} alone, and holds {', '.join(sorted(tensors)[:3])}")
    weight = tensors[VECTORS].widen(np.float64)
    if len(weight) != tokens:
        raise HubError(f"{VECTORS} has {len(weight)} rows, but {CONFIG} says num_virtual_tokens={tokens}")
    (attach_prefix if is_prefix else attach_prompt)(model, weight)


# --- writing ----------------------------------------------------------------------------------------------------------


def save_adapter(model: GPT | Classifier, folder: str | Path) -> None:
    """Write the adapter of a model to a new folder, which PEFT loads. Raises HubError if it has none.

    With that of a classifier goes its head, but not the names of its classes, for which these folders have no room.
    """
    folder, body = Path(folder), model.model if isinstance(model, Classifier) else model
    if not isinstance(body, AdaptedGPT):
        raise HubError("the model has no adapter; save it as a whole, with llm.hub.save")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HubError(f"{folder} exists already; give a new folder")
    tensors = _lora_tensors(body, body.settings) if isinstance(body.settings, LoRASettings) else _vectors(body)
    data = config_json(body)
    if isinstance(model, Classifier):
        tensors[HEAD] = to_device(model.score.weight.data, "cpu")
        data |= {"task_type": "SEQ_CLS", "modules_to_save": HEADS}
    with new_folder(folder) as partial:
        arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()}
        save_file(arrays, partial / TENSORS, {"format": "pt"})
        write_file(partial / CONFIG, json.dumps(data, indent=2, sort_keys=True) + "\n")


def _vectors(model: Any) -> dict[str, np.ndarray]:
    is_prefix = isinstance(model.settings, PrefixSettings)
    return {VECTORS: to_device((model.prefix.weight if is_prefix else model.embedding.prompt).data, "cpu")}


def config_json(model: Any) -> dict[str, Any]:
    """The fields of adapter_config.json."""
    settings, config = model.settings, model.config
    common = {"base_model_name_or_path": model.path, "inference_mode": True, "task_type": "CAUSAL_LM"}
    if isinstance(settings, LoRASettings):
        others = {
            "bias": "none",
            "fan_in_fan_out": "attn.c_attn" in " ".join(updates_of(model)),
            "modules_to_save": None,
        }
        return common | others | written(settings)
    is_prefix = isinstance(settings, PrefixSettings)
    width = config.key_heads * config.head_size if is_prefix else config.dim
    heads = config.key_heads if is_prefix else config.heads
    sizes = {"num_layers": config.layers, "num_attention_heads": heads, "token_dim": width}
    kind = {"prefix_projection": False, "encoder_hidden_size": width} if is_prefix else {"prompt_tuning_init": "RANDOM"}
    return common | sizes | kind | {"num_transformer_submodules": 1} | written(settings)
