"""The grid of ranks: each rank finds the others of its groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.mesh import Mesh, complete

sizes = st.integers(1, 2)


@settings(max_examples=8)
@given(data=sizes, tensor=st.integers(1, 3), pipeline=sizes)
def test_the_groups_are_the_lines_of_a_grid(data: int, tensor: int, pipeline: int) -> None:
    grid = np.arange(data * tensor * pipeline).reshape(pipeline, data, tensor)

    def members(world: Communicator) -> list[list[int]]:
        mesh = Mesh(world, data=data, tensor=tensor, pipeline=pipeline)
        groups = [mesh.pipeline, mesh.data, mesh.tensor]
        assert [mesh.pipeline_rank, mesh.data_rank, mesh.tensor_rank] == [group.rank for group in groups]
        return [[int(each[0]) for each in group.all_gather(np.array([world.rank]))] for group in groups]

    for rank, found in enumerate(run_ranks(grid.size, members)):
        p, d, t = np.argwhere(grid == rank)[0]
        assert found == [grid[:, d, t].tolist(), grid[p, :, t].tolist(), grid[p, d, :].tolist()]


def test_what_is_not_given_is_derived_from_the_number_of_ranks() -> None:
    assert complete(12, None, tensor=2, pipeline=3) == (2, 2, 3)
    assert complete(12, None, None, None) == (12, 1, 1)
    assert complete(12, 3, None, None) == (3, 4, 1)
    assert complete(12, 3, 2, None) == (3, 2, 2)


@pytest.mark.parametrize(
    ("ranks", "data", "tensor", "pipeline"), [(4, 3, 1, 1), (4, None, 3, 1), (4, 4, 2, 1), (2, 0, 1, 1), (8, 2, 2, 1)]
)
def test_a_split_that_does_not_fit_is_refused(ranks: int, data: int | None, tensor: int, pipeline: int) -> None:
    with pytest.raises(ValueError, match=f"{ranks} ranks cannot be split into .*{tensor} .tensor. x {pipeline}"):
        complete(ranks, data, tensor, pipeline)


def test_a_group_of_one_rank_returns_what_it_is_given_and_sends_nothing() -> None:
    alone, array = Mesh.alone().world, np.ones(3)
    assert alone.all_reduce(array) is alone.reduce_scatter([array]) is alone.all_gather(array)[0] is array
    assert alone.broadcast(array) is array and alone.all_to_all([array])[0] is array
    alone.send(array, 0)
    assert alone.receive(0, (3,), float) is array
    assert alone.sent == 0
