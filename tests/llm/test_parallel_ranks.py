"""Data parallelism over ranks, which are threads here: the same gradient, loss and metrics as in one process."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.evaluation.loss import Validation, evaluate
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.data import reduction
from llm.parallel.data.ranks import Ranks
from llm.parallel.data.reduction import Reduction, buckets_of
from llm.parallel.zero.kinds import sharded
from llm.training.objectives import NextToken
from llm.training.step import train_step
from minigrad.graph import leaf_uses
from minigrad.optim import AdamW, clip_grad_norm
from minigrad.optim.flat import even_slices
from minigrad.tensor import Tensor
from tests.llm.steps import EXACT, assert_close, gradients, model_and_optimizer, random_batch, workers_of

SHAPES = st.sampled_from([{}, {"tied_head": False}, {"dropout": 0.3}, {"kv_heads": 1, "dropout": 0.2}])


def on_ranks(size: int, f: Callable[[Ranks, Any], Any], count: int = 1, bucket: int = 100, **shape: Any) -> list[Any]:
    """`f(workers, optimizer)` on each rank, all with the same first weights."""

    def run(world: Communicator) -> Any:
        model, optimizer = model_and_optimizer(**shape)
        reduces = Reduction([each.flat for each in optimizer.groups], world, bucket)
        workers = Ranks(model, NextToken(), count, reduces)
        try:
            return f(workers, optimizer)
        finally:
            workers.close()

    return run_ranks(size, run)


@given(
    size=st.integers(1, 4),
    count=st.integers(1, 2),
    micro_batches=st.integers(1, 3),
    bucket=st.sampled_from([1, 100, 10**6]),
    recompute=st.booleans(),
    shape=SHAPES,
    seed=st.integers(0, 99),
)
def test_ranks_compute_the_loss_and_the_gradient_of_one_process(
    size: int, count: int, micro_batches: int, bucket: int, recompute: bool, shape: dict, seed: int
) -> None:
    batch = random_batch(seed, rows=5)

    def accumulate(workers: Any, optimizer: Any) -> tuple:
        workers.model.recompute = recompute
        loss = workers.accumulate(batch, micro_batches=micro_batches, seed=(seed, 7))
        return loss, gradients(workers.model)

    model, optimizer = model_and_optimizer(**shape)
    with workers_of(model, 1) as workers:
        expected_loss, expected = accumulate(workers, optimizer)
    for loss, found in on_ranks(size, accumulate, count, bucket, **shape):
        assert loss == pytest.approx(expected_loss, rel=1e-12)
        assert_close(found, expected)


@given(size=st.integers(2, 3), bucket=st.sampled_from([1, 300]))
def test_all_ranks_have_the_same_bits_every_time(size: int, bucket: int) -> None:
    def three_steps(workers: Ranks, optimizer: Any) -> bytes:
        for step in range(3):
            train_step(workers, optimizer, random_batch(step, rows=4), lr=0.01, clip=0, seed=(1, step))
        return b"".join(group.flat.data.tobytes() for group in optimizer.groups)

    found = on_ranks(size, three_steps, count=2, bucket=bucket, dropout=0.1)
    assert {*found, *on_ranks(size, three_steps, count=2, bucket=bucket, dropout=0.1)} == {found[0]}


def test_a_parameter_that_only_one_rank_uses_gets_its_gradient_on_all() -> None:
    def use(world: Communicator) -> tuple:
        model, optimizer = model_and_optimizer()
        reduction = Reduction([each.flat for each in optimizer.groups], world, bucket=1)
        optimizer.groups[0].flat.grad[...] = np.nan  # old numbers, which must not be sent
        reduction.begin()
        if world.rank == 1:
            p = model.blocks[0].mlp.up.weight
            p.accumulate(np.ones(p.shape))
        reduction.finish()
        return gradients(model)

    for found in run_ranks(2, use):
        assert {name: array.tolist() for name, array in found.items()} == {
            "blocks.0.mlp.up.weight": np.ones((32, 8)).tolist()
        }


def test_buckets_are_sent_while_the_backward_pass_goes_on() -> None:
    """Those of the last layers are on their way before the gradient of the first layer is complete."""

    def sent_at_the_end(workers: Ranks, optimizer: Any) -> tuple[int, int]:
        finish, at_the_end = workers.reduction.finish, []
        workers.reduction.finish = lambda: at_the_end.append(workers.reduction._sent) or finish()  # type: ignore
        workers.accumulate(random_batch(0, rows=4))
        return at_the_end[0], len(workers.reduction.buckets)

    for sent, buckets in on_ranks(2, sent_at_the_end):
        assert sent == buckets > 5


@given(
    bounds=st.lists(st.integers(0, 50), min_size=2, max_size=5).map(sorted), piece=st.integers(1, 20)
)  # fmt: skip
def test_pieces_are_short_and_together_the_parts(bounds: list[int], piece: int) -> None:
    parts = [slice(*ends) for ends in pairwise(bounds)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reduction, "PIECE", piece)
        found = list(reduction.pieces(parts))
    assert all(0 <= each.stop - each.start <= piece for message in found for each in message)
    for rank, part in enumerate(parts):
        assert [i for message in found for i in range(100)[message[rank]]] == list(range(100)[part])


@pytest.mark.parametrize("zero", range(4))
def test_a_long_bucket_is_sent_in_pieces_of_which_few_are_under_way(zero: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(reduction, "PIECE", 100)
    batch, most = random_batch(3, rows=4), []

    def rank(world: Communicator) -> dict:
        begin, under_way = world.begin_all_to_all, [0]

        def counted(*arguments: Any) -> Any:
            wait = begin(*arguments)
            under_way[0] += 1
            most.append(under_way[0])

            def end() -> Any:
                under_way[0] -= 1
                return wait()

            return end

        model, _ = model_and_optimizer()
        optimizer, reduces = sharded(
            zero, model, lambda kind: kind(AdamW)(model.named_trainable(), lr=0.1), world, 10**6
        )
        world.begin_all_to_all = counted  # type: ignore[method-assign]
        workers = Ranks(model, NextToken(), 1, reduces)
        train_step(workers, optimizer, batch, lr=0.1)
        workers.close()
        with optimizer.whole_parameters(changed=False):
            return {name: p.data.copy() for name, p in model.named_parameters()}

    model, _ = model_and_optimizer()
    with workers_of(model, 1) as workers:
        train_step(workers, AdamW(model.named_trainable(), lr=0.1), batch, lr=0.1)
    found = run_ranks(2, rank)[0]
    for name, p in model.named_parameters():
        np.testing.assert_allclose(found[name], p.data, rtol=1e-9, atol=1e-11)  # AdamW divides small gradients
    assert len(most) > 20 and max(most) == reduction.UNDER_WAY


@given(size=st.integers(1, 3))
def test_an_evaluation_is_divided_among_ranks_and_has_the_same_result(size: int) -> None:
    validation = Validation([random_batch(seed, rows=3) for seed in range(4)], bytes_per_token=1.5)
    model, _ = model_and_optimizer()
    with workers_of(model, 1) as workers:
        expected = evaluate(workers, validation)
    assert on_ranks(size, lambda workers, _: evaluate(workers, validation)) == [expected] * size


def test_bytes_sent_are_those_of_a_ring() -> None:
    """Each rank sends (n - 1) / n of the gradient twice: to the owners, and from the owner to all."""

    def sent(workers: Ranks, optimizer: Any) -> tuple[int, int]:
        workers.reduction.begin()
        workers.reduction.finish()
        return workers.group.sent, optimizer.groups[0].flat.grad.nbytes

    for size in (2, 4):
        total = [sum(column) for column in zip(*on_ranks(size, sent, bucket=1))]
        assert total[0] == 2 * (size - 1) * total[1] / size


@given(size=st.integers(0, 50), ranks=st.integers(1, 7))
def test_shards_are_the_whole_and_nearly_equal(size: int, ranks: int) -> None:
    parts = even_slices(size, ranks)
    assert [i for part in parts for i in range(size)[part]] == list(range(size))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1


@given(size=st.integers(1, 2000))
def test_buckets_are_the_whole_in_order(size: int) -> None:
    flat = model_and_optimizer()[1].groups[0].flat
    buckets = buckets_of(flat, size)
    assert [p for bucket in buckets for p in bucket.parameters] == flat.parameters
    assert [buckets[0].start, *(bucket.stop for bucket in buckets)] == [*(b.start for b in buckets), flat.data.size]
    assert all(bucket.stop - bucket.start >= size for bucket in buckets[:-1])


def test_each_use_of_a_leaf_in_a_graph_is_counted() -> None:
    a, b = (Tensor(np.ones(2), requires_grad=True) for _ in range(2))
    c = a * a
    d = c + b + a
    uses = leaf_uses(d.sum())
    assert {leaf: len(numbers) for leaf, numbers in uses.items()} == {a: 3, b: 1}
    assert uses[a][0] != uses[a][-1] and min(uses[a]) == c.node.number


@pytest.mark.control
def test_without_the_reduction_the_gradient_is_another() -> None:
    batch = random_batch(3, rows=4)

    def accumulate(workers: Ranks, optimizer: Any) -> dict:
        workers.reduction.complete = lambda parameter: None  # type: ignore[method-assign]
        workers.reduction.finish = lambda: None  # type: ignore[method-assign]
        workers.accumulate(batch)
        return gradients(workers.model)

    model, _ = model_and_optimizer()
    with workers_of(model, 1) as workers:
        workers.accumulate(batch)
    found = on_ranks(2, accumulate)[0]["blocks.0.mlp.up.weight"]
    assert not np.allclose(found, gradients(model)["blocks.0.mlp.up.weight"], **EXACT)


def test_the_norm_for_clipping_is_that_of_all_ranks() -> None:
    batch = random_batch(5, rows=4)
    model, optimizer = model_and_optimizer()
    with workers_of(model, 1) as workers:
        workers.accumulate(batch)
    expected = float(clip_grad_norm(optimizer, 0.1))

    def clipped(workers: Ranks, optimizer: Any) -> tuple[float, dict]:
        workers.accumulate(batch)
        return float(clip_grad_norm(optimizer, 0.1)), gradients(workers.model)

    for norm, found in on_ranks(2, clipped):
        assert norm == pytest.approx(expected, rel=1e-12)
        assert_close(found, gradients(model))
