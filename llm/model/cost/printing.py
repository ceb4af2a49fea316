"""Parameters, FLOPs and memory of a model as a table to be printed."""

from __future__ import annotations

from typing import Any

from llm.model.config import GPTConfig
from llm.model.cost.counts import parameters
from llm.model.cost.flops import forward_flops, training_flops
from llm.model.cost.memory import cache_bytes, training_memory
from minigrad.profiler.table import size


def table(config: GPTConfig, batch_size: int = 1, context: int | None = None, itemsize: int = 4, **how: Any) -> str:
    """A table of parameters, FLOPs and memory, to be printed. `how`: the other arguments of `training_memory`."""
    context = context or config.context
    pairs, trained, recompute = bool(how.get("pairs")), how.get("trained"), bool(how.get("recompute"))
    memory = training_memory(config, batch_size, context, itemsize, **how)
    counts, used = parameters(config, pairs=pairs), parameters(config, used=True, pairs=pairs).total
    forward = forward_flops(config, context, pairs=pairs)
    training = training_flops(config, context, recompute=recompute, trained=trained, pairs=pairs)
    per_text, per_token = cache_bytes(config, context, 1, itemsize), cache_bytes(config, 1, 1, itemsize)
    optimizer = "Muon" if how.get("muon") else "AdamW"
    setting = f"batch {batch_size} x {context} tokens, {8 * itemsize}-bit numbers, {optimizer}"
    rows = [
        ("parameters", f"{counts.total:,}", f"{counts.non_embedding:,} without embeddings"),
        *([("  trained", f"{trained.numbers:,}", f"{trained.numbers / counts.total:.1%}")] if trained else []),
        *([("  used by a token", f"{used:,}", f"{used / counts.total:.1%}")] if config.experts else []),
        *((f"  {name}", f"{n:,}", f"{n / counts.total:.1%}") for name, n in vars(counts).items() if n),
        ("FLOPs a token", f"{training:.3g}", f"{forward:.3g} of them forward"),
        ("memory, training", size(memory.total), setting),
        *((f"  {name}", size(n), f"{n / memory.total:.1%}") for name, n in vars(memory).items()),
        ("KV cache", size(per_text), f"{size(per_token)} a token"),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return "\n".join(f"{name:<{widths[0]}}  {value:>{widths[1]}}  {note}" for name, value, note in rows)
