"""Which weights a checkpoint holds: all of them, or, of a model with an adapter, only those that are trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from llm.model.adapters.attach import AdaptedGPT
from minigrad.nn import Module
from minigrad.nn.module import Parameter


def has_adapter(model: Module) -> bool:
    """Whether the model, or one inside it, has an adapter."""
    return any(isinstance(module, AdaptedGPT) for _, module in model.named_modules())


def kept_parameters(model: Module) -> dict[str, Parameter]:
    """The parameters that a checkpoint holds. The others are in the model at --from, and never change."""
    return dict(model.named_trainable() if has_adapter(model) else model.named_parameters())


def trained_state(model: Module) -> dict[str, np.ndarray]:
    """The arrays of `kept_parameters`, which share memory with the model."""
    return {name: p.numpy() for name, p in kept_parameters(model).items()}


def load_trained(model: Module, weights: Mapping[str, np.ndarray]) -> None:
    """The inverse of `trained_state`. Raises ValueError if the names or the shapes are not those of the model."""
    if not has_adapter(model):
        model.load_state_dict(weights)
        return
    kept = kept_parameters(model)
    if wrong := sorted(kept.keys() ^ weights.keys()):
        raise ValueError(f"of {wrong[0]}, there is one only in the {'model' if wrong[0] in kept else 'file'}")
    model.load_state_dict(weights, strict=False)
