"""What a training run would need, without creating the model: `train.py --dry-run`.

The time is a prediction. It measures the rate of a matrix product on this machine, in operations per second. A training
step reaches about half of that rate (UTILISATION). The operations of a step (llm/model/cost.py), divided by that half,
are its time.
"""

from __future__ import annotations

import time

import numpy as np

from llm.model import cost
from llm.parallel.selection import processes_are_faster
from llm.runs.options import Options
from llm.training.setup import worker_count
from minigrad.backend import pick_device, to_device

UTILISATION = 0.5  # the rate of training steps, as a fraction of that of a large matrix product: benchmarks/RESULTS.md


def describe_dry_run(options: Options) -> str:
    """A table of sizes and memory, and the predicted time of a step and of all steps."""
    training, model = options.training, options.model
    device = pick_device(training.device)
    # Memory is needed for one micro-batch at a time: the rows of a batch divided by their number, rounded up.
    lines = [cost.table(model, batch_size=-(-training.batch_size // training.micro_batches))]
    count, parameters = worker_count(training, device), cost.parameters(model).total
    if processes_are_faster(parameters, count):
        memory = cost.size(count * parameters * 4)
        lines.append(f"processes  {memory} more: a copy of the weights, and a gradient for each process but the first")
    tokens = training.batch_size * model.context
    flops = cost.training_flops(model) * tokens
    rate = matmul_rate(device)
    seconds = flops / (rate * UTILISATION)
    lines += [
        f"step       {tokens:,} tokens, {flops:.3g} floating-point operations",
        f"time       about {seconds:.3g} s a step, {_duration(seconds * training.steps)} for {training.steps:,} "
        f"steps, at {UTILISATION:.0%} of the {rate / 1e9:,.0f} GFLOP/s that a matrix product reaches here now",
    ]
    return "\n".join(lines)


def matmul_rate(device: str = "cpu", size: int = 1024, rounds: int = 5) -> float:
    """Floating-point operations per second of a float32 matrix product; the best of several rounds."""
    a = to_device(np.ones((size, size), np.float32), device)
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        float((a @ a)[0, 0])  # reading a number waits for a GPU
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
