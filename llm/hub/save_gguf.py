"""Write a model of ours as a GGUF file, for llama.cpp and the tools that are built on it.

As in save.py, the architecture is the first one that can say all that the configuration says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from llm.hub.errors import HubError
from llm.hub.gguf_models import ARCHITECTURES, gguf_tensors, read_metadata
from llm.hub.gguf_writing import write_gguf
from llm.hub.save import meaning, nearest, their_tensors
from llm.hub.stored import Stored
from llm.hub.tokenizer_files import gguf_tokenizer_metadata
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from minigrad.fused.rope import rope_frequencies
from tokenizer import BaseTokenizer

Kind = Literal["F32", "F16", "Q8_0"]
FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7}  # llama.cpp's numbers for "general.file_type"
Q8_BLOCK = 32  # numbers that share a scale: a row must have a multiple of it


def save_gguf(model: GPT, tokenizer: BaseTokenizer | None, path: str | Path, kind: Kind = "F16") -> None:
    """Write the model to a GGUF file, with matrices of this kind; norms and biases are float32.

    Raises HubError if no architecture of llama.cpp that is known here has such models, or the file exists.
    """
    path, config = Path(path), model.config
    if path.exists():
        raise HubError(f"{path} exists already; give a new file")
    name = nearest_architecture(model)
    metadata = {"general.architecture": name, "general.file_type": FILE_TYPES[kind]} | metadata_of(config, name)
    if tokenizer is not None:
        metadata |= gguf_tokenizer_metadata(tokenizer, config.vocab_size)
    tensors = their_tensors(model, gguf_tensors(config, name))
    if (factors := frequency_factors(config)) is not None:
        tensors["rope_freqs.weight"] = factors.astype(np.float32)
    write_gguf(path, metadata, tensors, {name: kind_of(array, kind) for name, array in tensors.items()})


def kind_of(array: np.ndarray, kind: Kind) -> str:
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
    if config.positions == "rope":
        fields |= {"rope.dimension_count": config.rotated, "rope.freq_base": float(config.rope_base)}
    optional = {
        "attention.sliding_window": config.window,
        "attn_logit_softcapping": config.attention_soft_cap,
        "final_logit_softcapping": config.soft_cap,
    }
    fields |= {key: value for key, value in optional.items() if value is not None}
    scaling = config.rope_scaling
    if scaling is not None and scaling.kind in ("linear", "yarn"):
        fields |= {"rope.scaling.type": scaling.kind, "rope.scaling.factor": float(scaling.factor)}
    if scaling is not None and scaling.original_context is not None:
        fields["rope.scaling.original_context_length"] = scaling.original_context
    return {f"{name}.{key}": value for key, value in fields.items()}


def frequency_factors(config: GPTConfig) -> np.ndarray | None:
    """What the frequencies of rope are divided by, (D / 2,), where this is how the file says the scaling."""
    scaling = config.rope_scaling
    if config.positions != "rope" or scaling is None or scaling.kind not in ("llama3", "longrope"):
        return None
    plain = rope_frequencies(config.rotated, config.rope_base)
    return plain / scaling.frequencies(config.rope_base, config.rotated, scaling.original_context or 1)


def nearest_architecture(model: GPT) -> str:
    """The first architecture that can say all that the configuration says."""
    name, different = nearest(ARCHITECTURES, lambda name: lost(model, name))
    if not different:
        return name
    values = ", ".join(f"{field}={getattr(model.config, field)!r}" for field in different)
    raise HubError(f"no architecture of GGUF files has such a model; the nearest, {name}, cannot have {values}")


def lost(model: GPT, name: str) -> list[str]:
    """The fields that have another meaning after writing and reading the metadata."""
    config, parts = model.config, gguf_tensors(model.config, name)
    ours = comparable(config)
    try:
        # The reader looks at which tensors there are, and at the shape of one.
        names = [theirs for our_name, _ in model.named_parameters() for theirs in parts[our_name].names]
        tensors = dict.fromkeys(names, Stored.from_array(np.zeros(1, np.float32)))
        tensors["token_embd.weight"] = Stored.from_array(
            np.broadcast_to(np.float32(0), (config.vocab_size, config.dim))
        )
        metadata = {"general.architecture": name} | metadata_of(config, name)
        theirs = comparable(read_metadata(metadata, tensors, "the file"))
    except (HubError, KeyError):  # such a model is impossible in this architecture
        return list(ours)
    return [field for field in ours if ours[field] != theirs.get(field)]


def comparable(config: GPTConfig) -> dict[str, Any]:
    """The meaning of the fields as the file can say it."""
    found = meaning(config)
    scaling = found.get("rope_scaling")
    if scaling and scaling["kind"] in ("llama3", "longrope") and as_factors(config):
        del found["rope_scaling"]  # said by a tensor: `frequency_factors`
    # Floats are float32 in the file.
    return {name: float(np.float32(v)) if isinstance(v, float) else v for name, v in found.items()}


def as_factors(config: GPTConfig) -> bool:
    """Whether the scaling of rope is the same for all lengths of text: then factors of the frequencies say it."""
    scaling = config.rope_scaling
    assert scaling is not None
    same = scaling.short_factors == scaling.long_factors
    return scaling.kind == "llama3" or scaling.kind == "longrope" and same and scaling.attention_factor == 1
