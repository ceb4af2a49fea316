"""Training steps, the update alone, products, attention and writing on a GPU, beside PyTorch; in some minutes.

    python -m benchmarks.gpu                        on a machine with a GPU, CuPy and PyTorch
    python -m benchmarks.gpu --parts products       one part only

It prints tables for RESULTS.md. PyTorch is as a user would write it: eager, scaled_dot_product_attention, fused AdamW;
in bf16 by autocast.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import tyro

from benchmarks import decode, machine
from benchmarks.comparison import Spread, parse_names, start_competitors, take_turns
from benchmarks.peers.decoding import WRITTEN
from benchmarks.peers.gpu import PRODUCTS
from benchmarks.task import DECODING, GPT2_124M, TRAINING, Device, Task
from llm.model.config import GPTConfig
from llm.model.cost import parameters, training_flops
from minigrad.backend import pick_device

CONFIGS = {"124m": (GPTConfig(**GPT2_124M, context=1024), 32), "smallest": TRAINING["smallest"]}
SIZES = {  # of parts that take others, whatever --config says
    "step-small": {name: TRAINING[name] for name in ("a", "b")},  # for which the host takes longer than the GPU
    "write": {name: (DECODING[name], 1) for name in ("124m", "384")},
}
PARTS = {
    "step": {
        "ours, float32": "ours:train",
        "ours, float32, captured": "gpu:captured_step",
        "torch, float32": "pytorch:train",
    },
    "step-bf16": {
        "ours": "gpu:step_in_bf16",
        "ours, captured": "gpu:captured_step_in_bf16",
        "torch, eager": "gpu_torch:step_in_bf16",
        "torch, compiled": "gpu_torch:compiled_step_in_bf16",
    },
    "step-small": {  # in float32
        "ours": "ours:train",
        "ours, captured": "gpu:captured_step",
        "torch, eager": "pytorch:train",
        "torch, compiled": "pytorch:train_compiled",
    },
    "update": {"ours": "gpu:update", "torch": "gpu_torch:update"},
    "products": {
        "CuPy, float32": "gpu:products_of_cupy",
        "ours, float32": "gpu:products_of_ours",
        "torch, float32": "gpu_torch:products",
        "ours, bf16, bias": "gpu:linear_in_bf16",
        "torch, bf16, bias": "gpu_torch:linear_in_bf16",
    },
    "attention": {
        "ours, float32": "gpu:attention_in_float32",
        "ours, bf16": "gpu:attention_in_bf16",
        "torch, bf16": "gpu_torch:attention_in_bf16",
    },
    "write": {  # one text; after each token but those of the third, the logits come to the host
        "ours": "ours:decode",
        "ours, captured": "writing:captured",
        "ours, captured, chosen on the GPU": "writing:captured_and_chosen",
        "torch, eager": "pytorch:decode",
        "torch, eager, fixed cache": "writing_torch:with_fixed_cache",
        "torch, captured, fixed cache": "writing_torch:captured",
    },
}
BYTES_OF_UPDATE = 4 * (1 + 2 + 7)  # of a parameter: read the gradient; scale it; AdamW reads p, g, m, v, writes p, m, v


@dataclass(frozen=True)
class Options(machine.Settings):
    """Measure on a GPU: training steps of GPT-2 124M with 32 texts of 1,024 tokens, the update, products, writing."""

    device: ClassVar[Device] = "cuda"
    rounds: int = 3
    """How many turns each library takes."""
    config: str = "124m"
    """Which model: 124m, or smallest (to test this program)."""
    parts: str = "step,step-bf16,step-small,update,products,attention,write,decode"
    """What to measure, separated by commas."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.gpu")
    parts, (name,) = (
        parse_names(options.parts, [*PARTS, "decode"], "--parts"),
        parse_names(options.config, CONFIGS, "--config"),
    )
    pick_device("cuda")  # raises an error where there is none
    threads, began = options.begin(), time.perf_counter()
    for part in parts:
        if part == "decode":
            text = decode.table([decode.compare(name, "write-1", threads, options)], header=False)
        else:
            sizes = SIZES.get(part, {name: CONFIGS[name]})
            text = "\n\n".join("\n".join(measure(part, each, size, threads, options)) for each, size in sizes.items())
        print(f"## {part}, after {time.perf_counter() - began:.0f} s\n\n{text}\n", flush=True)


