"""Work on flat arrays that is shared among threads: the same bits as without, whatever the shares."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minigrad import Tensor
from minigrad.nn import Parameter
from minigrad.optim import SGD, AdamW, clip_grad_norm
from minigrad.optim.flat import alone

SIZES = (70_000, 3, 40_000)  # more than a block, less than one, and blocks that the shares cut


def cut(*shares: float) -> Callable:
    """Work done in parts, the last first."""

    def share(work: Callable, size: int) -> None:
        bounds = sorted({0, size, *(int(size * x) for x in shares)})
        for start, stop in reversed(list(pairwise(bounds))):
            work(slice(start, stop))

    return share


def trained(kind: type, seed: int, share: Callable) -> tuple[list[bytes], list[float]]:
    rng = np.random.default_rng(seed)
    parameters = [Parameter(rng.standard_normal(n), np.float32) for n in SIZES]
    optimizer, norms = kind(parameters, lr=0.1, weight_decay=0.1), []
    for _ in range(2):
        for p in parameters:
            p.grad = Tensor(rng.standard_normal(p.shape, np.float32))
        norms.append(float(clip_grad_norm(optimizer, 1.0, share)))
        optimizer.step(share=share)
    return [p.data.tobytes() for p in parameters], norms


@given(st.sampled_from([SGD, AdamW]), st.integers(0, 2**32 - 1), st.lists(st.floats(0, 1), max_size=4))
def test_shares_change_no_bit(kind: type, seed: int, shares: list[float]) -> None:
    assert trained(kind, seed, cut(*shares)) == trained(kind, seed, alone)


def test_a_part_that_is_left_out_is_noticed() -> None:
    """Negative control: the last element is never updated."""

    def careless(work: Callable, size: int) -> None:
        work(slice(0, size - (size > 100)))  # the few blocks of the norm are all there

    assert trained(AdamW, 1, careless) != trained(AdamW, 1, alone)
