"""The plan says what a run takes: parameters and bytes sent to the byte, memory as the papers count it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.model import cost
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.presets import preset
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.mesh import Mesh
from llm.parallel.pipeline.executor import Pipeline
from llm.parallel.pipeline.split_stages import SplitStage
from llm.parallel.pipeline.stages import Stage
from llm.parallel.plan import published
from llm.parallel.plan.command import PlanOptions
from llm.parallel.plan.memory import FULL, layer_activations, mixed_bytes_per_token, rank_memory
from llm.parallel.plan.search import search
from llm.parallel.plan.split import Split, held, held_numbers
from llm.parallel.plan.timing import Machine
from llm.parallel.plan.traffic import rank_traffic
from llm.parallel.shapes import parameter_shapes
from llm.parallel.tensor.gpt import SplitGPT
from llm.runs.parsing import read_options
from llm.training.objectives import NextToken
from minigrad.profiler import profile
from tests.llm.gpts import configs, token_ids

T = 5


@given(configs())
def test_names_and_shapes_are_those_of_the_model(config: GPTConfig) -> None:
    found = [(name, p.shape) for name, p in GPT(config, rng=None).named_parameters()]
    assert list(parameter_shapes(config)) == found


@given(configs(layers=4), st.sampled_from([(1, 1), (2, 1), (3, 1), (2, 2)]))
@settings(max_examples=20)
def test_a_stage_holds_what_the_plan_says(config: GPTConfig, size: tuple[int, int]) -> None:
    pipeline, chunks = size
    split = Split(pipeline=pipeline, chunks=chunks)

    def rank(group: Communicator) -> list[tuple[str, Any]]:
        stages = [Stage(config, group, rng=None, chunk=chunk, chunks=chunks) for chunk in range(chunks)]
        return [(name, p.shape) for stage in stages for name, p in stage.named_parameters()]

    for stage, found in enumerate(run_ranks(pipeline, rank)):
        assert sorted(found) == sorted(held(config, split, stage))


MODEL = GPTConfig(vocab_size=13, context=8, layers=4, heads=4, kv_heads=2, dim=8, dropout=0.2, positions="rope")
CHANGES: list[dict[str, Any]] = [
    {},
    {"tied_head": False, "qk_norm": True, "bias": False},
    {"kv_heads": 1, "mlp": "swiglu"},
    {"parallel": True, "norm": "rmsnorm"},
    {"experts": 3, "experts_per_token": 2, "balance_loss": 0.1, "dense_layers": (1,)},
]


def sent(mesh: Mesh, pipeline: Pipeline, stage: SplitStage) -> tuple[int, int]:
    return pipeline.sent, stage.group.ranks.sent + stage.group.sharers.sent


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("tensor", "stages", "recompute", "sequence"),
    [(1, 3, False, False), (2, 1, True, False), (2, 2, False, False), (2, 2, True, True)],
)
def test_the_bytes_that_ranks_send_are_those_of_the_plan(
    change: dict[str, Any], tensor: int, stages: int, recompute: bool, sequence: bool
) -> None:
    config, sequence = replace(MODEL, **change), sequence and "experts" not in change
    rng = np.random.default_rng(1)
    batch = token_ids(rng, 6, T), token_ids(rng, 6, T)

    def rank(world: Communicator) -> tuple[int, int, int, int, int]:
        mesh = Mesh(world, tensor=tensor, pipeline=stages)
        stage = SplitStage(config, mesh.pipeline, mesh.tensor, rng=0, dtype=np.float64, sequence=sequence)
        stage.train()
        stage.recompute = recompute
        pipeline = Pipeline([stage], NextToken())
        before = sent(mesh, pipeline, stage)
        pipeline.accumulate(batch, micro_batches=3)
        own = sum(p.size for p in stage.parameters())
        a, b = np.subtract(sent(mesh, pipeline, stage), before)
        return mesh.pipeline_rank, mesh.tensor_rank, int(a), int(b), own

    split = Split(tensor=tensor, pipeline=stages, rows=2, recompute=recompute, sequence=sequence)
    for number, tensor_rank, of_pipeline, of_tensor, own in run_ranks(tensor * stages, rank):
        expected = rank_traffic(config, split, 6, T, 8, (number, 0, tensor_rank))
        assert (of_pipeline, of_tensor) == (expected.pipeline, expected.tensor)
        assert own == held_numbers(config, split, number, tensor_rank)


# --- memory, time, search ---------------------------------------------------------------------------------------------

GPT3 = GPTConfig(vocab_size=51200, context=2048, layers=96, heads=96, dim=12288)


@pytest.mark.parametrize(("tensor", "sequence", "stored", "formula"), [
    (1, False, True, lambda h, a, s, t: h * 34 + 5 * a * s),
    (8, False, True, lambda h, a, s, t: h * (10 + 24 / t) + 5 * a * s / t),
    (8, True, True, lambda h, a, s, t: h * 34 / t + 5 * a * s / t),
    (8, False, False, lambda h, a, s, t: h * (10 + 24 / t)),
    (8, True, False, lambda h, a, s, t: h * 34 / t),
])  # fmt: skip
def test_activations_of_a_layer_are_those_of_the_published_formulas(
    tensor: int, sequence: bool, stored: bool, formula: Any
) -> None:
    split = Split(tensor=tensor, sequence=sequence)
    expected = formula(GPT3.dim, GPT3.heads, 2048, tensor)
    assert mixed_bytes_per_token(GPT3, split, 2048, attention_weights=stored) == pytest.approx(expected, rel=1e-12)


@given(st.integers(1, 8), st.integers(1, 16), st.integers(1, 8))
def test_zero_divides_what_it_should(pipeline: int, data: int, micro_batches: int) -> None:
    batch_size = data * micro_batches
    of = [rank_memory(GPT3, Split(data, 1, pipeline, zero=zero), batch_size, 2048, FULL, stage=0) for zero in range(4)]
    n = held_numbers(GPT3, Split(pipeline=pipeline), 0)
    part, C = -(-n // data), GPT3.dim
    layer, outside = 12 * C**2 + 13 * C, (GPT3.vocab_size + GPT3.context) * C + (2 * C if pipeline == 1 else 0)
    head = GPT3.vocab_size * C if pipeline == 1 else 0  # the first stage of several has none
    assert [m.optimizer for m in of] == [8 * n, 8 * part, 8 * part, 8 * part]
    whole = head if pipeline == 1 else n  # a pipeline has all gradients whole until its last micro-batch is back
    assert [m.gradients for m in of] == [4 * n, 4 * n, 4 * (part + whole), 4 * (part + whole)]
    assert [m.weights for m in of] == [4 * n, 4 * n, 4 * n, 4 * (part + outside + layer)]


def test_gpt2_on_eight_ranks_with_zero_3_keeps_its_embedding_whole() -> None:
    memory = rank_memory(preset("gpt2"), Split(8, zero=3, recompute=True), 8, 1024, FULL)
    assert memory.weights / 1e6 == pytest.approx(
        124.44 * 4 / 8 + 39.38 * 4 + 7.09 * 4, rel=1e-3
    )  # part, outside, layer


@pytest.mark.parametrize("change", [
    {}, {"mlp": "swiglu", "kv_heads": 2, "norm": "rmsnorm"}, {"parallel": True},
    {"parallel": True, "shared_norm": True}, {"norm_position": "both"}, {"norm_position": "post"},
])  # fmt: skip
@pytest.mark.parametrize("sequence", [False, True])
def test_the_activations_of_a_split_layer_are_those_that_are_alive(change: dict[str, Any], sequence: bool) -> None:
    config = GPTConfig(vocab_size=32, context=16, heads=4, dim=64, layers=1, **change)
    one, three = (alive_after_forward(replace(config, layers=layers), 2, sequence) for layers in (1, 3))
    expected = layer_activations(config, Split(tensor=2, rows=4, sequence=sequence), 16, FULL, 0)
    # Mean and deviation of a token in each norm are not in the formula, nor is a causal mask.
    assert (three - one) / 2 == pytest.approx(expected, rel=0.02)


@pytest.mark.control
def test_without_sequence_parallelism_more_is_alive() -> None:
    found = [alive_after_forward(replace(MODEL, context=16, dim=64), 2, sequence) for sequence in (False, True)]
    assert found[1] < 0.95 * found[0]


def alive_after_forward(config: GPTConfig, tensor: int, sequence: bool) -> float:
    """Bytes of the graph of one of the tensor ranks, which are threads here: the profile sees them all."""
    ids, profiles = np.zeros((4, config.context), dtype=int), []

    def rank(group: Communicator) -> float:
        model = SplitGPT(config, group, sequence=sequence)
        model.loss(ids, ids)  # tables are there from now on
        group.barrier()
        with profile() if group.rank == 0 else nullcontext() as running:
            profiles.append(running)
            group.barrier()
            loss = model.loss(ids, ids)
            group.barrier()
            alive = sum(size for each in profiles if each for _, _, size in each.report().changes)
            group.barrier()
        del loss
        return alive / group.size

    return run_ranks(tensor, rank)[0]


@pytest.mark.parametrize("change", [{}, {"mlp": "swiglu", "kv_heads": 2, "tied_head": False}])
def test_memory_of_one_rank_is_that_of_the_dry_run(change: dict[str, Any]) -> None:
    config = GPTConfig(vocab_size=1000, context=64, layers=4, heads=4, dim=64, **change)
    found, wanted = rank_memory(config, Split(rows=4), 4, 64, FULL), cost.training_memory(config, 4, 64)
    assert (found.weights, found.gradients, found.optimizer) == (wanted.weights, wanted.gradients, wanted.optimizer)
    assert found.logits == wanted.logits
    assert found.activations == pytest.approx(wanted.activations, rel=0.02)  # the embeddings' dropout is left out


@given(st.sampled_from([8, 12, 32]), st.sampled_from([24, 64]), st.floats(10, 80))
@settings(max_examples=10)
def test_the_search_finds_what_fits_the_fastest_first(ranks: int, batch_size: int, memory: float) -> None:
    machine, config = Machine(memory=memory * 1e9), preset("gpt2-xl")
    plans = search(config, ranks, batch_size, 1024, machine)
    for plan in plans:
        plan.split.check(config, batch_size)
        assert plan.split.ranks == ranks and plan.memory.total <= 0.9 * machine.memory
    times = [plan.time.total for plan in plans]
    assert times == sorted(times)
    assert 0 < plans[0].of_peak(config, batch_size, 1024, machine) < machine.efficiency


def test_errors_beside_published_runs_stay_what_is_documented() -> None:
    # One number, the efficiency of matrix products, was chosen for the first table, and none for the second.
    of_table_1 = [abs(error) for _, _, error in published.errors_of_table_1()]
    of_table_5 = [abs(error) for *_, error in published.errors_of_table_5()]
    assert max(of_table_1) < 0.065 and np.mean(of_table_1) < 0.03
    assert max(of_table_5) < 0.16 and np.mean(of_table_5) < 0.10


@pytest.mark.parametrize("run", published.TABLE_1, ids=lambda run: f"{run.billions}B")
def test_published_sizes_of_models_are_those_of_the_formula(run: published.Run) -> None:
    assert cost.parameters(run.config).total / 1e9 == pytest.approx(run.billions, abs=0.06)  # they give one decimal
    L, h, s, B = run.layers, run.dim, published.T, run.batch_size
    operations = 96 * B * s * L * h**2 * (1 + s / (6 * h) + published.V / (16 * L * h))  # equation 3 of the paper
    found = cost.training_flops(run.config, s, recompute=True) * B * s
    assert found == pytest.approx(operations, rel=1e-3)  # theirs leaves out biases and norms
    assert published.plan_of_run(run).memory.total < published.SELENE.memory  # it did fit


@pytest.mark.control
def test_without_the_messages_of_tensor_ranks_a_published_run_is_missed() -> None:
    run = published.TABLE_1[3]
    plan = published.plan_of_run(run)
    faster = replace(plan, time=replace(plan.time, tensor=0.0))
    assert published.teraflops(run, faster) / run.teraflops - 1 > 0.08


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_draws_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["--preset", "llama2-7b", "--gpus", "64", "--batch-size", "256", "--picture", str(tmp_path / "p.png")]
    read_options(PlanOptions, arguments, program="plan").start()
    printed = capsys.readouterr().out
    assert "6,738,415,616 parameters" in printed and "--tensor-parallel" in printed
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


REFUSED = [
    (["--gpu-memory", "much"], "--gpu-memory much is not an amount"),
    (["--preset", "llama2-7b", "--gpus", "1"], "no split over 1 ranks fits"),
    (["--preset", "gpt2", "--gpus", "13", "--batch-size", "3"], "cannot be divided among 13 ranks"),
    (["--gpus", "0"], "--gpus must be at least 1"),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED)
def test_what_is_impossible_is_refused_in_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises((ValueError, SystemExit)) as caught:
        read_options(PlanOptions, arguments, program="plan").start()
    # A wrong option is printed in a box, in lines.
    told = " ".join((str(caught.value) + capsys.readouterr().err).replace("│", " ").split())
    assert sentence in told
