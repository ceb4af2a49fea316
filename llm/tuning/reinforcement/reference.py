"""The reference: the model before training, from which the policy is not to go far."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext

import numpy as np

from llm.hub.tuned import base_model
from llm.model.adapters.attach import AdaptedGPT, adapter_off
from llm.model.gpt import GPT
from llm.runs.options import Options
from llm.tuning.reinforcement.rollout import logprobs_and_values


class ReferencePolicy:
    """With adapters, the model without them. Otherwise the model at --from a second time."""

    def __init__(self, model: GPT, options: Options):
        self.temperature, self.is_adapted = options.tuning.temperature, isinstance(model, AdaptedGPT)
        self.policy = model
        self.model = model if self.is_adapted else base_model(str(options.training.from_), options.model)

    def __call__(self, ids: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The log-probabilities of the targets (R, T)."""
        if self.model.device != self.policy.device:
            self.model.to(self.policy.device)
        with adapter_off(self.model) if self.is_adapted else nullcontext():
            return logprobs_and_values(self.model, ids, targets, self.temperature)[0]

    def checksums(self) -> dict[str, str]:
        """A hash of its weights, if a checkpoint does not say what they are (llm/hub/tuned.py)."""
        if self.is_adapted:
            return {}
        digest = hashlib.sha256()
        for name, p in self.model.named_parameters():
            digest.update(name.encode() + p.numpy().tobytes())
        return {"reference": digest.hexdigest()}
