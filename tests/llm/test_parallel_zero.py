"""ZeRO: what is divided over ranks takes less memory on each, and the weights are those of one process."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.evaluation.loss import Validation, evaluate
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.data.ranks import Ranks
from llm.parallel.zero.kinds import sharded
from llm.training.objectives import NextToken
from llm.training.step import train_step
from tests.llm.steps import EXACT, OPTIMIZERS, model_and_optimizer, optimizer_of, random_batch, workers_of

LEVELS = st.sampled_from([0, 1, 2, 3])
STEPS = 3


def steps(workers: Any, optimizer: Any, first: int = 0, rows: int = 6, **settings: Any) -> list[tuple[float, float]]:
    """Losses and norms of some steps."""
    results = [
        train_step(workers, optimizer, random_batch(step, rows=rows), lr=0.01, seed=(1, step), **settings)
        for step in range(first, first + STEPS)
    ]
    return [(result.loss, result.grad_norm) for result in results]


def sharded_workers(
    world: Communicator, zero: int, bucket: int, count: int = 1, name: str = "adamw", **shape: Any
) -> tuple[Ranks, Any]:
    model, _ = model_and_optimizer(**shape)
    optimizer, reduction = sharded(zero, model, partial(optimizer_of, model, name), world, bucket)
    return Ranks(model, NextToken(), count, reduction), optimizer


@given(
    size=st.integers(1, 4),
    zero=LEVELS,
    micro_batches=st.integers(1, 3),
    count=st.integers(1, 2),
    bucket=st.sampled_from([1, 200, 10**6]),
    clip=st.sampled_from([0.0, 0.3]),
    shape=st.sampled_from([{}, {"tied_head": False, "dropout": 0.2}, {"kv_heads": 1}]),
    name=OPTIMIZERS,
)
def test_steps_and_saved_states_are_those_of_one_process(
    size: int, zero: int, micro_batches: int, count: int, bucket: int, clip: float, shape: dict, name: str
) -> None:
    count, rows = (1, 12) if zero == 3 else (count, 5)

    def train(world: Communicator) -> tuple:
        workers, optimizer = sharded_workers(world, zero, bucket, count, name, **shape)
        found = steps(workers, optimizer, micro_batches=micro_batches, clip=clip, rows=rows)
        workers.close()
        with optimizer.whole_parameters(changed=False):
            weights = workers.model.state_dict(copy=False)
        return found, weights if world.rank == 0 or zero < 3 else None, optimizer.state_dict()

    model, _ = model_and_optimizer(**shape)
    optimizer = optimizer_of(model, name)
    with workers_of(model, 1) as workers:
        expected = steps(workers, optimizer, micro_batches=micro_batches, clip=clip, rows=rows)
    results = run_ranks(size, train)
    for found, weights, _ in results:
        # AdamW divides by the size of a gradient, which may be tiny: so the differences grow.
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        for name, p in model.named_parameters() if weights else ():
            np.testing.assert_allclose(weights[name], p.data, rtol=1e-6, atol=1e-9, err_msg=name)
    state, wanted = results[0][2], optimizer.state_dict()
    assert state.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(state[name], wanted[name], rtol=1e-6, atol=1e-12, err_msg=name)


@settings(max_examples=5)
@given(size=st.integers(2, 3), other=st.integers(1, 3), zero=LEVELS, next_zero=LEVELS, name=OPTIMIZERS)
def test_a_state_is_loaded_by_any_other_split(size: int, other: int, zero: int, next_zero: int, name: str) -> None:
    def begin(world: Communicator) -> tuple:
        workers, optimizer = sharded_workers(world, zero, 100, name=name)
        steps(workers, optimizer)
        with optimizer.whole_parameters(changed=False):
            return workers.model.state_dict(copy=False), optimizer.state_dict()

    weights, state = run_ranks(size, begin)[0]

    def go_on(world: Communicator) -> list:
        workers, optimizer = sharded_workers(world, next_zero, 100, name=name)
        with optimizer.whole_parameters(changed=True):
            workers.model.load_state_dict(weights)
        optimizer.load_state_dict(state)
        return steps(workers, optimizer, first=STEPS)

    model, _ = model_and_optimizer()
    optimizer = optimizer_of(model, name)
    with workers_of(model, 1) as workers:
        steps(workers, optimizer)
        expected = steps(workers, optimizer, first=STEPS)
    for found in run_ranks(other, go_on):
        np.testing.assert_allclose(found, expected, rtol=1e-8)


# What is not in a block stays whole with --zero 3: here the embedding, the positions and a norm.
OUTSIDE = sum(p.size for name, p in model_and_optimizer()[0].named_parameters() if "blocks" not in name)
OUTSIDE_SHARE = OUTSIDE / model_and_optimizer()[0].num_parameters()


@pytest.mark.parametrize(
    ("zero", "parts"), [(0, 4.0), (1, 2 + 2 / 4), (2, 1 + 3 / 4), (3, OUTSIDE_SHARE + 1 / 4 + 3 / 4)]
)
def test_a_rank_holds_only_its_share(zero: int, parts: float) -> None:
    """In arrays of the size of all parameters: these, their gradients, and two moments."""

    def held(world: Communicator) -> float:
        workers, optimizer = sharded_workers(world, zero, 100)
        steps(workers, optimizer)
        (flats, moments) = zip(*((group.flat, group.moments) for group in optimizer.groups))
        arrays = [a for flat in flats for a in (flat.data, flat.grad)] + [m for each in moments for m in each]
        parameters = list(workers.model.parameters())
        own = [p.grad.data for p in parameters if p.grad is not None and p.grad_buffer is None]
        if zero == 3:  # the data of parameters that are not views of flat arrays; of those that are not there, 1 number
            own += [p.data for p in parameters if any(p.data.strides)]
        return sum(a.nbytes for a in arrays + own) / sum(p.data.nbytes for p in parameters)

    assert run_ranks(4, held) == [pytest.approx(parts, rel=1e-2)] * 4


@given(size=st.integers(1, 3), zero=LEVELS)
def test_an_evaluation_has_the_result_of_one_process(size: int, zero: int) -> None:
    validation = Validation([random_batch(seed, rows=3) for seed in range(4)])
    model, _ = model_and_optimizer()
    with workers_of(model, 1) as workers:
        expected = evaluate(workers, validation)
    assert (
        run_ranks(size, lambda world: evaluate(sharded_workers(world, zero, 100)[0], validation)) == [expected] * size
    )


def test_zero_3_sends_the_parameters_of_blocks_forward_and_backward() -> None:
    def sent(world: Communicator) -> tuple[int, int, int]:
        workers, optimizer = sharded_workers(world, 3, bucket=100)
        optimizer.zero_grad()
        workers.accumulate(random_batch(0, rows=4))
        sizes = {name: p.data.nbytes for name, p in workers.model.named_parameters()}
        return (
            optimizer._gathering.sent,
            sum(sizes[n] for n in sizes if ".0." in n),
            sum(sizes[n] for n in sizes if ".1." in n),
        )

    total, first, last = (sum(column) / 4 for column in zip(*run_ranks(4, sent)))
    # The mean of a rank: it has a quarter already. The last block is still there when the backward pass begins.
    assert total == 3 / 4 * (2 * first + last)


@pytest.mark.parametrize("zero", [0, 1, 2])
def test_all_kinds_send_as_many_bytes(zero: int) -> None:
    def sent(world: Communicator) -> tuple[int, int]:
        workers, optimizer = sharded_workers(world, zero, 100)
        before = world.sent
        optimizer.zero_grad()
        workers.accumulate(random_batch(0, rows=4))
        optimizer.step()
        return world.sent - before, sum(p.data.nbytes for p in workers.model.parameters())

    total, parameters = (sum(column) for column in zip(*run_ranks(4, sent)))
    assert total == 2 * 3 / 4 * parameters


@pytest.mark.control
def test_shards_that_are_not_gathered_are_noticed() -> None:
    def train(world: Communicator) -> np.ndarray:
        workers, optimizer = sharded_workers(world, 1, bucket=100)
        optimizer.share_update = lambda: None  # type: ignore[method-assign]
        steps(workers, optimizer)
        return optimizer.groups[0].flat.data

    first, second = run_ranks(2, train)
    assert not np.allclose(first, second, **EXACT)
