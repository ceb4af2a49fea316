"""The floating-point operations (FLOPs) of a model, computed from its configuration alone.

FLOPs per token are counted as in PaLM (Chowdhery et al. 2022, arXiv 2204.02311, appendix B) and in nanoGPT. A
multiplication and an addition are two operations:

    forward     2 N + 4 L H D S      N: the parameters of matrix products, see `forward_flops`
    training    three times that     for each matrix product of the forward pass, the backward pass computes two

S is the number of keys with which a query is compared: the whole context, or the window. Causal attention skips half of
these keys, but the convention counts all of them. Of a mixture of experts, only those that compute a token count.
"""

from __future__ import annotations

from llm.model.config import GPTConfig
from llm.model.cost.counts import Trained, parameters
from llm.model.layer_kinds import layer_kind


def forward_flops(config: GPTConfig, context: int | None = None, *, pairs: bool = False) -> int:
    """FLOPs per token of the forward pass, for texts of `context` tokens (default: the context of the model)."""
    count, S = parameters(config, used=True, pairs=pairs), context or config.context
    # Embedding tables are looked up, not multiplied. The head is multiplied, also when it is tied to the embedding.
    N = count.non_embedding + (count.embedding if config.tied_head else 0)
    keys = sum(min(S, layer_kind(config, layer).window or S) for layer in range(config.layers))  # of all layers
    return 2 * N + 4 * config.heads * config.head_size * keys * (3 if pairs else 1)


def training_flops(
    config: GPTConfig,
    context: int | None = None,
    *,
    recompute: bool = False,
    trained: Trained | None = None,
    pairs: bool = False,
) -> int:
    """FLOPs per token of a training step, forward and backward. `recompute`: with activation checkpointing.

    `trained`: what is trained; None: everything.
    """
    forward, head = forward_flops(config, context, pairs=pairs), 2 * config.vocab_size * config.dim
    again = forward - head if recompute else 0  # the blocks are computed again, the head is not
    if trained is None:
        return 3 * forward + again
    # The gradients of vectors are computed down to the lowest layer with something to train, and those of matrices only
    # for what is trained.
    reached = 1 - trained.frozen_layers / config.layers
    of_matrices = min(forward, 2 * trained.numbers)
    return forward + round(reached * (forward + again)) + of_matrices + 2 * trained.added
