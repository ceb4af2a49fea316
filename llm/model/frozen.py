"""Which parts of a model are not trained: --freeze of train.py."""

from __future__ import annotations

from fnmatch import fnmatch

from llm.model.gpt import GPT
from minigrad.nn import Module


def freeze(model: GPT, parts: str) -> None:
    """Freeze parts of a model. Raises ValueError for a part that it does not have.

    `parts`: names of parts, such as "embedding" and "blocks.0.mlp", or patterns such as "*.attention", with commas
    between them; or a number N: the embeddings and the first N blocks.
    """
    for part in _names(model, parts):
        found = [p for name, p in model.named_parameters() if fnmatch(name, part) or fnmatch(name, f"{part}.*")]
        if not found:
            raise ValueError(f"--freeze {part} fits no part of the model; its parts are {_known(model)}")
        for p in found:
            p.requires_grad = False


def check_trainable(model: Module) -> None:
    """Raise ValueError if nothing would be trained."""
    if next(model.named_trainable(), None) is None:
        raise ValueError("--freeze leaves nothing to train; freeze less")


def _names(model: GPT, parts: str) -> list[str]:
    if not parts.isdecimal():
        return [part.strip() for part in parts.split(",")] if parts else []
    layers, first = model.config.layers, int(parts)
    if first > layers:
        raise ValueError(f"--freeze {first} is not possible: the model has {layers} blocks")
    outside = [name for name, _ in model.named_children() if name in ("embedding", "positions", "embedding_norm")]
    return outside + [f"blocks.{number}" for number in range(first)]


def _known(model: GPT) -> str:
    """The names of parts that can be frozen."""
    names = dict.fromkeys(name.rsplit(".", 1)[0] for name, _ in model.named_parameters())
    block = [name for name in names if name.startswith("blocks.0.")]
    others = [name for name in names if not name.startswith("blocks.")]
    return ", ".join([*others, "blocks.0", *block])
