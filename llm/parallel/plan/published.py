"""Published runs, and how far the plan is from them: tests and documentation compute the errors from here.

TABLE_1 is that of Narayanan et al. 2021 (arXiv 2104.04473): GPT models on A100 GPUs of 80 GB, 2048 tokens, V = 51200,
with activation recomputation. They report operations per second of a GPU, counted by their equation 3. The size of
micro-batches and the chunks are not in the paper. They are those of the script with which the authors ran the table:
examples/sc21/run_table_1.sh in the repository of Megatron-LM.

TABLE_5 is that of Korthikanti et al. 2022 (arXiv 2205.05198), with the sizes of their table 3 and the chunks of their
section 6: seconds of a step with all layers computed again, and with sequence parallelism and only attention weights
computed again. Its figures have no part in `efficiency`, which was chosen for TABLE_1 (one number for its ten rows).

What was compared: all numbers of both tables, each with the text of the paper, converted to Markdown by others and
found in public repositories, not with the PDF; the sizes in TABLE_1 also with the script; the formulas of memory.py
with table 2 of the second paper. None differed. `Machine`: 80 GB of an A100 and 25 GB/s between nodes (InfiniBand of
200 Gbit/s for each GPU) are in the second paper. Its other rates were not compared with anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from llm.model import cost
from llm.model.config import GPTConfig
from llm.parallel.plan.memory import MIXED
from llm.parallel.plan.search import Plan, plan_of
from llm.parallel.plan.split import Split
from llm.parallel.plan.timing import Machine

# Gradients of 16 bits: 16 bytes for each parameter.
SELENE = Machine(attention_weights=True, scattered=True, precision=replace(MIXED, gradient=2))
V, T = 51200, 2048


class Run(NamedTuple):
    billions: float
    heads: int
    dim: int
    layers: int
    tensor: int
    pipeline: int
    gpus: int
    batch_size: int
    teraflops: float  # of a GPU
    rows: int
    chunks: int = 1

    @property
    def config(self) -> GPTConfig:
        return GPTConfig(vocab_size=V, context=T, layers=self.layers, heads=self.heads, dim=self.dim)


# fmt: off
TABLE_1 = (
    Run(   1.7,  24,  2304,  24, 1,  1,   32,  512, 137, 16),
    Run(   3.6,  32,  3072,  30, 2,  1,   64,  512, 138, 16),
    Run(   7.5,  32,  4096,  36, 4,  1,  128,  512, 142, 16),
    Run(  18.4,  48,  6144,  40, 8,  1,  256, 1024, 135,  8),
    Run(  39.1,  64,  8192,  48, 8,  2,  512, 1536, 138,  4),
    Run(  76.1,  80, 10240,  60, 8,  4, 1024, 1792, 140,  2, 3),
    Run( 145.6,  96, 12288,  80, 8,  8, 1536, 2304, 148,  2, 2),
    Run( 310.1, 128, 16384,  96, 8, 16, 1920, 2160, 155,  1, 2),
    Run( 529.6, 128, 20480, 105, 8, 35, 2520, 2520, 163,  1, 3),
    Run(1008.0, 160, 25600, 128, 8, 64, 3072, 3072, 163,  1),
)


class Timed(NamedTuple):
    name: str
    heads: int
    dim: int
    layers: int
    pipeline: int  # with 8 tensor ranks, and one data rank
    batch_size: int
    rows: int
    chunks: int
    recomputed: float  # seconds of a step
    sequence: float

    @property
    def config(self) -> GPTConfig:
        return GPTConfig(vocab_size=V, context=T, layers=self.layers, heads=self.heads, dim=self.dim)


TABLE_5 = (
    Timed( "22B",  64,  6144,  48,  1,   4, 4, 1,  1.42,  1.10),
    Timed("175B",  96, 12288,  96,  8,  64, 1, 3, 18.13, 13.75),
    Timed("530B", 128, 20480, 105, 35, 280, 1, 3, 49.05, 37.83),
    Timed(  "1T", 160, 25600, 128, 64, 512, 1, 1, 94.42, 71.49),
)
# fmt: on


def plan_of_run(run: Run) -> Plan:
    data = run.gpus // (run.tensor * run.pipeline)
    split = Split(data, run.tensor, run.pipeline, run.rows, run.chunks, recompute=True)
    return plan_of(run.config, split, run.batch_size, T, SELENE)


def teraflops(run: Run, plan: Plan) -> float:
    """As the paper counts: with the forward pass of all layers computed twice."""
    flops = cost.training_flops(run.config, T, recompute=True) * run.batch_size * T
    return flops / plan.time.total / run.gpus / 1e12


def errors_of_table_1() -> list[tuple[Run, float, float]]:
    """Each run, the predicted teraflops of a GPU, and the relative error."""
    found = [(run, teraflops(run, plan_of_run(run))) for run in TABLE_1]
    return [(run, predicted, predicted / run.teraflops - 1) for run, predicted in found]


def errors_of_table_5() -> Iterator[tuple[Timed, bool, float, float]]:
    """Each run, whether all is recomputed, the predicted seconds of a step, and the relative error."""
    for run in TABLE_5:
        split = Split(1, 8, run.pipeline, run.rows, run.chunks)
        for recompute, seconds in ((True, run.recomputed), (False, run.sequence)):
            way = replace(split, recompute=recompute, sequence=not recompute)
            predicted = plan_of(run.config, way, run.batch_size, T, SELENE).time.total
            yield run, recompute, predicted, predicted / seconds - 1


if __name__ == "__main__":
    for run, predicted, error in errors_of_table_1():
        print(f"{run.billions:7.1f}B  published {run.teraflops:5.0f}  predicted {predicted:5.1f} TFLOP/s  {error:+.1%}")
    for each, recompute, predicted, error in errors_of_table_5():
        seconds = each.recomputed if recompute else each.sequence
        how = "recomputed" if recompute else "sequence parallel"
        print(f"{each.name:>5} {how:<18} published {seconds:6.2f}  predicted {predicted:6.2f} s  {error:+.1%}")
