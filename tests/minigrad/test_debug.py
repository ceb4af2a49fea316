"""detect_anomaly names the op where the first NaN or infinity arises; debug_arrays makes needed arrays read-only."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, debug_arrays, detect_anomaly, nn
from minigrad.debug import AnomalyError
from minigrad.fused.record import record_fused
from minigrad.gradcheck.choices import Choices
from minigrad.lazy import Gradient, LazyGradient
from minigrad.modes import mode
from minigrad.tensor import record
from tests.minigrad.helpers import leaf
from tests.minigrad.strategies import choices

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's warnings of log(-1) and the like

NAN_CONSTANT = np.array([1.0, np.nan])


def times_nan(x: Tensor) -> Tensor:
    """x + 0 with a rule that returns NaN."""
    return record(x.data + 0, (x,), lambda g, out: (g * np.nan,))


# --- detect_anomaly ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: mg.log(x - 3.0), "nan in the forward of 'log': its inputs were finite"),
        (lambda x: mg.exp(x * 1000.0), r"inf in the forward of 'exp': .* finite \(input 0 in \[1000, 2000\]\)"),
        (lambda x: x / (x - 1.0), "inf in the forward of 'div': its inputs were finite"),
        (lambda x: x * NAN_CONSTANT, r"nan in the forward of 'mul': input 1 of shape \(2,\) already held nan"),
    ],
)
@pytest.mark.parametrize("recorded", [True, False])
def test_the_forward_op_is_named(f: Callable[..., Tensor], message: str, recorded: bool) -> None:
    with detect_anomaly(), pytest.raises(AnomalyError, match=message):
        f(Tensor(np.array([1.0, 2.0]), requires_grad=recorded))


@pytest.mark.parametrize(
    ("f", "found", "op"),
    [
        (lambda x: mg.sqrt(x - 1.0), "inf", "sqrt"),
        (lambda x: mg.rsqrt(x * 1e-220), "inf", "rsqrt"),
        (lambda x: times_nan(x) * 2.0, "nan", "times_nan"),
    ],
)
def test_the_backward_op_is_named(f: Callable[..., Tensor], found: str, op: str) -> None:
    with detect_anomaly():
        y = f(leaf([1.0, 2.0])).sum()  # the forward is finite
        message = f"{found} in the backward of '{op}', in the gradient of input 0: the incoming gradient was finite"
        with pytest.raises(AnomalyError, match=message):
            y.backward()


def test_with_create_graph_the_op_inside_the_rule_is_named() -> None:
    with detect_anomaly():
        y = mg.sqrt(leaf([0.0, 1.0])).sum()
        with pytest.raises(AnomalyError, match="inf in the forward of 'div' inside the backward of 'sqrt'"):
            y.backward(create_graph=True)


@pytest.mark.parametrize(("f", "op"), [(lambda x: x + 1.0, "add"), (lambda x: x * 2.0, "mul")])
def test_a_nan_that_is_given_to_backward_is_told_from_one_that_arises(f: Callable[..., Tensor], op: str) -> None:
    message = f"nan in the backward of '{op}', in the gradient of input 0: nan came in with the gradient of its result"
    with detect_anomaly(), pytest.raises(AnomalyError, match=message):
        f(leaf([1.0, 2.0])).backward(grad=NAN_CONSTANT[::-1])


def fused(x: Tensor, y: Tensor) -> Tensor:
    """x * y with a lazy gradient of y that is infinite."""

    def vjp(g: Gradient, needs: tuple) -> tuple:
        return g * y.data, LazyGradient(y.data, lambda out: np.multiply(g, np.inf, out=out))

    return record_fused(x.data * y.data, (x, y), vjp, lambda x, y: x * y)


def test_fused_and_lazy_gradients_are_checked() -> None:
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    with detect_anomaly():
        out = fused(x, y)
        with pytest.raises(AnomalyError, match="inf in the backward of 'fused', in the gradient of input 1"):
            out.backward(grad=np.ones(2))


def test_the_module_is_named_forward_and_backward() -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return mg.sqrt(x)

    class Block(nn.Module):
        def __init__(self) -> None:
            self.first, self.norm = nn.Linear(2, 2, bias=False), Root()

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.first(x))

    class Model(nn.Module):
        def __init__(self) -> None:
            self.blocks = nn.ModuleList([Block(), Block()])

        def forward(self, x: Tensor) -> Tensor:
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


def test_inside_a_checkpoint_the_recomputed_op_is_named() -> None:
    x = leaf([1.0, 4.0])
    with detect_anomaly():
        y = mg.checkpoint(lambda x: mg.sqrt(x - 1.0), x).sum()
        with pytest.raises(AnomalyError, match="in the backward of 'sqrt' inside the backward of 'checkpoint'"):
            y.backward()


def test_infinities_of_constants_are_accepted_and_those_of_parameters_are_not() -> None:
    scores = leaf([1.0, 2.0])
    with detect_anomaly():
        masked = mg.where(np.array([True, False]), scores, -np.inf)
        (masked + Tensor(np.array([0.0, -np.inf]))).softmax().sum().backward()
        with pytest.raises(AnomalyError, match="inf in the forward of 'mul': input 0 of shape .* already held inf"):
            leaf([np.inf, 1.0]) * 2.0
    assert np.isfinite(scores.grad.numpy()).all()


def test_what_is_finite_passes_with_the_same_gradients() -> None:
    x, y = leaf([0.5, 2.0]), leaf([0.5, 2.0])
    with detect_anomaly():
        mg.layer_norm(x * 2.0).exp().sum().backward(create_graph=True)
    mg.layer_norm(y * 2.0).exp().sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-9, atol=1e-12)  # the reference's rounding
    assert mode.op_hook is None


def test_integers_and_booleans_are_not_checked() -> None:
    with detect_anomaly():
        assert (Tensor(np.array([1, 2])) + 1).numpy().tolist() == [2, 3]


def test_only_this_thread_is_checked_and_only_inside_the_block() -> None:
    results = []
    with detect_anomaly():
        thread = threading.Thread(target=lambda: results.append(mg.log(Tensor(-1.0))))
        thread.start()
        thread.join()
    results.append(mg.log(Tensor(-1.0)))
    assert np.isnan(results).tolist() == [True, True]


# --- debug_arrays -----------------------------------------------------------------------------------------------------


def test_a_write_into_an_input_or_result_is_caught_at_the_write() -> None:
    array = np.array([1.0, 2.0])
    x = Tensor(array, requires_grad=True)
    with debug_arrays():
        y = x.exp()
        for needed in (array, x.data, y.data):
            with pytest.raises(ValueError, match="read-only"):
                needed[0] = 7.0
            with pytest.raises(ValueError, match="read-only"):
                needed *= 2.0
        y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1.0, 2.0]), rtol=1e-15)


@pytest.mark.control
def test_without_it_a_write_makes_the_gradient_wrong() -> None:
    array = np.array([1.0, 2.0])
    x = Tensor(array, requires_grad=True)
    y = (x * x).sum()
    array[0] = 7.0
    y.backward()
    assert x.grad.numpy().tolist() == [14.0, 4.0]


def test_arrays_become_writable_when_the_graph_is_freed() -> None:
    x = leaf([1.0, 2.0])
    with debug_arrays():
        y = x.exp()
        y.sum().backward()
        x.data[0] = 5.0
        y.data[0] = 5.0
        z = x * x
        del z  # without a backward pass
        x.data[0] = 6.0
        retained = (x * x).sum()
        retained.backward(retain_graph=True)
        with pytest.raises(ValueError, match="read-only"):
            x.data[0] = 7.0
    x.data[0] = 7.0  # at the end of the block, all arrays become writable
    assert retained.node is not None


def test_the_base_of_a_view_is_read_only_too() -> None:
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


def test_arrays_that_were_read_only_stay_so() -> None:
    x = Tensor(np.broadcast_to(np.array([1.0]), (3,)), requires_grad=True)
    with debug_arrays():
        (x * 2.0).sum().backward()
    assert not x.data.flags.writeable
    assert x.data.base.flags.writeable


def test_arrays_of_ops_that_are_not_recorded_stay_writable() -> None:
    x = Tensor(np.array([1.0]))
    y = leaf([1.0])
    with debug_arrays():
        x * 2.0
        with mg.no_grad():
            y * 2.0
        x.data[0] = y.data[0] = 3.0


def test_a_training_step_runs_inside_both_tools() -> None:
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


@given(c=choices(), steps=st.integers(1, 6))
def test_afterwards_every_array_is_as_writable_as_before(c: Choices, steps: int) -> None:
    owner = c.generator().standard_normal(12)
    views = owner, owner[::2], owner.reshape(3, 4), owner[1:7], owner[1:7][::-1]
    tensors = [Tensor(view, requires_grad=True) for view in views]
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


def test_an_error_inside_makes_everything_writable() -> None:
    x = leaf([1.0])
    y = x
    with pytest.raises(ValueError, match="read-only"), debug_arrays():
        np.exp(x.data, out=(y := x * x).data)
    x.data[0] = 2.0
    y.data[0] = 2.0
    assert mode.op_hook is None