def measure(part: str, name: str, size: tuple[GPTConfig, int], threads: int, options: Options) -> list[str]:
    """One part, for a model and a batch of this size, as lines of text."""
    config, batch = size
    settings, names = machine.environment(options.blas, threads), MEASURES.get(part, ["seconds"])
    with tempfile.TemporaryDirectory() as folder:
        Task(Path(folder), config, batch, threads, options.device).write(batches=2)
        with start_competitors(PARTS[part], Path(folder), settings) as (competitors, skipped):
            last = {each.name: each.measure(3)[-1] for each in competitors}
            losses = {each: found.get("loss", found.get("logit")) for each, found in last.items()}
            times = take_turns(competitors, options.rounds, options.seconds, names)
            lines = machine.describe([each.libraries for each in competitors], settings, threads, options.device)
            peaks = {each.name: each.peak for each in competitors}
    reasons = [f"{each} did not take part: {reason}" for each, reason in skipped.items()]
    if options.json:
        found = {"times": times, "losses": losses, "peaks": peaks, "machine": lines}
        return [json.dumps({"part": part, "config": name} | found)]
    table = TABLES[part](times, config, batch, losses, peaks)
    return [*lines, *reasons, f"Configuration {name}, batch {batch}:", "", *table]


def step_table(times: Any, config: GPTConfig, batch: int, losses: Any, peaks: Any) -> list[str]:
    tokens, rows = batch * config.context, []
    for name, rounds in times["seconds"].items():
        spread = Spread.of(rounds)
        rate, flops = tokens / spread.median, training_flops(config) * tokens / spread.median
        memory, loss = peaks[name] / 1e9, losses[name]
        rows.append(f"| {name} | {_ms(spread)} | {rate:,.0f} | {flops / 1e12:.0f} | {memory:.1f} | {loss:.4f} |")
    return ["| | ms | tokens/s | TFLOP/s | memory, GB | loss of step 3 |", "|---|---|---|---|---|---|", *rows]


def update_table(times: Any, config: GPTConfig, batch: int, losses: Any, peaks: Any) -> list[str]:
    count, rows = parameters(config).total, []
    for name, rounds in times["seconds"].items():
        spread = Spread.of(rounds)
        rows.append(f"| {name} | {_ms(spread)} | {count * BYTES_OF_UPDATE / spread.median / 1e9:,.0f} |")
    return ["| clipping and AdamW | ms | GB/s |", "|---|---|---|", *rows]


def product_table(times: Any, config: GPTConfig, batch: int, losses: Any, peaks: Any) -> list[str]:
    rows = []
    for name in next(iter(times.values()), {}):
        cells = []
        for what, (inside, outside) in PRODUCTS.items():
            flops = 2 * batch * config.context * inside(config) * outside(config)
            cells.append(f"{flops / Spread.of(times[what][name]).median / 1e12:.0f}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return [f"| TFLOP/s | {' | '.join(PRODUCTS)} |", "|---" * (1 + len(PRODUCTS)) + "|", *rows]


def attention_table(times: Any, config: GPTConfig, batch: int, losses: Any, peaks: Any) -> list[str]:
    # The operations of a product, half of which is hidden. There are 2 products in the forward pass, 5 in the other.
    one = config.heads * config.context**2 * config.head_size * batch
    rows = []
    for name in next(iter(times.values()), {}):
        spreads = [Spread.of(times[what][name]) for what in MEASURES["attention"]]
        rates = (products * one / spread.median / 1e12 for products, spread in zip((2, 7), spreads))
        rows.append(f"| {name} | {' | '.join(map(_ms, spreads))} | {', '.join(f'{rate:.0f}' for rate in rates)} |")
    return ["| | forward, ms | both passes, ms | TFLOP/s: forward, both |", "|---|---|---|---|", *rows]


def write_table(times: Any, config: GPTConfig, batch: int, losses: Any, peaks: Any) -> list[str]:
    rows = []
    for name, rounds in times["seconds"].items():
        each = Spread.of([seconds / WRITTEN for seconds in rounds])
        logit = "" if losses[name] is None else f"{losses[name]:.4f}"
        rows.append(f"| {name} | {_ms(each)} | {1 / each.median:,.0f} | {peaks[name] / 1e9:.1f} | {logit} |")
    return ["| | ms a token | tokens/s | memory, GB | mean of the largest logits |", "|---|---|---|---|---|", *rows]


def _ms(spread: Spread) -> str:
    return f"{1e3 * spread.median:.2f} [{1e3 * spread.least:.2f}, {1e3 * spread.most:.2f}]"


MEASURES = {"products": list(PRODUCTS), "attention": ["forward", "both passes"]}
STEPS = dict.fromkeys(("step", "step-bf16", "step-small"), step_table)
TABLES = STEPS | {"update": update_table, "products": product_table, "attention": attention_table, "write": write_table}

if __name__ == "__main__":
    machine.run(main, "benchmarks.gpu")
