"""The reference: the model before training, from which the policy is not to go far."""

from __future__ import annotations

import numpy as np

from llm.hub.tuned import base_model
from llm.model.adapters.attach import AdaptedGPT, adapter_off
from llm.model.gpt import GPT
from llm.runs.options import Options
from llm.tuning.reinforcement.rollout import Reference, logprobs_and_values


def reference_of(model: GPT, options: Options) -> Reference:
    """With adapters, the model without them. Otherwise the model at --from a second time."""
    temperature = options.tuning.temperature
    frozen = None if isinstance(model, AdaptedGPT) else base_model(str(options.training.from_), options.model)

    def logprobs(ids: np.ndarray, targets: np.ndarray) -> np.ndarray:
        if frozen is None:
            with adapter_off(model):
                return logprobs_and_values(model, ids, targets, temperature)[0]
        if frozen.device != model.device:
            frozen.to(model.device)
        return logprobs_and_values(frozen, ids, targets, temperature)[0]

    return logprobs
