"""detect_anomaly names where the first NaN or inf arose; debug_arrays stops writes into arrays that are still
needed.
"""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, debug_arrays, detect_anomaly, nn
from minigrad.debug import AnomalyError
from minigrad.fused.record import record_fused
from minigrad.lazy import LazyGradient
from minigrad.modes import mode
from minigrad.tensor import record
from tests.minigrad.strategies import choices

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's own about log(-1) and the like


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


# ---- detect_anomaly --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: mg.log(x - 3.0), "nan in the forward of 'log': its inputs were finite"),
        (
            lambda x: mg.exp(x * 1000.0),
            r"inf in the forward of 'exp': its inputs were finite \(input 0 in \[1000, 2000\]\)",
        ),
        (lambda x: x / (x - 1.0), "inf in the forward of 'div': its inputs were finite"),
        (
            lambda x: x * np.array([1.0, np.nan]),
            r"nan in the forward of 'mul': input 1 of shape \(2,\) already held nan",
        ),
    ],
)
@pytest.mark.parametrize("recorded", [True, False])
def test_the_forward_op_is_named(f, message, recorded):
    with detect_anomaly(), pytest.raises(AnomalyError, match=message):
        f(Tensor(np.array([1.0, 2.0]), requires_grad=recorded))


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (
            lambda x: mg.sqrt(x - 1.0),
            "inf in the backward of 'sqrt', in the gradient of input 0: the gradient that came in was finite",
        ),
        (
            lambda x: mg.rsqrt(x * 1e-220),
            "inf in the backward of 'rsqrt', in the gradient of input 0: the gradient that came in was finite",
        ),
        (
            lambda x: record(x.data + 0, (x,), lambda g, out: (g * np.nan,)) * 2.0,
            "nan in the backward of '<lambda>', in the gradient of input 0: the gradient that came in was finite",
        ),
    ],
)
def test_the_backward_op_is_named(f, message):
    x = leaf(1.0, 2.0)
    with detect_anomaly():
        try:
            y = f(x).sum()
        except AnomalyError:
            pytest.fail("the forward is finite")
        with pytest.raises(AnomalyError, match=message):
            y.backward()


def test_where_gradients_are_recorded_the_op_inside_the_rule_is_named():
    with detect_anomaly():
        y = mg.sqrt(leaf(0.0, 1.0)).sum()
        with pytest.raises(AnomalyError, match="inf in the forward of 'div' inside the backward of 'sqrt'"):
            y.backward(create_graph=True)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (
            lambda x: x + 1.0,
            "nan in the backward of 'add', in the gradient of input 0: nan came in with the gradient of its result",
        ),
        (
            lambda x: x * 2.0,
            "nan in the backward of 'mul', in the gradient of input 0: nan came in with the gradient of its result",
        ),
    ],
)
def test_a_nan_that_is_given_to_backward_is_told_from_one_that_arises(f, message):
    with detect_anomaly(), pytest.raises(AnomalyError, match=message):
        f(leaf(1.0, 2.0)).backward(grad=np.array([np.nan, 1.0]))


def fused(x, y):
    """x * y with an infinite, deferred gradient of y."""

    def vjp(g, needs):
        return g * y.data, LazyGradient(y.data, lambda out: np.multiply(g, np.inf, out=out))

    return record_fused(x.data * y.data, (x, y), vjp, lambda x, y: x * y)


def test_fused_and_deferred_gradients_are_looked_at():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with detect_anomaly():
        out = fused(x, y)
        with pytest.raises(AnomalyError, match="inf in the backward of 'fused', in the gradient of input 1"):
            out.backward(grad=np.ones(2))


def test_the_module_is_named_forward_and_backward():
    class Root(nn.Module):
        def forward(self, x):
            return mg.sqrt(x)

    class Block(nn.Module):
        def __init__(self):
            self.first, self.norm = nn.Linear(2, 2, bias=False), Root()

        def forward(self, x):
            return self.norm(self.first(x))

    class Model(nn.Module):
        def __init__(self):
            self.blocks = nn.ModuleList([Block(), Block()])

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    model = Model()
    for block in model.blocks:
        block.first.weight.data[...] = np.eye(2)
    with detect_anomaly():
        with pytest.raises(AnomalyError, match=r"nan in the forward of 'sqrt' in module 'blocks\.0\.norm'"):
            model(Tensor([-1.0, 1.0]))
        model.blocks[1].first.weight.data[...] = [[0.0, 0.0], [0.0, 1.0]]
        y = model(Tensor([1.0, 4.0])).sum()
        with pytest.raises(AnomalyError, match=r"in the backward of 'sqrt' in module 'blocks\.1\.norm'"):
            y.backward()


def test_inside_a_checkpoint_the_recomputed_op_is_named():
    x = leaf(1.0, 4.0)
    with detect_anomaly():
        y = mg.checkpoint(lambda x: mg.sqrt(x - 1.0), x).sum()
        with pytest.raises(AnomalyError, match="in the backward of 'sqrt' inside the backward of 'checkpoint'"):
            y.backward()


def test_infinities_of_constants_are_meant_and_those_of_parameters_are_not():
    scores = leaf(1.0, 2.0)
    with detect_anomaly():
        masked = mg.where(np.array([True, False]), scores, -np.inf)
        (masked + Tensor(np.array([0.0, -np.inf]))).softmax().sum().backward()
        with pytest.raises(AnomalyError, match="inf in the forward of 'mul': input 0 of shape .* already held inf"):
            leaf(np.inf, 1.0) * 2.0
    assert np.isfinite(scores.grad.numpy()).all()


