"""Data and tensor parallelism together, with ZeRO: the weights after some steps are those of one process."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.data.ranks import Ranks
from llm.parallel.mesh import Mesh
from llm.parallel.model_part import ModelPart
from llm.parallel.shapes import parameter_shapes
from llm.parallel.tensor.gpt import SplitGPT
from llm.parallel.tensor.weights import gather_state
from llm.parallel.zero.kinds import sharded
from llm.training.objectives import NextToken
from llm.training.step import train_step
from minigrad.optim import Optimizer
from tests.llm.steps import OPTIMIZERS, T, V, optimizer_of, random_batch, workers_of


def train(workers: Any, optimizer: Optimizer, micro_batches: int) -> list[float]:
    """Losses of some steps, without clipping, which would hide a wrong scale."""
    steps = (
        train_step(workers, optimizer, random_batch(n, 6), lr=0.01, clip=0, micro_batches=micro_batches, seed=(1, n))
        for n in range(3)
    )
    return [step.loss for step in steps]


@settings(max_examples=5)
@given(
    data=st.integers(1, 3), context=st.integers(2, 3), zero=st.integers(0, 3), micro_batches=st.integers(1, 2),
    window=st.sampled_from([None, 2]), recompute=st.booleans(), name=OPTIMIZERS,
)  # fmt: skip
def test_weights_are_those_of_one_process_if_ranks_divide_the_tokens(
    data: int, context: int, zero: int, micro_batches: int, window: int | None, recompute: bool, name: str
) -> None:
    config = GPTConfig(
        vocab_size=V, context=T, layers=2, heads=4, kv_heads=2, dim=8, dropout=0.2, positions="rope", window=window
    )
    whole = GPT(config, rng=1, dtype=np.float64)
    with workers_of(whole, 1) as workers:
        expected = train(workers, optimizer_of(whole, name), micro_batches)

    def run(world: Communicator) -> tuple[list[float], dict[str, np.ndarray]]:
        mesh = Mesh(world, data=data, context=context)
        model = ModelPart(mesh, config).make(1, np.float64)
        model.recompute = recompute
        optimizer, reduction = sharded(
            zero, model, partial(optimizer_of, model, name), mesh.data, 100, ModelPart(mesh, config)
        )
        workers = Ranks(model, NextToken(), 1, reduction, same_rows=context)
        losses = train(workers, optimizer, micro_batches)
        workers.close()
        with optimizer.whole_parameters(changed=False):  # on the first rank
            return losses, {key: array.copy() for key, array in model.state_dict().items()}

    results = run_ranks(data * context, run)
    assert all(losses == pytest.approx(expected, rel=1e-10) for losses, _ in results)
    for _, state in results if zero < 3 else results[:1]:
        for key, array in state.items():
            np.testing.assert_allclose(array, whole.state_dict()[key], rtol=1e-6, atol=1e-9, err_msg=key)


@settings(max_examples=5)
@given(
    data=st.integers(1, 2), tensor=st.sampled_from([2, 4]), zero=st.integers(0, 3), sequence=st.booleans(),
    micro_batches=st.integers(1, 2), kv_heads=st.sampled_from([1, 2, 4]), tied=st.booleans(),
    name=OPTIMIZERS,
)  # fmt: skip
def test_weights_after_some_steps_are_those_of_one_process(
    data: int, tensor: int, zero: int, sequence: bool, micro_batches: int, kv_heads: int, tied: bool, name: str
) -> None:
    config = GPTConfig(
        vocab_size=V, context=T, layers=2, heads=4, kv_heads=kv_heads, dim=8, dropout=0.2, tied_head=tied, qk_norm=True
    )
    whole = GPT(config, rng=1, dtype=np.float64)
    with workers_of(whole, 1) as workers:
        expected = train(workers, optimizer_of(whole, name), micro_batches)

    def run(world: Communicator) -> tuple[list[float], dict[str, np.ndarray]]:
        mesh = Mesh(world, data=data, tensor=tensor)
        model = SplitGPT(config, mesh.tensor, rng=1, dtype=np.float64, sequence=sequence)
        optimizer, reduction = sharded(
            zero, model, partial(optimizer_of, model, name), mesh.data, 100, ModelPart(mesh, config)
        )
        workers = Ranks(model, NextToken(), 1, reduction)
        losses = train(workers, optimizer, micro_batches)
        workers.close()
        shapes = dict(parameter_shapes(config))
        with optimizer.whole_parameters(changed=False):  # on the first data-parallel rank
            return losses, dict(gather_state(config, shapes, model.state_dict(), mesh.tensor))

    results = run_ranks(data * tensor, run)
    assert all(losses == pytest.approx(expected, rel=1e-10) for losses, _ in results)
    for _, state in results if zero < 3 else results[:1]:
        for key, array in state.items():  # on the first rank of each tensor group
            # AdamW divides by the size of a gradient, which may be tiny: so the differences grow.
            np.testing.assert_allclose(array, whole.state_dict()[key], rtol=1e-6, atol=1e-9, err_msg=key)
