"""A frozen layer must become another one, by an update of rank r: how near can it come, and how near does it come?

Run it from the root of the repository: python -m docs.course.experiments.14_adapters
"""

import numpy as np

from llm.model.adapters.attach import Switch
from llm.model.adapters.lora import Update, add_updates, first_factors, scale_of
from minigrad import Tensor
from minigrad.nn import Linear
from minigrad.optim import AdamW
from minigrad.optim.schedules import warmup_cosine
from tools.figures import chart

N, STEPS, ALPHA = 32, 400, 8
rng = np.random.default_rng(14)
weight = rng.standard_normal((N, N))
change = rng.standard_normal((N, 4)) @ rng.standard_normal((4, N)) / 4 + 0.1 * rng.standard_normal(
    (N, N)
)  # nearly rank 4
singular = np.linalg.svd(change, compute_uv=False)


def adapted(rank):
    """The layer with an update of this rank. The weight itself is frozen."""
    layer = Linear(N, N, bias=False, rng=rng, dtype=np.float64)
    layer.weight.data[...] = weight
    layer.weight.requires_grad = False
    factors = first_factors(np.random.default_rng(rank), rank, (N, N))
    update = Update("layer", slice(0, N), scale_of(rank, ALPHA, rslora=False), factors, np.float64)
    add_updates(layer, [update], 0.0, Switch())
    return layer, update


def train(rank):
    """The squared distance from the wanted layer, after training on all unit vectors."""
    layer, update = adapted(rank)
    optimizer, x = AdamW([update.A, update.B], weight_decay=0), Tensor(np.eye(N))
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = ((layer(x) - Tensor((weight + change).T)) ** 2).sum()
        loss.backward()
        if step < 2 and rank == 1:
            lengths = [np.linalg.norm(p.grad.data).round(1) for p in (update.A, update.B)]
            print(f"step {step}: the gradients of A and B have the lengths {lengths[0]} and {lengths[1]}")
        optimizer.step(lr=warmup_cosine(step, lr=0.03, warmup_steps=10, total_steps=STEPS))
    return loss.item()


print(f"singular values of the change: {singular[:6].round(1)}; all weights {N * N}")
RANKS = range(1, 9)
curves = {"possible": [], "reached": []}
for rank in RANKS:
    possible, reached = (singular[rank:] ** 2).sum() / (singular**2).sum(), train(rank) / (singular**2).sum()
    curves["possible"].append(round(possible, 3))
    curves["reached"].append(round(reached, 3))
    print(f"rank {rank}: {2 * N * rank:4} weights are trained; distance possible {possible:.3f}, reached {reached:.3f}")


def figure() -> str:
    points = {name: list(zip(RANKS, curve)) for name, curve in curves.items()}
    axes = {
        "x": ("rank of the update", range(9)),
        "y": ("share of the change that is missing", (0, 0.25, 0.5, 0.75, 1)),
    }
    return chart.draw("What an update of low rank can reach", points, **axes, dotted=("reached",))
