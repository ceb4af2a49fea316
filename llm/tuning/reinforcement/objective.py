"""The objective of reinforcement: policy_losses.py for a batch of sampled completions (llm/parallel/objective.py).

A batch has seven arrays (R, T): R completions, each after its prompt in a row of T places, padded at its end.

    ids           what the model reads
    targets       the token after each id, if it belongs to the completion and counts; otherwise IGNORED
    advantages    of each token
    old           its log-probability under the weights that sampled it
    reference     its log-probability under the reference
    values        what the value head predicted when it was sampled       only for PPO (ppo.py), otherwise 0
    returns       what the value head should have predicted               the same

Padding needs no mask: it stands after all real tokens, and no token sees a later one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from llm.model.gpt import GPT
from llm.parallel.metrics import Metrics
from llm.parallel.objective import Batch
from llm.tuning.chat.packing import IGNORED
from llm.tuning.reinforcement.algorithms import Algorithm
from llm.tuning.reinforcement.measures import metrics_of
from llm.tuning.reinforcement.policy_losses import divergence, divisor, policy_loss, token_weights
from minigrad.fused.cross_entropy import cross_entropy
from minigrad.tensor import Tensor


class PolicyBatch(NamedTuple):
    """The arrays of a batch by name."""

    ids: np.ndarray
    targets: np.ndarray
    advantages: np.ndarray
    old: np.ndarray
    reference: np.ndarray
    values: np.ndarray
    returns: np.ndarray


class PolicyGradient:
    """The loss of an algorithm. `fresh`: every batch was sampled by the weights of now, so the ratio is exactly 1."""

    def __init__(self, algorithm: Algorithm, *, max_tokens: int, temperature: float = 1.0, fresh: bool = True):
        self.algorithm, self.max_tokens, self.temperature, self.fresh = algorithm, max_tokens, temperature, fresh

    def loss_sum(self, model: GPT, batch: Batch) -> tuple[Tensor, Metrics]:
        rows, a = self.learned_from(PolicyBatch(*batch)), self.algorithm
        mask = rows.targets != IGNORED
        logprobs, losses = self.token_losses(model, rows, mask)  # (R, T) each
        old = None if self.fresh else rows.old
        metrics = metrics_of(logprobs, old, rows.reference, rows.advantages, mask, a)
        return (losses * token_weights(mask, a.normalization).astype(losses.dtype)).sum(), metrics

    def count(self, batch: Batch) -> float:
        return divisor(batch[1] != IGNORED, self.algorithm.normalization, self.max_tokens)

    def learned_from(self, rows: PolicyBatch) -> PolicyBatch:
        """The rows that have a loss. Where all completions of a group earn the same, all advantages are 0, and so are
        loss and gradient, unless there is a reference. These are often most rows, and they need not be computed.
        """
        if self.algorithm.beta:
            return rows
        counts = (rows.advantages != 0).any(axis=1)  # (R,)
        counts[0] |= ~counts.any()  # a loss of no rows would have no graph
        return PolicyBatch(*(array[counts] for array in rows))

    def token_losses(self, model: GPT, rows: PolicyBatch, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        """The log-probability of each target under the weights of now, and its loss."""
        logprobs = token_logprobs(model, rows.ids, rows.targets, self.temperature)
        return logprobs, self.policy_losses(logprobs, rows, mask)

    def policy_losses(self, logprobs: Tensor, rows: PolicyBatch, mask: np.ndarray) -> Tensor:
        """Those of the policy alone. `logprobs`: of the targets, under the weights of now."""
        a = self.algorithm
        advantages, old, reference = (
            array.astype(logprobs.dtype) for array in (rows.advantages, rows.old, rows.reference)
        )
        losses = policy_loss(logprobs, None if self.fresh else old, advantages, mask, a)
        if a.beta and a.kl_in == "loss":
            losses = losses + divergence(logprobs, reference, a.kl) * a.beta
        return losses


def token_logprobs(model: GPT, ids: Any, targets: Any, temperature: float = 1.0) -> Tensor:
    """The log-probability of each target (R, T) under logits divided by the temperature; 0 where it is IGNORED."""
    if temperature != 1:
        return logprobs_of_hidden(model, model.hidden(ids), targets, temperature)
    return -model.loss(ids, targets, ignore_index=IGNORED, reduction="none")


def logprobs_of_hidden(model: GPT, x: Tensor, targets: Any, temperature: float = 1.0) -> Tensor:
    """The same, from the vectors x (R, T, C) that `hidden` returns."""
    logits = model.logits(x)  # (R, T, V)
    return -cross_entropy(logits / temperature, targets, ignore_index=IGNORED, reduction="none")
