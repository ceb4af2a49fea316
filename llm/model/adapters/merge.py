"""Merging: the updates of LoRA are added to the weights, and the model is an ordinary one again.

A tied head needs care: one matrix is the embedding and the head, and an update is for one of the two only. So where one
of them has an update, merging gives the head a matrix of its own (`untie`), and what is saved says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llm.model.adapters.attach import AdaptedGPT, restore
from llm.model.adapters.lora import LoRA, LoRAEmbed, divisors
from llm.model.gpt import GPT
from minigrad.backend import Array
from minigrad.fused.cross_entropy import cross_entropy
from minigrad.nn import Embedding, Linear, Module
from minigrad.tensor import Tensor


class LoRAOn(AdaptedGPT):
    """A GPT some of whose layers have updates. `head`: also there if the head is tied, but has an update."""

    def _head_product(self, x: Tensor) -> Tensor:
        # Ordinarily the product and the loss take the weight of the head, not the layer.
        return self.head(x) if isinstance(self.head_layer, LoRA) else super()._head_product(x)

    def _head_loss(self, x: Tensor, targets: Array, **options: Any) -> Tensor:
        if not isinstance(self.head_layer, LoRA):
            return super()._head_loss(x, targets, **options)
        return cross_entropy(self.logits(x), targets, **options)

    @property
    def head_layer(self) -> Module | None:
        """The layer of a head that is not tied, or that has an update; else None."""
        return vars(self).get("head")


def give_head_a_layer(model: GPT) -> None:
    """Let a tied head be a layer too, with the same weight, so that it can have an update."""
    if "head" not in vars(model):
        V, C = model.embedding.weight.shape
        model.head = Linear(C, V, bias=False, init=False)
        model.head.weight = model.embedding.weight
        model.head.train(model.training)


def merge(model: GPT) -> None:
    """Add the updates to the weights, which can be trained again. The model computes the same, up to rounding.

    Raises ValueError if there is no LoRA, or the weights cannot be changed.
    """
    if not isinstance(model, LoRAOn):
        what = (
            "a prefix or a prompt cannot be merged into weights"
            if isinstance(model, AdaptedGPT)
            else "nothing to merge"
        )
        raise ValueError(f"{what}; only the updates of LoRA can")
    adapted = [module for _, module in model.named_modules() if isinstance(module, (LoRA, LoRAEmbed))]
    if not all(isinstance(module, (Linear, Embedding)) for module in adapted):
        raise ValueError("stored weights cannot be changed; load the model with weights='widened' to merge")
    if model.config.tied_head and (isinstance(model.embedding, LoRAEmbed) or model.head_layer is not None):
        untie(model)
    for module in adapted:
        merge_layer(module)
    restore(model, "settings", "switch")
    model.requires_grad_(True)


def untie(model: GPT) -> None:
    """Give the head a copy of the matrix that it shares with the embedding."""
    give_head_a_layer(model)
    weight = model.head.weight
    model.head.weight = type(weight)(weight.data)  # a copy
    model.config = replace(model.config, tied_head=False)


def merge_layer(layer: Any) -> None:
    """Add the updates of one layer to its weight."""
    if isinstance(layer, LoRAEmbed):
        layer.weight.data += layer.update.A.data @ layer.update.B.data.T * layer.update.scale
        return restore(layer, "update", "switch")
    weight = layer.weight.data
    for update in layer.updates:
        weight[update.rows] += update.delta
        if update.magnitude is not None:
            rows = weight[update.rows]
            weight[update.rows] = rows * (update.magnitude.data / divisors(rows))[:, None]
    restore(layer, "updates", "dropout_rate", "switch")
