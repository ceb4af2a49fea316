"""Work on flat arrays in several slices at once: the same bits as without, wherever the slices begin."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import Tensor
from minigrad.nn import Parameter
from minigrad.optim import SGD, AdamW, clip_grad_norm
from minigrad.optim.blocks import Parallel, run_serially
from tests.minigrad.helpers import seeds

SIZES = (70_000, 3, 40_000)  # more than a block, less than one, and blocks through which the slices cut


def in_slices(*fractions: float) -> Parallel:
    """Work done in slices that end at these fractions of the size, the last slice first."""

    def parallel(work: Callable[[slice], object], size: int) -> None:
        bounds = sorted({0, size, *(int(size * x) for x in fractions)})
        for start, stop in reversed(list(pairwise(bounds))):
            work(slice(start, stop))

    return parallel


def trained(kind: type, seed: int, parallel: Parallel) -> tuple[list[bytes], list[float]]:
    """The parameters and the norms of the gradients after two clipped steps."""
    rng = np.random.default_rng(seed)
    parameters = [Parameter(rng.standard_normal(n), np.float32) for n in SIZES]
    optimizer, norms = kind(parameters, lr=0.1, weight_decay=0.1), []
    for _ in range(2):
        for p in parameters:
            p.grad = Tensor(rng.standard_normal(p.shape, np.float32))
        norms.append(float(clip_grad_norm(optimizer, 1.0, parallel)))
        optimizer.step(parallel=parallel)
    return [p.data.tobytes() for p in parameters], norms


@given(st.sampled_from([SGD, AdamW]), seeds, st.lists(st.floats(0, 1), max_size=4))
def test_slices_change_no_bit(kind: type, seed: int, fractions: list[float]) -> None:
    assert trained(kind, seed, in_slices(*fractions)) == trained(kind, seed, run_serially)


@pytest.mark.control
def test_a_slice_that_is_left_out_is_noticed() -> None:
    def without_the_last_element(work: Callable[[slice], object], size: int) -> None:
        work(slice(0, size - (size > 100)))  # the few blocks of the norm are all there

    assert trained(AdamW, 1, without_the_last_element) != trained(AdamW, 1, run_serially)
