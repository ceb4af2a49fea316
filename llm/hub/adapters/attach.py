"""An adapter is attached to a model: with initial values for training, or with those of a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from llm.hub.adapters.matrices import Matrix, layer_of, matrices_of
from llm.hub.adapters.settings import LoRASettings, PrefixSettings, PromptSettings
from llm.hub.adapters.targets import chosen, their_names, value_for
from llm.hub.errors import HubError
from llm.hub.stored_model import STORED_LAYERS
from llm.model.adapters.attach import attach, become
from llm.model.adapters.lora import LoRAEmbed, Update, add_updates, first_factors, row_lengths, scale_of
from llm.model.adapters.merge import LoRAOn, give_head_a_layer
from llm.model.adapters.prefix import add_prefix
from llm.model.adapters.prompt import add_prompt
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from minigrad.backend import to_device

# For a matrix and its rank: A (r, in) and B (out, r), of an embedding A (V, r) and B (C, r), with rows in our order;
# and for DoRA the lengths of its rows (out,), otherwise None.
Values = Callable[[Matrix, int], tuple[np.ndarray, np.ndarray, np.ndarray | None]]


def attach_lora(model: GPT, settings: LoRASettings, values: Values) -> None:
    """Attach updates to the matrices that the settings mean."""
    matrices = matrices_of(model)
    wanted = chosen(matrices, settings)
    _check_possible(model, settings, wanted)
    if any(m.is_head for m in wanted):
        give_head_a_layer(model)
    updates: dict[str, list[Update]] = {}
    for matrix in wanted:
        rank = value_for(matrix.name, settings.rank_pattern, settings.rank)
        scale = scale_of(rank, value_for(matrix.name, settings.alpha_pattern, settings.alpha), rslora=settings.rslora)
        a, b, magnitude = values(matrix, rank)
        updates.setdefault(matrix.layer, []).append(
            Update(matrix.name, matrix.rows, scale, (a, b), model.dtype, magnitude)
        )
    switch = attach(model, LoRAOn, replace(settings, targets=their_names(settings, wanted, matrices)))
    for name, some in updates.items():
        if name == "embedding":
            become(model.embedding, LoRAEmbed, update=some[0], switch=switch)
        else:
            add_updates(layer_of(model, name), some, settings.dropout, switch)
    model.to(model.device)  # the updates too


def initial_values(model: GPT, settings: LoRASettings, rng: np.random.Generator) -> Values:
    """Those of PEFT: the model computes at first what it did before."""

    def values(matrix: Matrix, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        rows = matrix.rows.stop - matrix.rows.start
        if matrix.is_embedding:
            return np.zeros((rows, rank)), rng.standard_normal((matrix.width, rank)), None
        weight = None if not settings.dora else layer_of(model, matrix.layer).weight.data[matrix.rows]
        lengths = None if weight is None else row_lengths(to_device(weight, "cpu"))
        return *first_factors(rng, rank, (rows, matrix.width)), lengths

    return values


def _check_possible(model: GPT, settings: LoRASettings, wanted: list[Matrix]) -> None:
    """Raise HubError for what the layers cannot do."""
    stored = [m for m in wanted if isinstance(_layer(model, m), STORED_LAYERS)]
    if settings.dora and stored:
        raise HubError("DoRA needs the lengths of the rows of weights; load the model with weights='widened'")
    if settings.dora and any(m.is_embedding for m in wanted):
        raise HubError("DoRA of an embedding is not supported; leave it out of the targets")
    if any(m.is_head for m in wanted) and model.config.tied_head and isinstance(model.embedding, STORED_LAYERS):
        raise HubError("a tied head of stored weights cannot have an update; load the model with weights='widened'")


def _layer(model: GPT, matrix: Matrix) -> Any:
    return None if matrix.is_head and model.config.tied_head else layer_of(model, matrix.layer)


# --- virtual tokens ---------------------------------------------------------------------------------------------------


def attach_prefix(model: GPT, weight: np.ndarray) -> None:
    """A prefix with these keys and values (P, layers * 2 * K * D)."""
    _check_width("prefix", weight, prefix_width(model.config))
    add_prefix(model, PrefixSettings(len(weight)), weight)


def attach_prompt(model: GPT, weight: np.ndarray) -> None:
    """A prompt of these vectors (P, C)."""
    _check_width("prompt", weight, model.config.dim)
    add_prompt(model, PromptSettings(len(weight)), weight)


def embedded(model: GPT, ids: np.ndarray) -> np.ndarray:
    """The vectors (P, C) of some tokens, as the first block gets them: a prompt may begin as these."""
    return model.embedding(ids).data * model.config.embedding_scale


def prefix_width(config: GPTConfig) -> int:
    """How many numbers a virtual token of a prefix has."""
    return config.layers * 2 * config.key_heads * config.head_size


def _check_width(kind: str, weight: np.ndarray, width: int) -> None:
    if weight.ndim != 2 or weight.shape[1] != width:
        raise HubError(f"a {kind} of this model has {width} numbers for each token, and its shape is {weight.shape}")