def test_what_is_finite_passes_with_the_same_gradients():
    x, y = leaf(0.5, 2.0), leaf(0.5, 2.0)
    with detect_anomaly():
        mg.layer_norm(x * 2.0).exp().sum().backward(create_graph=True)
    mg.layer_norm(y * 2.0).exp().sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-9, atol=1e-12)  # the reference's rounding
    assert mode.op_hook is None


def test_integers_and_booleans_are_looked_over():
    with detect_anomaly():
        assert (Tensor(np.array([1, 2])) + 1).numpy().tolist() == [2, 3]


def test_only_this_thread_and_only_inside_the_block():
    quiet = []

    def other():
        quiet.append(mg.log(Tensor(-1.0)).item())

    with detect_anomaly():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    mg.log(Tensor(-1.0))
    assert np.isnan(quiet).all()
    assert len(quiet) == 1


# ---- debug_arrays ----------------------------------------------------------------------------------------------------


def test_a_write_into_an_input_or_result_is_caught_at_the_write():
    array = np.array([1.0, 2.0])
    x = Tensor(array, requires_grad=True)
    with debug_arrays():
        y = x.exp()
        for saved in (array, x.data, y.data):
            with pytest.raises(ValueError, match="read-only"):
                saved[0] = 7.0
            with pytest.raises(ValueError, match="read-only"):
                saved *= 2.0
        y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1.0, 2.0]), rtol=1e-15)


def test_negative_control_without_it_the_gradient_is_silently_wrong():
    array = np.array([1.0, 2.0])
    x = Tensor(array, requires_grad=True)
    y = (x * x).sum()
    array[0] = 7.0
    y.backward()
    assert x.grad.numpy().tolist() == [14.0, 4.0]


def test_arrays_are_unlocked_as_the_graph_is_freed():
    x = leaf(1.0, 2.0)
    with debug_arrays():
        y = x.exp()
        y.sum().backward()
        x.data[0] = 5.0
        y.data[0] = 5.0
        z = x * x
        del z  # a graph that nobody went back through frees its arrays as well
        x.data[0] = 6.0
        kept = (x * x).sum()
        kept.backward(retain_graph=True)
        with pytest.raises(ValueError, match="read-only"):
            x.data[0] = 7.0
    x.data[0] = 7.0  # the end of the block unlocks the rest
    assert kept.node is not None


def test_what_a_view_looks_at_is_locked_too():
    flat = np.arange(6.0)
    parameter = Tensor(flat[2:4], requires_grad=True)
    other = Tensor(flat[4:], requires_grad=True)
    with debug_arrays():
        y, z = parameter * 2.0, other * 2.0
        for array in (flat, parameter.data, other.data):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1.0
        y.sum().backward()
        with pytest.raises(ValueError, match="read-only"):
            flat[0] = 1.0  # `other` is still needed
        z.sum().backward()
        flat[2:] = 9.0
        parameter.data[0] = 8.0
    assert flat.tolist() == [0.0, 1.0, 8.0, 9.0, 9.0, 9.0]


def test_what_was_read_only_before_stays_so():
    x = Tensor(np.broadcast_to(np.array([1.0]), (3,)), requires_grad=True)
    with debug_arrays():
        (x * 2.0).sum().backward()
    assert not x.data.flags.writeable
    assert x.data.base.flags.writeable


def test_what_is_not_recorded_is_not_locked():
    x = Tensor(np.array([1.0]))
    y = leaf(1.0)
    with debug_arrays():
        x * 2.0
        with mg.no_grad():
            y * 2.0
        x.data[0] = y.data[0] = 3.0


def test_a_training_step_runs_inside_both():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    optimizer = mg.optim.SGD(model.parameters(), lr=0.1)
    before = model[0].weight.data.copy()
    with debug_arrays(), detect_anomaly(), debug_arrays(), detect_anomaly():
        for _ in range(2):
            optimizer.zero_grad()
            mg.cross_entropy(model(Tensor(np.ones((2, 3), np.float32))), np.array([0, 1])).backward()
            optimizer.step()
    assert mode.op_hook is None
    assert not np.array_equal(model[0].weight.data, before)


@given(choices(), st.integers(1, 6))
def test_any_use_leaves_every_array_as_writable_as_it_was(c, steps):
    owner = c.generator().standard_normal(12)
    tensors = [
        Tensor(view, requires_grad=True)
        for view in (owner, owner[::2], owner.reshape(3, 4), owner[1:7], owner[1:7][::-1])
    ]
    results = []
    with debug_arrays():
        for _ in range(steps):
            x = c.pick(tensors)
            results.append((x.reshape(-1)[:2] * x.reshape(-1)[-2:]).sum())
            if c.flag():
                results.pop(c.integer(0, len(results) - 1)).backward()
    with debug_arrays():
        results.append(tensors[0].sum())
    gc.collect()
    assert all(x.data.flags.writeable for x in tensors)
    owner[0] = 1.0


def test_an_error_inside_unlocks_everything():
    x = leaf(1.0)
    y = x
    with pytest.raises(ValueError, match="read-only"), debug_arrays():
        np.exp(x.data, out=(y := x * x).data)
    x.data[0] = 2.0
    y.data[0] = 2.0
    assert mode.op_hook is None
