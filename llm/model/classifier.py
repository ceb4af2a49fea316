"""A GPT that sorts texts into classes: the head of the vocabulary gives way to a small one, which reads the last token.

Only the last token of a text has attended to all others, so its vector says the most about the whole. With padding, the
last token is the last one that the mask calls real, wherever it stands. Radford et al. 2018 (GPT); the classes
`...ForSequenceClassification` of transformers are the same. With a single class, the number is a reward: it says how
good a text is (llm/tuning/preferences/reward_loss.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.transformer import Transformer
from minigrad.backend import Array, array_module, device_of, to_device
from minigrad.fused.cross_entropy import cross_entropy
from minigrad.nn import Linear, Module
from minigrad.tensor import Tensor, as_tensor


class Classifier(Module):
    """Token ids (B, T) in, logits of the classes (B, classes) out.

    `model`: it is shared, not copied: training the classifier changes it, all but its head, which is not used.
    `classes`: how many, or their names. `rng`: a seed or a generator for the new head; with None it is zero.
    `pad_id`: the id that fills up rows, for those who load the saved classifier with other tools.
    """

    def __init__(
        self,
        model: GPT,
        classes: int | Sequence[str],
        *,
        rng: np.random.Generator | int | None = 0,
        pad_id: int | None = None,
    ):
        self.labels = class_names(classes)
        self.model = without_head(model)
        self.score = Linear(model.config.dim, len(self.labels), bias=False, dtype=model.dtype, init=False)
        self.pad_id = pad_id
        if rng is not None:  # as the head of the vocabulary, see GPT.initialize
            drawn = np.random.default_rng(rng).standard_normal(self.score.weight.shape, dtype=np.float32)
            self.score.weight.data[...] = drawn * np.float32(0.02)
        self.to(model.device).train(model.training)

    def forward(self, ids: Any, *, mask: Any = None) -> Tensor:
        """Logits (B, classes). `mask` (B, T) or (T,): True, or 1, at real tokens; None: all are real."""
        ids = as_tensor(ids).data
        mask = as_mask(ids, mask)
        last = last_tokens(ids, mask)  # (B,)
        # Padding after the last token cannot be seen by the others, and needs no mask. It is left out where possible.
        ids, mask = ids[:, : int(last.max()) + 1], mask[:, : int(last.max()) + 1]
        has_gaps = bool((mask.sum(axis=1) <= last).any())
        x = self.model.hidden(ids, mask=mask if has_gaps else None)  # (B, T, C)
        return self.score(x[array_module(x.data).arange(len(x)), last])  # (B, C) -> (B, classes)

    def loss(
        self, ids: Any, classes: Any, *, mask: Any = None, reduction: Literal["mean", "sum", "none"] = "mean"
    ) -> Tensor:
        """Cross-entropy in nats of the right classes (B,), integers."""
        return cross_entropy(self(ids, mask=mask), classes, reduction=reduction)

    @property
    def config(self) -> GPTConfig:
        return self.model.config

    @property
    def context(self) -> int:
        """The largest number of tokens of a text; an adapter may take some of those of the model."""
        return self.model.context

    @property
    def device(self) -> str:
        return self.model.device

    @property
    def dtype(self) -> np.dtype:
        return self.model.dtype

    @property
    def recompute(self) -> bool:
        return self.model.recompute

    @recompute.setter
    def recompute(self, value: bool) -> None:
        self.model.recompute = value


def class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Their names; those of transformers if there is only a number."""
    names = tuple(f"LABEL_{i}" for i in range(classes)) if isinstance(classes, (int, np.integer)) else tuple(classes)
    if not names or isinstance(classes, (str, bool)) or len({*names}) < len(names):
        raise ValueError(f"a classifier needs a number of classes, or a name for each of them, got {classes!r}")
    return names


def refuse_classifier(model: Module) -> None:
    """Raise TypeError for a classifier, or a translator, where the model is to continue a text."""
    if isinstance(model, Classifier):
        raise TypeError(
            "the model is a classifier, which predicts no tokens; model(ids) gives the logits of its classes"
        )
    if isinstance(model, Transformer):
        raise TypeError("the model is a translator, which continues no text; use llm.inference.translation.translate")


def without_head(model: GPT) -> GPT:
    """The same model without a matrix for its head, which would be saved and take memory in training."""
    if model.config.tied_head:
        return model
    body = copy(model)  # its parts are the same objects
    del body.head
    body.config = replace(model.config, tied_head=True, head_bias=False)
    return body


def as_mask(ids: Array, mask: Any) -> Array:
    """The mask as booleans of the shape of ids, (B, T), on their device."""
    xp = array_module(ids)
    if mask is None:
        return xp.ones(ids.shape, bool)
    mask = to_device(as_tensor(mask).data, device_of(ids)) != 0  # other libraries give integers
    if mask.shape not in (ids.shape, ids.shape[1:]):
        raise ValueError(f"the mask must have the shape of ids, {ids.shape}, or {ids.shape[1:]}; got {mask.shape}")
    return xp.broadcast_to(mask, ids.shape)


def last_tokens(ids: Array, mask: Array) -> Array:
    """The index (B,) of the last real token of each row."""
    if ids.ndim != 2 or not bool(mask.any(axis=1).all()):
        raise ValueError("ids must be (B, T), and a text without tokens has no class; each row needs a real token")
    return ids.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)  # argmax finds the first True
