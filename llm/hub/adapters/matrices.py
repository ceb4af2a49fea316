"""The matrices of a model that can have an update, under the names that they have in transformers.

One of our matrices may hold several of theirs, in another order of rows: the same table of names that reads weights
says which rows are whose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm.hub.errors import HubError
from llm.hub.families import FAMILIES
from llm.hub.save import nearest_family
from llm.hub.stored_model import StoredEmbedding, StoredLinear
from llm.hub.weights import OneTensor, Part, Same, SameNames
from llm.model.gpt import GPT
from minigrad.nn import Embedding, Linear, Module


@dataclass(frozen=True)
class Matrix:
    """One matrix of a file, and where it is in the model."""

    name: str  # of the module in transformers: model.layers.0.self_attn.q_proj
    layer: str  # of our module: blocks.0.attention.qkv
    rows: slice  # of our matrix
    part: OneTensor  # the order of its rows
    width: int  # numbers in a row

    @property
    def is_embedding(self) -> bool:
        return self.layer == "embedding"

    @property
    def is_head(self) -> bool:
        return self.layer == "head"

    @property
    def is_router(self) -> bool:
        return self.layer.endswith(".router")

    @property
    def last_name(self) -> str:
        return self.name.rsplit(".", 1)[-1]


def matrices_of(model: GPT) -> list[Matrix]:
    """All of them, in the order of the model. The head is among them also if it is tied."""
    parts, found = parts_of(model), []
    for name, module in model.named_modules():
        if isinstance(module, (Linear, StoredLinear, Embedding, StoredEmbedding)) and name != "positions":
            found += _matrices(name, shape_of(module), parts[f"{name}.weight"])
    if model.config.tied_head and not any(m.is_head for m in found):
        found += _matrices("head", (model.config.vocab_size, model.config.dim), parts["head.weight"])
    return found


def _matrices(layer: str, shape: tuple[int, ...], part: Part) -> list[Matrix]:
    rows, width = shape
    return [
        Matrix(piece.name.removesuffix(".weight"), layer, where, piece, width) for piece, where in part.pieces(rows)
    ]


def shape_of(module: Any) -> tuple[int, ...]:
    return module.weight.shape if hasattr(module, "weight") else module.matrix.shape


def parts_of(model: GPT) -> Mapping[str, Part]:
    """Our tensors, and how each is kept in files of the model's family; with our own names if no family fits."""
    try:  # of a run of ours, or a GGUF file, the family that `hub.save` would write
        family = FAMILIES.get(model.family) or nearest_family(model.config)
    except HubError:
        return SameNames()
    parts = family.tensors(model.config)
    # Modules have the newer names of tensors that were renamed.
    newer = {older: name for name, older in family.renamed.items()}
    return parts | {ours: Same(newer[part.names[0]]) for ours, part in parts.items() if part.names[0] in newer}


def layer_of(model: Module, name: str) -> Any:
    """The module with this name."""
    for step in name.split("."):
        model = getattr(model, step)
    return model
