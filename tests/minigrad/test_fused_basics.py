"""What every fused function must do: give the values and derivatives of its reference with blocks of any size, leave
the caller's arrays as they are, compute nothing for frozen weights, take 0 rows, keep the dtype.

Each is also compared with PyTorch. Attention and the losses have files of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor
from minigrad.fused import rows as fused_rows
from minigrad.fused.activation import ACTIVATIONS, activate
from minigrad.fused.record import record_fused

# float64: sums of at most a few hundred terms of size about 1, divided by a deviation of at least 0.1
ROUNDING = 1e-11


class Case(NamedTuple):
    fused: Callable
    reference: Callable
    shapes: Callable  # (*rows, C) of x -> shapes of the inputs
    torch: Callable | None = None


def tables(x: Tensor, rotated: int) -> tuple[np.ndarray, np.ndarray]:
    return mg.rope_tables(np.arange(x.shape[-2]) + 3, rotated, dtype=np.float64)


def only_x(s: tuple) -> list[tuple]:
    return [s]


CASES = {
    "linear": Case(
        mg.linear, mg.linear_reference, lambda s: [s, (5, s[-1]), (5,)], lambda F, x, w, b: F.linear(x, w, b)
    ),
    "linear, no bias": Case(mg.linear, mg.linear_reference, lambda s: [s, (3, s[-1])], lambda F, x, w: F.linear(x, w)),
    "layer_norm": Case(
        mg.layer_norm,
        mg.layer_norm_reference,
        lambda s: [s, s[-1:], s[-1:]],
        lambda F, x, w, b: F.layer_norm(x, x.shape[-1:], w, b),
    ),
    "layer_norm, bare": Case(
        lambda x: mg.layer_norm(x, eps=0.01),
        lambda x: mg.layer_norm_reference(x, eps=0.01),
        only_x,
        lambda F, x: F.layer_norm(x, x.shape[-1:], eps=0.01),
    ),
    "rms_norm": Case(
        mg.rms_norm, mg.rms_norm_reference, lambda s: [s, s[-1:]], lambda F, x, w: F.rms_norm(x, x.shape[-1:], w, 1e-6)
    ),
    "rms_norm, bare": Case(
        lambda x: mg.rms_norm(x, eps=0.01),
        lambda x: mg.rms_norm_reference(x, eps=0.01),
        only_x,
        lambda F, x: F.rms_norm(x, x.shape[-1:], eps=0.01),
    ),
    "gelu": Case(mg.gelu, mg.gelu_reference, only_x, lambda F, x: F.gelu(x)),
    "gelu, tanh": Case(
        lambda x: mg.gelu(x, "tanh"),
        lambda x: mg.gelu_reference(x, "tanh"),
        only_x,
        lambda F, x: F.gelu(x, approximate="tanh"),
    ),
    "silu": Case(mg.silu, mg.silu_reference, only_x, lambda F, x: F.silu(x)),
    "relu_squared": Case(mg.relu_squared, mg.relu_squared_reference, only_x, lambda F, x: F.relu(x) ** 2),
    "swiglu": Case(mg.swiglu, mg.swiglu_reference, lambda s: [s, s], lambda F, x, up: F.silu(x) * up),
    "swiglu, packed": Case(
        mg.swiglu,
        mg.swiglu_reference,
        lambda s: [(*s[:-1], 2 * s[-1])],
        lambda F, x: F.silu(x[..., : x.shape[-1] // 2]) * x[..., x.shape[-1] // 2 :],
    ),
    "reglu": Case(mg.reglu, mg.reglu_reference, lambda s: [s, s], lambda F, x, up: F.relu(x) * up),
    "geglu": Case(mg.geglu, mg.geglu_reference, lambda s: [s, s], lambda F, x, up: F.gelu(x) * up),
    "geglu, packed, tanh": Case(
        lambda x: mg.geglu(x, approximate="tanh"),
        lambda x: mg.geglu_reference(x, approximate="tanh"),
        lambda s: [(*s[:-1], 2 * s[-1])],
        lambda F, x: F.gelu(x[..., : x.shape[-1] // 2], approximate="tanh") * x[..., x.shape[-1] // 2 :],
    ),
    "rope": Case(
        lambda x: mg.rope(x, *tables(x, x.shape[-1])),
        lambda x: mg.rope_reference(x, *tables(x, x.shape[-1])),
        lambda s: [(2, *s[:-1], 2 * s[-1])],
    ),
    "rope, partial": Case(
        lambda x: mg.rope(x, *tables(x, 2)),
        lambda x: mg.rope_reference(x, *tables(x, 2)),
        lambda s: [(2, *s[:-1], 1 + 2 * s[-1])],
    ),
    "rope, interleaved": Case(
        lambda x: mg.rope(x, *tables(x, 2), interleaved=True),
        lambda x: mg.rope_reference(x, *tables(x, 2), interleaved=True),
        lambda s: [(2, *s[:-1], 2 * s[-1])],
    ),
    "dropout": Case(lambda x: mg.dropout(x, 0.4, (1, 2, 3)), lambda x: mg.dropout_reference(x, 0.4, (1, 2, 3)), only_x),
}
# By name, the activations in PyTorch.
TORCH = {
    "gelu": lambda F, x: F.gelu(x),
    "gelu_tanh": lambda F, x: F.gelu(x, approximate="tanh"),
    "silu": lambda F, x: F.silu(x),
    "relu": lambda F, x: F.relu(x),
    "relu_squared": lambda F, x: F.relu(x) ** 2,
}
GATES = {"swiglu": "silu", "geglu": "gelu", "geglu_tanh": "gelu_tanh", "reglu": "relu"}


def torch_activation(name: str, F, x):
    if name in TORCH:
        return TORCH[name](F, x)
    gate, up = x.chunk(2, dim=-1)
    return TORCH[GATES[name]](F, gate) * up


def linear_activation_case(name: str) -> Case:
    # Without a bias where there is a kink: in float16, the rounding before the bias is added could change the sign.
    biases = 0 if "re" in name else 1
    return Case(
        partial(mg.linear_activation, activation=name),
        partial(mg.linear_activation_reference, activation=name),
        lambda s: [s, (6, s[-1]), *[(6,)] * biases],
        lambda F, *inputs: torch_activation(name, F, F.linear(*inputs)),
    )


CASES |= {f"linear_activation, {name}": linear_activation_case(name) for name in ACTIVATIONS}
each_case = pytest.mark.parametrize("name", CASES)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
seeds = st.integers(0, 2**32 - 1)


def arrays(case: Case, shape: tuple, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in case.shapes(shape)]


def derivatives(f: Callable, values: list[np.ndarray], second: bool = True) -> list[np.ndarray]:
    """The value, the gradients of a projection, and the gradients of the sum of their squares."""
    xs = [Tensor(v, requires_grad=True) for v in values]
    y = f(*xs)
    g = np.cos(np.arange(y.size)).reshape(y.shape)
    first = mg.grad(y, xs, g, retain_graph=True)
    squares = [(d * d).sum() for d in mg.grad(y, xs, g, create_graph=True)] if second else []
    curved = [s for s in squares if s.requires_grad]
    return [t.numpy() for t in (y, *first, *(mg.grad(curved, xs) if curved else ()))]


@each_case
@given(shape=shapes, seed=seeds, block=st.integers(1, 30))
def test_equals_its_reference_with_blocks_of_any_size(name: str, shape: tuple, seed: int, block: int) -> None:
    case = CASES[name]
    values = arrays(case, shape, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused_rows, "BLOCK_ELEMENTS", block)
        received = derivatives(case.fused, values)
    for a, e in zip(received, derivatives(case.reference, values), strict=True):
        np.testing.assert_allclose(a, e, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(shape=shapes, seed=seeds, dtype=st.sampled_from([np.float16, np.float32, np.float64]))
def test_an_activation_by_name_is_its_function_on_arrays_and_in_a_linear_map(name, shape, seed, dtype) -> None:
    x = np.random.default_rng(seed).standard_normal((*shape, 6)).astype(dtype)
    y, f = activate(x, name), ACTIVATIONS[name]
    np.testing.assert_array_equal(y, f.function(x).numpy())
    assert y.dtype == dtype and y.shape == (*shape, 3 if f.gated else 6)
    recorded = mg.linear_activation(Tensor(x, requires_grad=True), np.eye(6, dtype=dtype), activation=name)
    np.testing.assert_array_equal(recorded.numpy(), y)


@pytest.mark.control
def test_a_wrong_gradient_is_noticed() -> None:
    """The slope is off in the one place where x is positive."""
    wrong = lambda x: record_fused(
        x.data**2 * (x.data > 0), (x,), lambda g, needs: (g * np.abs(x.data),), mg.relu_squared_reference
    )
    values = [np.array([-1.0, 2.0])]
    received, expected = derivatives(wrong, values), derivatives(mg.relu_squared_reference, values)
    np.testing.assert_array_equal(received[0], expected[0])
    assert np.abs(received[1] - expected[1]).max() > 0.1


@each_case
@given(shape=shapes, seed=seeds)
def test_float32_and_float16_stay_and_are_close_to_float64(name: str, shape: tuple, seed: int) -> None:
    case = CASES[name]
    # Numbers that float16 can represent. 4 columns, because the deviation of a single one would be 0.
    values = [(v * 64).round() / 64 for v in arrays(case, (*shape, 4), seed)]
    expected = derivatives(case.fused, values, second=False)
    # roundings of 6e-8 and 5e-4 of numbers of size 1, in sums of up to 16, divided by a deviation that is hardly ever
    # below 1/20
    for dtype, tolerance in ((np.float32, 1e-5), (np.float16, 3e-2)):
        for a, e in zip(
            derivatives(case.fused, [v.astype(dtype) for v in values], second=False), expected, strict=True
        ):
            assert a.dtype == dtype
            np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * max(1, np.abs(e).max(initial=0)))


@each_case
@given(shape=shapes, seed=seeds)
def test_inputs_and_gradients_are_not_written_to(name: str, shape: tuple, seed: int) -> None:
    case = CASES[name]
    values = arrays(case, shape, seed)
    before = [v.copy() for v in values]
    for v in values:
        v.flags.writeable = False
    xs = [Tensor(v, requires_grad=True) for v in values]
    y = case.fused(*xs)
    g = np.ones(y.shape)
    g.flags.writeable = False
    y.backward(g)
    for v, b in zip(values, before):
        np.testing.assert_array_equal(v, b)
    assert all(x.grad is not None and not np.shares_memory(x.grad.data, g) for x in xs)


@each_case
@given(shape=shapes, seed=seeds)
def test_views_that_are_not_contiguous_give_the_same(name: str, shape: tuple, seed: int) -> None:
    case = CASES[name]
    values = arrays(case, shape, seed)
    expected = derivatives(case.fused, values, second=False)
    for view in (lambda v: np.repeat(v, 2, axis=-1)[..., ::2], np.asfortranarray, lambda v: v[::-1].copy()[::-1]):
        for a, e in zip(derivatives(case.fused, [view(v) for v in values], second=False), expected, strict=True):
            np.testing.assert_allclose(a, e, rtol=ROUNDING, atol=ROUNDING)


@each_case
def test_0_rows_give_0_rows_and_zero_gradients(name: str) -> None:
    case = CASES[name]
    for shape in ((0, 4), (2, 0, 4)):
        xs = [Tensor(v, requires_grad=True) for v in arrays(case, shape, 0)]
        y = case.fused(*xs)
        assert y.shape == case.reference(*xs).shape
        y.backward(np.ones(y.shape))
        assert all(x.grad.shape == x.shape and not x.grad.data.any() for x in xs)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if len(case.shapes((2,))) > 1])
def test_only_what_needs_a_gradient_gets_one(name: str) -> None:
    case = CASES[name]
    values = arrays(case, (3, 4), 1)
    xs = [Tensor(v, requires_grad=True) for v in values]
    whole = mg.grad(case.fused(*xs).sum(), xs)
    for i in range(len(xs)):
        xs = [Tensor(v, requires_grad=i == j) for j, v in enumerate(values)]
        case.fused(*xs).sum().backward()
        np.testing.assert_array_equal(xs[i].grad.data, whole[i].data)
        assert all(x.grad is None for j, x in enumerate(xs) if j != i)


@pytest.mark.parity
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.torch])
@given(shape=shapes, seed=seeds)
def test_equals_torch(name: str, shape: tuple, seed: int) -> None:
    torch = pytest.importorskip("torch")
    case = CASES[name]
    values = arrays(case, shape, seed)
    xs = [torch.tensor(v, requires_grad=True) for v in values]
    y = case.torch(torch.nn.functional, *xs)
    y.backward(torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape))
    expected = [y.detach().numpy(), *(x.grad.numpy() for x in xs)]
    for a, e in zip(derivatives(case.fused, values, second=False), expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-10, atol=1e-10)
