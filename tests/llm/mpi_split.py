"""A program for mpiexec: split models, compared with one process. Rank 0 prints the largest error of each, as JSON.

mpiexec -n 2 python -m tests.llm.mpi_split
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.mpi import Processes
from llm.parallel.context.gpt import ContextGPT
from llm.parallel.shards import shard
from llm.parallel.tensor.gpt import SplitGPT
from llm.parallel.tensor.weights import split_state
from tests.llm.split_models import batch, loss_and_gradients, trained_weights

PLAIN = GPTConfig(
    vocab_size=13, context=24, layers=2, heads=8, kv_heads=2, dim=16, mlp_dim=11, positions="rope", qk_norm=True,
    dropout=0.3, soft_cap=5.0,
)  # fmt: skip
MIXTURE = replace(PLAIN, experts=8, balance_loss=0.1, tied_head=False)
Gradients = dict[str, np.ndarray]


def tensor(config: GPTConfig, ranks: Communicator, expected: Gradients, *, sequence: bool) -> tuple[float, float]:
    """The loss, and the largest error of a gradient, relative to its largest element."""
    model = SplitGPT(config, ranks, rng=None, dtype=np.float64, sequence=sequence)
    model.load_state_dict(split_state(config, trained_weights(config, 1), ranks.rank, ranks.size))
    loss, found = loss_and_gradients(model, **batch(1, 2, 9))
    own = {name: shard(config, name, g.shape, ranks.rank, ranks.size) for name, g in expected.items()}
    assert found.keys() == {name for name, part in own.items() if part is not None}
    return loss, max(error(part, own[name].part(expected[name]), expected[name]) for name, part in found.items())


def context(config: GPTConfig, ranks: Communicator, expected: Gradients) -> tuple[float, float]:
    model = ContextGPT(config, ranks, rng=None, dtype=np.float64)
    model.load_state_dict(trained_weights(config, 1))
    loss, found = loss_and_gradients(model, **batch(1, 2, 9))
    total = float(ranks.all_reduce(np.array([loss]))[0])
    return total, max(error(ranks.all_reduce(g), expected[name], expected[name]) for name, g in found.items())


def error(found: np.ndarray, expected: np.ndarray, whole: np.ndarray) -> float:
    scale = np.abs(whole).max() or 1.0  # an expert that no token has chosen has a gradient of zeros
    return float(np.abs(found - expected).max() / scale)


def main() -> None:
    ranks, errors = Processes(), {}
    for name, config in {"plain": PLAIN, "mixture": MIXTURE}.items():
        whole = GPT(config, rng=None, dtype=np.float64)
        whole.load_state_dict(trained_weights(config, 1))
        loss, expected = loss_and_gradients(whole, **batch(1, 2, 9))
        found = {"tensor": tensor(config, ranks, expected, sequence=False)}
        if config is PLAIN:
            found["sequence"] = tensor(config, ranks, expected, sequence=True)
            found["context"] = context(config, ranks, expected)
        for kind, (found_loss, largest) in found.items():
            worst = max(ranks.exchange_objects([max(abs(found_loss / loss - 1), largest)] * ranks.size))
            errors[f"{kind} {name}"] = worst
    if ranks.rank == 0:
        print(json.dumps(errors))


if __name__ == "__main__":
    main()
