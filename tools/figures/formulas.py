"""The bytes of the recorded steps by formulas, those of docs/PARALLEL.md: of all ranks together.

Letters: n ranks, P parameters, m micro-batches, B rows, T tokens, C width, V vocabulary, L layers; the numbers are of 4
bytes. llm/parallel/plan/traffic.py counts the same for a single rank, and for more kinds of models. The bytes of data
ranks, with ZeRO 0 to 3, have their formula there.
"""

from __future__ import annotations

import math

from llm.model.config import GPTConfig
from llm.parallel.plan.split import Split
from llm.parallel.plan.traffic import rank_traffic
from llm.parallel.shapes import parameter_shapes
from tools.figures.steps import CONTEXT, ROWS, Step

NUMBER, EXPERT = 4, 8  # bytes: of a number; of the number of an expert


def parameters(config: GPTConfig, where: str = "") -> int:
    """How many numbers the parameters have whose names begin in this way."""
    return sum(math.prod(shape) for name, shape in parameter_shapes(config) if name.startswith(where))


def data_bytes(step: Step, zero: int) -> int:
    """Reduce-scatter of gradients, all-gather of sums or weights; with ZeRO also of one norm of each rank."""
    n = step.ranks
    split = Split(data=n, rows=ROWS // (n * step.micro_batches), zero=zero)
    return sum(rank_traffic(step.config, split, ROWS, CONTEXT, NUMBER, (0, rank, 0)).data for rank in range(n))


def tensor_bytes(step: Step, *, sequence: bool = False) -> int:
    """An all-reduce is two halves. Four of x in each layer, one of the embeddings, one of the head's gradient."""
    n, L, C, tokens = step.ranks, step.config.layers, step.config.dim, ROWS * CONTEXT
    halves = 2 * (4 * L + 2) * tokens * C + 2 * 4 * tokens  # the last: the maximum of each row, and three sums
    if sequence:
        halves += 2 * tokens * C + 2 * 4 * L * C  # tokens are collected after the layers; two norms a layer
    return NUMBER * (n - 1) * halves


def experts_bytes(step: Step, away: int) -> int:
    """`away`: how many pairs of a token and its expert are on different ranks, which the router decides."""
    n, C, k, tokens = step.ranks, step.config.dim, step.config.experts_per_token, ROWS * CONTEXT
    attention_and_head = 2 * ((2 * step.config.layers + 2) * tokens * C + 4 * tokens)
    collected = step.config.layers * (tokens * C + tokens * (C + k))
    return NUMBER * (n - 1) * (attention_and_head + collected) + away * (4 * NUMBER * C + EXPERT)


def pipeline_bytes(step: Step) -> int:
    """x to the next stage, its gradient back; the gradient of the tied embedding once each way."""
    x = ROWS * CONTEXT * step.config.dim  # of all micro-batches together
    return NUMBER * (2 * (step.ranks - 1) * x + 2 * step.config.vocab_size * step.config.dim)


def context_bytes(step: Step) -> int:
    """Keys and values go around forward; with their gradients backward, which then go home; gradients are added up."""
    n, config = step.ranks, step.config
    keys = ROWS * config.key_heads * CONTEXT * config.head_size  # those of all ranks
    passes = 2 * (n - 1) + 4 * (n - 1) + 2
    return NUMBER * (config.layers * passes * keys + 2 * (n - 1) * parameters(config))


def away(step: Step) -> int:
    """Of a recorded step with experts: before the tokens, each rank sends the numbers of the experts they are for."""
    return sum(
        event.sent // EXPERT
        for events in step.events
        for event in events
        if event.name == "all-to-all" and len(event.shape) == 1
    )
