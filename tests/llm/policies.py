"""A policy so small that all of its completions can be enumerated: their probabilities, and exact expected values."""

from __future__ import annotations

from itertools import product

import numpy as np

from llm.inference.completions import Completion
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.tuning.chat.packing import IGNORED
from llm.tuning.reinforcement.objective import PolicyBatch, token_logprobs
from llm.tuning.reinforcement.rollout import rows_of
from minigrad.tensor import Tensor
from tests.llm.gpts import random_gpt

END = 2
PROMPT = [0, 1]
CONFIG = GPTConfig(vocab_size=3, context=6, layers=1, heads=1, dim=4)


def policy(seed: int = 0) -> GPT:
    return random_gpt(CONFIG, seed)


def all_completions(max_tokens: int) -> list[Completion]:
    """Every text of the tokens 0 and 1 that END ends, or that is cut off at `max_tokens`."""
    found = []
    for length in range(max_tokens + 1):
        for letters in product((0, 1), repeat=length):
            cut_off = length == max_tokens
            found.append(Completion(PROMPT, [*letters, *([] if cut_off else [END])], str(letters), cut_off))
    return found


def logprobs_of(model: GPT, completions: list[Completion]) -> Tensor:
    """The log-probability of each completion (N,)."""
    return token_logprobs(model, *rows_of(completions)).sum(axis=1)


def exact_gradient(model: GPT, completions: list[Completion], rewards: np.ndarray) -> dict[str, np.ndarray]:
    """Of the expected reward, the sum of probability times reward over all completions."""
    model.zero_grad()
    (np.exp(logprobs_of(model, completions)) * rewards).sum().backward()
    return gradients(model)


def gradients(model: GPT) -> dict[str, np.ndarray]:
    return {name: p.grad.numpy().copy() for name, p in model.named_parameters() if p.grad is not None}


def batch_of(ids: np.ndarray, targets: np.ndarray, advantages: np.ndarray) -> PolicyBatch:
    """`advantages`: (R,), or (R, T)."""
    by_token = np.where(targets != IGNORED, advantages.reshape(len(ids), -1), 0.0)
    zeros = np.zeros(ids.shape)
    return PolicyBatch(ids, targets, by_token, zeros, zeros, zeros, zeros)
