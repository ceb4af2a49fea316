"""Stages of a pipeline compute what one process computes: the loss, each gradient, evaluations, initial weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.inference.generate import generate
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.mesh import Mesh
from llm.parallel.pipeline.executor import Pipeline
from llm.parallel.pipeline.split_stages import SplitStage
from llm.parallel.pipeline.stages import Stage
from llm.parallel.pipeline.timeline import needed_before
from llm.parallel.shapes import parameter_shapes
from llm.parallel.tensor.weights import split_state
from llm.parallel.threads import Threads
from llm.training.objectives import NextToken
from minigrad.modes import no_grad
from tests.llm.gpts import SEEDS, configs, random_gpt, token_ids

T = 5
Gradients = dict[str, np.ndarray]
# Both compute the same products. Only the order differs in which the gradients of micro-batches are added (gpipe), and
# those of a tied embedding: some units of 1e-16 of the largest.
NEARLY = 1e-12


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[GPTConfig, int, int, int, str]:
    """A model, and stages, chunks, micro-batches and a schedule for it."""
    stages, chunks = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    chunks = 1 if stages == 1 else chunks
    layers = draw(st.integers(max(2, stages * chunks), 6))
    config = draw(configs(layers=layers, dropout=draw(st.sampled_from([0.0, 0.3]))))
    micro_batches = draw(st.integers(1, 4)) if chunks == 1 else stages * draw(st.integers(1, 2))
    return config, stages, chunks, micro_batches, draw(st.sampled_from(["gpipe", "1f1b"]))


def data(config: GPTConfig, seed: int, rows: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return token_ids(rng, rows, T), token_ids(rng, rows, T)


def whole_model(config: GPTConfig, seed: int) -> GPT:
    model = random_gpt(config, seed)
    model.train()
    return model


def in_one_process(model: GPT, batch: Any, micro_batches: int) -> tuple[float, Gradients]:
    workers = Threads(model, NextToken(), 1)
    loss = workers.accumulate(batch, micro_batches=micro_batches, seed=(3, 4))
    workers.close()
    return loss, {name: p.grad.data for name, p in model.named_parameters()}


def stages_of(model: GPT, group: Communicator, chunks: int = 1, order: Callable[[int], int] = int) -> list[Stage]:
    """The stages of a rank, with the weights of `model`."""
    weights = dict(model.named_parameters())
    stages = [
        Stage(model.config, group, rng=None, dtype=model.dtype, chunk=chunk, chunks=chunks) for chunk in range(chunks)
    ]
    for stage in stages:
        stage.train()
        stage.recompute = model.recompute
        for name, p in stage.named_parameters():
            p.data[...] = weights[name].data
    return stages


def in_stages(
    model: GPT, batch: Any, stages: int, chunks: int = 1, micro_batches: int = 1, schedule: str = "1f1b", kind=Pipeline
) -> tuple[float, list[Gradients]]:
    def rank(group: Communicator) -> tuple[float, Gradients]:
        own = stages_of(model, group, chunks)
        pipeline = kind(own, NextToken(), schedule)
        loss = pipeline.accumulate(batch, micro_batches=micro_batches, seed=(3, 4))
        return loss, {name: p.grad.data for stage in own for name, p in stage.named_parameters()}

    losses, gradients = zip(*run_ranks(stages, rank))
    assert len(set(losses)) == 1, "all ranks know the loss"
    return losses[0], list(gradients)


def check(wanted: tuple[float, Gradients], got: tuple[float, list[Gradients]]) -> None:
    np.testing.assert_allclose(got[0], wanted[0], rtol=NEARLY)
    names = [name for gradients in got[1] for name in gradients]
    assert set(names) == wanted[1].keys()
    for gradients in got[1]:
        for name, gradient in gradients.items():
            size = np.abs(wanted[1][name]).max()
            np.testing.assert_allclose(gradient, wanted[1][name], rtol=NEARLY, atol=NEARLY * size, err_msg=name)


@settings(max_examples=12)
@given(pipelines(), SEEDS, st.booleans())
def test_loss_and_every_gradient_are_those_of_one_process(case: tuple, seed: int, recompute: bool) -> None:
    config, stages, chunks, micro_batches, schedule = case
    model, batch = whole_model(config, seed), data(config, seed)
    model.recompute = recompute
    wanted = in_one_process(model, batch, micro_batches)
    check(wanted, in_stages(model, batch, stages, chunks, micro_batches, schedule))


MIXTURE = GPTConfig(
    vocab_size=13, context=8, layers=4, heads=2, dim=8, experts=4, experts_per_token=2, balance_loss=0.5, dropout=0.2
)


@pytest.mark.parametrize("by_layer", [False, True])
def test_the_balancing_loss_of_experts_is_that_of_all_layers_of_all_stages(by_layer: bool) -> None:
    model = whole_model(replace(MIXTURE, balance_by_layer=by_layer, dense_layers=(1,)), 5)
    batch = data(model.config, 6)
    check(in_one_process(model, batch, 2), in_stages(model, batch, 3, micro_batches=2))


def test_gradients_are_added_to_those_that_are_there() -> None:
    model, batch = whole_model(replace(MIXTURE, experts=None), 1), data(MIXTURE, 2)

    def rank(group: Communicator) -> Gradients:
        (stage,) = stages_of(model, group)
        pipeline = Pipeline([stage], NextToken())
        for _ in range(2):
            pipeline.accumulate(batch, micro_batches=2, seed=(3, 4))
        return {name: p.grad.data for name, p in stage.named_parameters()}

    loss, once = in_one_process(model, batch, 2)
    check((loss, {name: 2 * g for name, g in once.items()}), (loss, run_ranks(2, rank)))


@given(configs(layers=3), st.integers(1, 3), SEEDS)
@settings(max_examples=15)
def test_a_seed_draws_the_weights_of_the_whole_model(config: GPTConfig, stages: int, seed: int) -> None:
    whole = dict(GPT(config, seed).named_parameters())
    assert list(parameter_shapes(config)) == [(name, p.shape) for name, p in whole.items()]
    parts = run_ranks(stages, lambda group: dict(Stage(config, group, seed).named_parameters()))
    assert {name for part in parts for name in part} == whole.keys()
    assert all(np.array_equal(p.data, whole[name].data) for part in parts for name, p in part.items())


@given(configs(layers=3), st.integers(1, 3), SEEDS)
@settings(max_examples=15)
def test_evaluation_and_generation_return_on_all_ranks_what_one_process_returns(
    config: GPTConfig, stages: int, seed: int
) -> None:
    model, (ids, targets) = random_gpt(config, seed), data(config, seed, rows=2)

    def results(model: GPT) -> tuple[np.ndarray, np.ndarray, list]:
        with no_grad():
            loss, logits = model.loss(ids, targets).data, model(ids).data
        return loss, logits, list(generate(model, list(ids[0]), max_tokens=4))

    def rank(group: Communicator) -> Any:
        (stage,) = stages_of(model, group)
        stage.eval()
        return results(stage)

    wanted = results(model)
    for got in run_ranks(stages, rank):
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(a, b)


def test_each_action_is_measured_once_and_begins_when_its_input_has_come() -> None:
    model, batch = whole_model(replace(MIXTURE, experts=None), 1), data(MIXTURE, 2)

    def rank(group: Communicator) -> list:
        pipeline = Pipeline(stages_of(model, group), NextToken())
        pipeline.accumulate(batch, micro_batches=3)
        return pipeline.timeline()

    first, second = run_ranks(2, rank)
    assert first == second and len(first) == 2 * 2 * 3
    spans = {(span.rank, span.action): span for span in first}
    for (number, action), span in spans.items():
        assert span.begin <= span.end
        # The clocks of the ranks begin after a barrier, which they leave at nearly the same time.
        assert all(spans[need].begin < span.end + 0.5 for need in needed_before(number, action, 2))


def test_the_bytes_sent_are_those_of_activations_gradients_and_the_tied_embedding() -> None:
    model, batch = whole_model(replace(MIXTURE, experts=None), 1), data(MIXTURE, 2)

    def rank(group: Communicator) -> int:
        pipeline = Pipeline(stages_of(model, group), NextToken())
        pipeline.accumulate(batch, micro_batches=3)
        return pipeline.sent

    activations, tied = 6 * T * 8 * 8, 13 * 8 * 8  # rows x tokens x dim x 8 bytes; vocabulary x dim x 8 bytes
    assert run_ranks(3, rank) == [activations + tied, 2 * activations, activations + tied]


# --- refusals and negative controls -----------------------------------------------------------------------------------


def test_more_stages_than_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="4 layers cannot be divided among 5 stages"):
        run_ranks(5, lambda group: Stage(MIXTURE, group))


class Twice(NextToken):
    def loss_sum(self, model: GPT, batch: Any) -> Any:
        return super().loss_sum(model, batch) + super().loss_sum(model, batch)


class Never(NextToken):
    def loss_sum(self, model: GPT, batch: Any) -> Any:
        return next(model.parameters()).sum()


@pytest.mark.parametrize(("objective", "sentence"), [(Twice, "more than once"), (Never, "does not call the model")])
def test_an_objective_that_has_no_stages_is_refused(objective: type, sentence: str) -> None:
    model, batch = whole_model(replace(MIXTURE, experts=None), 1), data(MIXTURE, 2)
    with pytest.raises(TypeError, match=sentence):
        run_ranks(2, lambda group: Pipeline(stages_of(model, group), objective()).accumulate(batch))


class WithoutTied(Pipeline):
    def _add_tied_gradients(self, *arguments: Any) -> None: ...


class Scaled(Pipeline):
    """Divides by the number of micro-batches too, as if each had computed a mean."""

    def _accumulate_all(self, micro_batches: Any) -> float:
        smaller = [[one._replace(divisor=one.divisor * len(micro_batches))] for (one,) in micro_batches]
        return super()._accumulate_all(smaller)


@pytest.mark.control
@pytest.mark.parametrize("kind", [WithoutTied, Scaled])
def test_a_missing_sum_or_a_wrong_scale_is_noticed(kind: type[Pipeline]) -> None:
    model, batch = whole_model(replace(MIXTURE, experts=None), 1), data(MIXTURE, 2)
    wanted = in_one_process(model, batch, 3)
    with pytest.raises(AssertionError):
        check(wanted, in_stages(model, batch, 2, micro_batches=3, kind=kind))


@pytest.mark.control
def test_swapped_layers_are_noticed() -> None:
    model, batch = whole_model(replace(MIXTURE, experts=None), 1), data(MIXTURE, 2)
    wanted = in_one_process(model, batch, 1)
    first, last = model.blocks[0], model.blocks[3]
    for a, b in zip(first.parameters(), last.parameters()):
        a.data, b.data = b.data, a.data
    with pytest.raises(AssertionError):
        check(wanted, in_stages(model, batch, 2))


# --- with tensor parallelism ------------------------------------------------------------------------------------------

SPLIT = GPTConfig(vocab_size=13, context=8, layers=3, heads=4, kv_heads=2, dim=8, dropout=0.2, positions="rope")


@pytest.mark.parametrize("change", [{}, {"tied_head": False, "bias": False}, {"experts": 3, "balance_loss": 0.5}])
@pytest.mark.parametrize("sequence", [False, True])
def test_stages_whose_layers_are_split_compute_what_one_process_computes(change: dict, sequence: bool) -> None:
    model = whole_model(replace(SPLIT, **change), 1)
    sequence = sequence and model.config.experts is None
    batch, config = data(model.config, 2), model.config
    weights = {name: p.data for name, p in model.named_parameters()}
    loss, wanted = in_one_process(model, batch, 2)

    def rank(world: Communicator) -> tuple[float, int, Gradients]:
        mesh = Mesh(world, tensor=2, pipeline=2)
        stage = SplitStage(config, mesh.pipeline, mesh.tensor, rng=None, dtype=np.float64, sequence=sequence)
        stage.train()
        parts = split_state(config, weights, mesh.tensor_rank, 2)
        for name, p in stage.named_parameters():
            p.data[...] = parts[name]
        found = Pipeline([stage], NextToken()).accumulate(batch, micro_batches=2, seed=(3, 4))
        return found, mesh.tensor_rank, {name: p.grad.data for name, p in stage.named_parameters()}

    for found, tensor_rank, gradients in run_ranks(4, rank):
        assert found == pytest.approx(loss, rel=NEARLY)
        parts = split_state(config, wanted, tensor_rank, 2)
        check((loss, {name: parts[name] for name in gradients}), (loss, [gradients]))


def test_a_seed_draws_the_weights_of_split_stages_too() -> None:
    whole = {name: p.data for name, p in GPT(SPLIT, 5).named_parameters()}

    def rank(world: Communicator) -> bool:
        mesh = Mesh(world, tensor=2, pipeline=2)
        parts = split_state(SPLIT, whole, mesh.tensor_rank, 2)
        stage = SplitStage(SPLIT, mesh.pipeline, mesh.tensor, 5)
        return all(np.array_equal(p.data, parts[name]) for name, p in stage.named_parameters())

    assert all(run_ranks(4, rank))
