"""Write a model of ours as a GGUF file, for llama.cpp and the tools that are built on it.

As in save.py, the architecture is the first one that can say all that the configuration says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from llm.hub.errors import HubError
from llm.hub.gguf_models import ARCHITECTURES, gguf_config, gguf_tensors
from llm.hub.gguf_writing import write_gguf
from llm.hub.kinds import import_gguf
from llm.hub.save import first_that_fits, meaning, refuse_unusual, their_tensors
from llm.hub.stored import Stored
from llm.hub.tokenizer_files import gguf_tokenizer_metadata
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.rope_scaling import plain_frequencies
from tokenizer import BaseTokenizer

Kind = Literal["F32", "F16", "Q8_0"]
FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7}  # llama.cpp's numbers for "general.file_type"
Q8_BLOCK = 32  # numbers that share a scale: a row must have a multiple of it


def save_gguf(model: GPT, tokenizer: BaseTokenizer | None, path: str | Path, kind: Kind = "F16") -> None:
    """Write the model to a GGUF file, with matrices of this kind; norms and biases are float32.

    Raises HubError if no architecture of llama.cpp that is known here has such models, or the file exists.
    """
    path, config = Path(path), model.config
    refuse_unusual(model)
    if path.exists():
        raise HubError(f"{path} exists already; give a new file")
    import_gguf()  # before anything is written
    name = nearest_architecture(model)
    metadata = {"general.architecture": name, "general.file_type": FILE_TYPES[kind]} | metadata_of(config, name)
    if tokenizer is not None:
        metadata |= gguf_tokenizer_metadata(tokenizer, config.vocab_size)
    tensors = their_tensors(model, gguf_tensors(config, name))
    if (factors := frequency_factors(config)) is not None:
        tensors["rope_freqs.weight"] = factors.astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_gguf(path, metadata, tensors, {name: kind_for(array, kind) for name, array in tensors.items()})


def kind_for(array: np.ndarray, kind: Kind) -> str:
    """The kind in which an array is stored where matrices are to be of `kind`."""
    if array.ndim < 2:
        return "F32"
    return "F16" if kind == "Q8_0" and array.shape[-1] % Q8_BLOCK else kind


def metadata_of(config: GPTConfig, name: str) -> dict[str, Any]:
    """The fields of the architecture called `name`, by their full names."""
    norm = "layer_norm_rms_epsilon" if config.norm == "rmsnorm" else "layer_norm_epsilon"
    fields: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "context_length": config.context,
        "embedding_length": config.dim,
        "block_count": config.layers,
        "feed_forward_length": config.mlp_size,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.key_heads,
        "attention.key_length": config.head_size,
        "attention.value_length": config.head_size,
        f"attention.{norm}": config.norm_eps,
    }
    optional = {
        "attention.sliding_window": config.window,
        "rope.freq_base_swa": config.window_rope_base,
        "attn_logit_softcapping": config.attention_soft_cap,
        "final_logit_softcapping": config.soft_cap,
    }
    fields |= {key: value for key, value in optional.items() if value is not None}
    fields |= rope_metadata(config) if config.positions == "rope" else {}
    return {f"{name}.{key}": value for key, value in fields.items()}


def rope_metadata(config: GPTConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {"rope.dimension_count": config.rotated, "rope.freq_base": float(config.rope_base)}
    scaling = config.rope_scaling
    if scaling is None:
        return fields
    if scaling.kind in ("linear", "yarn"):
        fields |= {"rope.scaling.type": scaling.kind, "rope.scaling.factor": float(scaling.factor)}
    if scaling.original_context is not None:
        fields["rope.scaling.original_context_length"] = scaling.original_context
    return fields


def frequency_factors(config: GPTConfig) -> np.ndarray | None:
    """What the frequencies of rope are divided by, (D / 2,), where this is how the file says the scaling."""
    scaling, dim = config.rope_scaling, config.rotated
    if config.positions != "rope" or scaling is None or scaling.kind not in ("llama3", "longrope"):
        return None
    if scaling.short_factors != scaling.long_factors or scaling.attention_factor != 1:
        return None  # factors cannot say this longrope
    length = scaling.original_context or 1  # any: the frequencies are the same for all
    return plain_frequencies(config.rope_base, dim) / scaling.frequencies(config.rope_base, dim, length)


def nearest_architecture(model: GPT) -> str:
    """The first architecture that can say all that the configuration says."""
    return first_that_fits(model.config, ARCHITECTURES, lambda name: lost(model, name), "architecture of GGUF files")


def lost(model: GPT, name: str) -> list[str]:
    """The fields that have another meaning after writing and reading the metadata."""
    config = model.config
    ours = comparable(config)
    try:
        parts = gguf_tensors(config, name)
        # The reader looks at which tensors there are, and at the shape of one.
        names = [theirs for our_name, _ in model.named_parameters() for theirs in parts[our_name].names]
        tensors = dict.fromkeys(names, Stored.from_array(np.zeros(1, np.float32)))
        tensors["token_embd.weight"] = Stored.from_array(
            np.broadcast_to(np.float32(0), (config.vocab_size, config.dim))
        )
        metadata = {"general.architecture": name} | metadata_of(config, name)
        theirs = comparable(gguf_config(metadata, tensors, "the file"))
    except (ValueError, KeyError):  # such a model is impossible in this architecture
        return list(ours)
    return [field for field in ours if ours[field] != theirs.get(field)]


def comparable(config: GPTConfig) -> dict[str, Any]:
    """The meaning of the fields as the file can say it."""
    found = meaning(config)
    if frequency_factors(config) is not None:
        del found["rope_scaling"]  # said by a tensor
    # Floats are float32 in the file.
    return {name: float(np.float32(v)) if isinstance(v, float) else v for name, v in found.items()}
