"""A captured function does its work when the graph is launched, on what its arrays hold then.

On the stand-in, which refuses in a capture what CUDA and CuPy refuse, or under the mark `gpu` on CuPy.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.cuda.graph import capture
from minigrad.cuda.products import matmul
from minigrad.fused.functions import layer_norm
from tests import fake_cupy


@given(seed=st.integers(0, 2**32), launches=st.integers(0, 3))
def test_a_graph_computes_what_the_function_computes(cupy, seed, launches):
    """With a kernel, a product, operations, an index, and an array that is changed in place."""
    rng = np.random.default_rng(seed)
    x, w, total = rng.standard_normal((4, 3)), rng.standard_normal((3, 3)), np.zeros((2, 3))
    x_there, w_there, total_there = (cupy.asarray(a) for a in (x, w, total))
    rows = cupy.asarray([2, 0])

    def work():
        h = layer_norm(matmul(x_there, w_there), w_there[0], w_there[1]).data
        total_there[...] += h[rows]
        return h.sum() + 1

    graph, first = capture(work)
    batches = [x, *rng.standard_normal((launches, 4, 3))]
    for batch in batches[1:]:
        x_there[...] = cupy.asarray(batch)
        fake_cupy.reset()
        graph.launch()
        assert fake_cupy.launches in (["graph"], [])
    for batch in batches:
        h = layer_norm(batch @ w, w[0], w[1]).data
        total += h[[2, 0]]
    np.testing.assert_allclose(total_there.get(), total, atol=1e-12)
    np.testing.assert_allclose(float(first), layer_norm(x @ w, w[0], w[1]).data.sum() + 1, atol=1e-12)
    if launches:
        np.testing.assert_allclose(float(graph.result), h.sum() + 1, atol=1e-12)


def test_capturing_does_the_work_once(cupy):
    count = cupy.zeros(1)

    def work():
        count[...] += 1

    graph, _ = capture(work)
    assert float(count[0]) == 1
    graph.launch()
    assert float(count[0]) == 2


@pytest.mark.parametrize("what", ["wait", "upload", "product of CuPy"])
def test_what_a_graph_cannot_have_is_refused(cupy, what):
    a = cupy.ones((2, 2))
    work = {
        "wait": lambda: float(a.sum()),
        "upload": lambda: a + cupy.asarray(np.ones(2)),
        "product of CuPy": lambda: a @ a,
    }[what]
    with pytest.raises(Exception, match="apture|cuBLAS"):
        capture(work)
    assert float((a + 1).sum()) == 8  # and afterwards everything works again
