"""What is special about single fused functions: flat gradients, accuracy, saved memory, errors that say what to do."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor
from minigrad.fused import linear
from minigrad.fused.rope import cos_and_sin, rope_frequencies

seeds = st.integers(0, 2**32 - 1)


def leaf(*shape: int, seed: int = 0, dtype: type = np.float64) -> Tensor:
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), requires_grad=True)


# --- linear -----------------------------------------------------------------------------------------------------------


def test_linear_computes_no_input_gradient_that_is_not_needed() -> None:
    """The first layer on data, and frozen layers below trained ones, skip a third of the work."""
    multiplied = []

    class Counting(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
            if ufunc is np.matmul:
                multiplied.append(inputs[1].shape)
            given = {} if out is None else {"out": tuple(map(np.asarray, out))}
            return getattr(ufunc, method)(*map(np.asarray, inputs), **given, **options)

    weight = leaf(5, 3)
    mg.linear(Tensor(np.ones((4, 3))), weight).backward(np.ones((4, 5)).view(Counting))
    assert multiplied == [(4, 3)]  # dW = dyᵀ x
    multiplied.clear()
    mg.linear(leaf(4, 3), weight).backward(np.ones((4, 5)).view(Counting))
    assert sorted(multiplied) == [(4, 3), (5, 3)]  # and dx = dy W


def worst_product(product: Callable, seed: int) -> float:
    """The largest error in float64: for one row, few and many, and weights on both sides of each limit."""
    rng, differences = np.random.default_rng(seed), []
    limits = linear.ProductLimits(
        few_rows=8, one_thread_elements=50, one_thread_multiplications=200, tall_weight=15, strip_rows=2
    )
    for N in (0, 1, 2, 7, 8, 9):
        width = rng.integers(1, 7)
        x, weight = rng.standard_normal((N, width)), rng.standard_normal((rng.integers(1, 20), width))
        y = product(x, weight, limits)
        assert y.shape == (N, len(weight)) and y.flags.c_contiguous
        assert product(x.astype(np.float32), weight, limits).dtype == np.float64
        differences.append(np.abs(y - np.einsum("ni,oi->no", x, weight)).max(initial=0))
    return max(differences)


@given(seeds)
def test_every_form_of_the_product_gives_the_same(seed: int) -> None:
    for product in (linear.product, linear.matvec_as_complex):
        assert worst_product(product, seed) < 1e-13  # float64; sums of six, in another order


@pytest.mark.control
@given(seeds)
def test_a_product_off_by_a_billionth_is_noticed(seed: int) -> None:
    assert worst_product(lambda x, weight, limits: linear.product(x, weight, limits) * (1 + 1e-9), seed) > 1e-13


@given(seeds)
def test_weight_gradients_are_written_into_the_flat_buffer_and_added_after(seed: int) -> None:
    x, ids = leaf(4, 3, seed=seed), np.array([1, 0, 1])
    weight, bias = mg.nn.Parameter(leaf(5, 3, seed=seed).data), mg.nn.Parameter(leaf(5, seed=seed).data)
    flat = np.full(20, np.nan)  # stands for the gradients of the step before
    weight.grad_buffer, bias.grad_buffer = flat[:15].reshape(5, 3), flat[15:]

    def loss(weight, bias):
        return mg.linear(x, weight, bias).sum() + (mg.embedding(ids, weight) ** 2).sum()

    loss(weight, bias).backward()
    plain = Tensor(weight.data, requires_grad=True), Tensor(bias.data, requires_grad=True)
    loss(*plain).backward()
    assert weight.grad.data is weight.grad_buffer
    np.testing.assert_allclose(weight.grad_buffer, plain[0].grad.data, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(flat[15:], plain[1].grad.data, rtol=1e-14)


@pytest.mark.parametrize(
    ("x", "weight", "bias", "message"),
    [
        ((2, 3), (5, 4), None, r"x has shape \(2, 3\) and weight \(5, 4\)"),
        ((), (5, 4), None, "x has shape"),
        ((2, 3), (3,), None, "weight"),
        ((2, 3), (5, 3), (3,), r"a bias of shape \(5,\), this one has \(3,\)"),
    ],
)
def test_linear_names_shapes_that_do_not_fit(x, weight, bias, message) -> None:
    with pytest.raises(ValueError, match=message):
        mg.linear(leaf(*x), leaf(*weight), None if bias is None else leaf(*bias))


# --- norms ------------------------------------------------------------------------------------------------------------


@given(seeds, st.floats(1e2, 1e4))
def test_layer_norm_is_accurate_far_from_zero(seed: int, far: float) -> None:
    """Mean(x²) − mean² in float32 would have lost every digit here; the variance is taken of x − mean."""
    x = (np.random.default_rng(seed).standard_normal((3, 64)) + far).astype(np.float32)
    exact = mg.layer_norm_reference(Tensor(x, dtype=np.float64)).data
    # the mean itself is rounded to a few float32 steps at `far`, in a row whose deviation is about 1
    np.testing.assert_allclose(mg.layer_norm(Tensor(x)).data, exact, atol=8 * far * 2**-23, rtol=1e-5)


@pytest.mark.control
@given(seeds, st.floats(5e3, 1e4))
def test_the_variance_as_a_difference_of_squares_is_inaccurate_far_from_zero(seed: int, far: float) -> None:
    x = (np.random.default_rng(seed).standard_normal((3, 64)) + far).astype(np.float32)
    exact = mg.layer_norm_reference(Tensor(x, dtype=np.float64)).data
    mean = x.mean(-1, keepdims=True)
    one_pass = (x - mean) / np.sqrt(np.abs((x * x).mean(-1, keepdims=True) - mean * mean) + 1e-5)
    assert np.abs(one_pass - exact).max() > 8 * far * 2**-23


@pytest.mark.parametrize("norm", [mg.layer_norm, mg.rms_norm])
def test_norms_save_two_numbers_for_each_row(norm) -> None:
    x, weight = leaf(1000, 500), leaf(500)
    tracemalloc.start()
    y = norm(x, weight)
    saved = tracemalloc.get_traced_memory()[0] - y.data.nbytes
    tracemalloc.stop()
    assert saved < 0.05 * x.data.nbytes


@pytest.mark.parametrize("norm", [mg.layer_norm, mg.rms_norm])
def test_norms_name_shapes_that_do_not_fit(norm) -> None:
    with pytest.raises(
        ValueError, match=rf"{norm.__name__} of x \(2, 3\) needs a weight of shape \(3,\), this one has \(4,\)"
    ):
        norm(leaf(2, 3), leaf(4))
    with pytest.raises(ValueError, match="single number"):
        norm(leaf())


# --- activations ------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=20))
def test_float32_gelu_is_as_exact_as_float32(values: list) -> None:
    """float32 has a polynomial of its own for Φ; the error of 2e-7 in it appears in y multiplied by x."""
    x = Tensor(np.array(values, np.float32), requires_grad=True)
    y = mg.gelu(x)
    y.sum().backward()
    exact = Tensor(x.data, dtype=np.float64, requires_grad=True)
    z = mg.gelu_reference(exact)
    z.sum().backward()
    assert (np.abs(y.data - z.data) <= 4e-7 * np.maximum(1, np.abs(x.data))).all()
    assert (np.abs(x.grad.data - exact.grad.data) <= 6e-7).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("f", [mg.gelu, lambda x: mg.gelu(x, "tanh"), mg.silu, mg.relu_squared])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_activations_of_large_inputs_are_the_identity_or_zero(f, dtype) -> None:
    x = Tensor(np.array([-200.0, 0.0, 200.0], dtype), requires_grad=True)
    y = f(x)
    y.sum().backward()
    top, slope = (40000, 400) if f is mg.relu_squared else (200, 1)
    tiny = 1e-80  # silu(−200) in float64
    np.testing.assert_allclose(y.data, np.array([0, 0, top], dtype), rtol=0, atol=tiny)
    np.testing.assert_allclose(x.grad.data[[0, 2]], np.array([0, slope], dtype), rtol=0, atol=tiny)


def test_activations_refuse_other_options_and_shapes() -> None:
    with pytest.raises(ValueError, match=r"approximate='erf' is no form of gelu; it is 'none' \(exact\) or 'tanh'"):
        mg.gelu(leaf(2), approximate="erf")
    with pytest.raises(ValueError, match=r"swiglu of one input takes \[gate \| up\]"):
        mg.swiglu(leaf(2, 3))
    with pytest.raises(
        ValueError, match=r"geglu takes gate and up \(..., C\) of one shape; they have \(2, 3\) and \(3,\)"
    ):
        mg.geglu(leaf(2, 3), leaf(3))


# --- embedding --------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), max_size=12), seeds)
def test_embedding_gradient_adds_up_over_repeated_ids(ids: list, seed: int) -> None:
    g = np.random.default_rng(seed).standard_normal((len(ids), 3))
    one_hot = np.eye(5)[ids] if ids else np.zeros((0, 5))
    for weight in (Tensor(leaf(3, 5).data.T, requires_grad=True), leaf(5, 3)):
        mg.embedding(np.array(ids, np.int64), weight).backward(g)
        np.testing.assert_allclose(weight.grad.data, one_hot.T @ g, atol=1e-14)


@pytest.mark.control
def test_fancy_indexing_would_lose_gradients_of_repeated_ids() -> None:
    ids, g, lost = [1, 2, 1], np.ones((3, 3)), np.zeros((5, 3))
    lost[ids] += g
    weight = leaf(5, 3)
    mg.embedding(np.array(ids), weight).backward(g)
    assert np.abs(lost - weight.grad.data).max() > 0


@pytest.mark.parametrize("ids", [np.uint16([[3, 1]]), [[3, 1]], Tensor([[3, 1]])])
def test_embedding_takes_ids_in_any_form(ids) -> None:
    weight = leaf(5, 3)
    np.testing.assert_array_equal(mg.embedding(ids, weight).data, weight.data[[[3, 1]]])


def test_embedding_names_the_wrong_id() -> None:
    weight = leaf(65, 3)
    for wrong in (65, -1):
        with pytest.raises(IndexError, match=f"id {wrong} is outside a vocabulary of 65, whose ids go from 0 to 64"):
            mg.embedding([[0, wrong]], weight)
    with pytest.raises(TypeError, match="integer ids"):
        mg.embedding([0.5], weight)


# --- rope -------------------------------------------------------------------------------------------------------------


@given(seeds, st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000), st.booleans())
def test_rope_scores_depend_only_on_distance(seed: int, i: int, j: int, shift: int, interleaved: bool) -> None:
    q, k = np.random.default_rng(seed).standard_normal((2, 1, 8))
    positions = np.array([i, j, i + shift, j + shift])
    cos, sin = mg.rope_tables(positions, 8, dtype=np.float64)
    rotate = lambda x, t: mg.rope(Tensor(x), cos[t : t + 1], sin[t : t + 1], interleaved=interleaved).data[0]
    assert rotate(q, 0) @ rotate(k, 1) == pytest.approx(rotate(q, 2) @ rotate(k, 3), abs=1e-10)
    assert np.linalg.norm(rotate(q, 0)) == pytest.approx(np.linalg.norm(q))


@given(seeds, st.integers(1, 5))
def test_the_two_pairings_are_one_rotation_of_reordered_features(seed: int, T: int) -> None:
    x = np.random.default_rng(seed).standard_normal((2, T, 6))
    cos, sin = mg.rope_tables(np.arange(T), 6, dtype=np.float64)
    halves_first = [0, 2, 4, 1, 3, 5]
    together = mg.rope(Tensor(x), cos, sin, interleaved=True).data[..., halves_first]
    np.testing.assert_allclose(mg.rope(Tensor(x[..., halves_first]), cos, sin).data, together, atol=1e-14)
    assert T == 1 or np.abs(mg.rope(Tensor(x), cos, sin).data[..., halves_first] - together).max() > 1e-3


def test_rope_tables_are_exact_at_late_positions() -> None:
    """100,000 times a frequency in float32 would be off by up to 4e-3 of a turn."""
    cos, _ = mg.rope_tables(np.array([100_000]), 4)
    assert cos.dtype == np.float32
    np.testing.assert_allclose(cos[0], np.cos([100_000.0, 1000.0]), atol=1e-7)


@given(
    base=st.floats(2, 1e6),
    half=st.integers(1, 8),
    positions=st.lists(st.integers(0, 10**6), max_size=4),
    factor=st.floats(0.5, 2),
)
def test_rope_tables_are_powers_of_one_rotation(base: float, half: int, positions: list[int], factor: float) -> None:
    frequencies = rope_frequencies(2 * half, base)
    assert frequencies.dtype == np.float64
    np.testing.assert_allclose(frequencies, [base ** (-j / half) for j in range(half)], rtol=1e-13)
    cos, sin = cos_and_sin(np.array(positions, int), frequencies, np.float64, factor)
    one_step = np.exp(1j * frequencies)
    expected = factor * np.array([one_step**t for t in positions]).reshape(-1, half)
    # At position 10⁶, an angle of 10⁶ radians is rounded by 1e-10, and so is the power.
    np.testing.assert_allclose(cos + 1j * sin, expected, rtol=0, atol=1e-9)
    for plain, with_factor in zip(mg.rope_tables(positions, 2 * half, base, np.float64), (cos, sin), strict=True):
        np.testing.assert_array_equal(factor * plain, with_factor)


def test_rope_names_shapes_that_do_not_fit() -> None:
    cos, sin = mg.rope_tables(np.arange(3), 8)
    with pytest.raises(ValueError, match=r"x has shape \(2, 3, 4\), cos \(3, 4\) and sin \(3, 4\)"):
        mg.rope(leaf(2, 3, 4), cos, sin)
    with pytest.raises(ValueError, match="even"):
        mg.rope_tables(np.arange(3), 7)
