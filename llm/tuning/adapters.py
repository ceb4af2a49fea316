"""Adapters for training: a few new parameters, while the weights of the model are frozen.

    add_lora(model, rank=8, alpha=16, targets=["q_proj", "v_proj"])     LoRA; or add_prefix, add_prompt
    optimizer = AdamW(model.named_trainable())                          only the adapter is trained
    with adapter_off(model): ...                                        the model as it was, in this thread
    save_adapter(model, "my-lora")                                      a folder that PEFT loads, and llm.hub.load
    merge(model)                                                        LoRA becomes part of the weights

The layers are in llm/model/adapters, the files in llm/hub/adapters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from llm.hub.adapters.attach import attach_lora, attach_prefix, attach_prompt, embedded, initial_values, prefix_width
from llm.hub.adapters.files import save_adapter
from llm.hub.adapters.settings import LoRASettings
from llm.hub.tuned import targets_of
from llm.model.adapters.attach import adapter_off
from llm.model.adapters.merge import merge
from llm.model.gpt import GPT

__all__ = ["add_lora", "add_prefix", "add_prompt", "adapter_off", "merge", "save_adapter"]


def add_lora(
    model: GPT,
    rank: int = 8,
    alpha: float = 16.0,
    targets: str | Iterable[str] | None = None,
    *,
    dropout: float = 0.0,
    rslora: bool = False,
    dora: bool = False,
    exclude: str | Iterable[str] = (),
    layers: Iterable[int] | None = None,
    rank_pattern: Mapping[str, int] | None = None,
    alpha_pattern: Mapping[str, float] | None = None,
    rng: np.random.Generator | int | None = 0,
) -> None:
    """Freeze the model and give some of its matrices low-rank updates, which change nothing at first (lora.py).

    `targets`: names of matrices, those of transformers ("q_proj", "c_attn") or ours ("qkv", "mlp.down", "embedding"),
    "all-linear", or a regular expression for whole names. None: PEFT's choice, mostly queries and values. `layers`:
    only in these layers. `rank_pattern`, `alpha_pattern`: other values for some names. Raises ValueError if a name fits
    nothing, or the model has an adapter already.
    """
    settings = LoRASettings(
        rank=rank,
        alpha=alpha,
        targets=_names(targets or ()),
        dropout=dropout,
        rslora=rslora,
        dora=dora,
        exclude=_names(exclude),
        layers=None if layers is None else tuple(layers),
        rank_pattern=rank_pattern or {},
        alpha_pattern=alpha_pattern or {},
    )
    attach_lora(model, settings, initial_values(model, settings, np.random.default_rng(rng)))


def add_prefix(model: GPT, tokens: int = 20, *, rng: np.random.Generator | int | None = 0) -> None:
    """Freeze the model and give it keys and values of so many virtual tokens before each text (prefix.py).

    They are drawn from the normal distribution, as in PEFT. So a prefix changes what the model writes from the start.
    """
    weight = np.random.default_rng(rng).standard_normal((_count(tokens), prefix_width(model.config)))
    attach_prefix(model, weight)


def add_prompt(
    model: GPT, tokens: int = 20, *, ids: Iterable[int] = (), rng: np.random.Generator | int | None = 0
) -> None:
    """Freeze the model and put so many learned vectors before each text, in the place of embeddings (prompt.py).

    They begin as the embeddings of tokens: of `ids`, such as those of an instruction, as often as there is room; or of
    tokens drawn at random.
    """
    given = np.array(list(ids), int)
    if given.size:
        given = np.resize(given, _count(tokens))
    else:
        given = np.random.default_rng(rng).integers(0, model.config.vocab_size, _count(tokens))
    attach_prompt(model, embedded(model, given))


def _names(given: str | Iterable[str]) -> str | tuple[str, ...]:
    """As a tuple, unless it is a regular expression or "all-linear". A plain word is the name of a matrix."""
    return targets_of(given) if isinstance(given, str) else tuple(given)


def _count(tokens: int) -> int:
    if tokens < 1:
        raise ValueError(f"an adapter has at least one virtual token, not {tokens}")
    return tokens
