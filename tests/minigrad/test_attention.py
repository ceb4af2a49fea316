"""Attention against its definition in primitives and against PyTorch: groups, masks, windows, biases, dropout,
blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor
from minigrad.fused import attention as attention_file
from minigrad.fused import attention_blocks, attention_scores
from minigrad.fused.attention import attention, attention_reference
from minigrad.fused.attention_blocks import QUERY_BLOCK, BlockedAttention
from minigrad.fused.attention_scores import AttentionInputs, AttentionOptions

ROUNDING = 1e-12  # float64: sums of at most a few hundred terms of size about 1


@st.composite
def calls(draw: st.DrawFn) -> tuple[list[Tensor], dict]:
    """q, k, v (and a bias with a gradient) in float64, and options."""
    K, G, T, S, D = (draw(st.integers(1, n)) for n in (2, 3, 9, 9, 4))
    B = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inputs = [
        Tensor(rng.standard_normal(shape), requires_grad=True)
        for shape in ((B, K * G, T, D), (B, K, S, D), (B, K, S, D))
    ]
    options: dict = {
        "causal": draw(st.booleans()),
        "window": draw(st.none() | st.integers(1, 6)),
        "dropout": draw(st.sampled_from([0.0, 0.4])),
        "key": (draw(st.integers(0, 99)), 3, 5),
        "scale": draw(st.none() | st.floats(0.1, 2.0)),
        "soft_cap": draw(st.none() | st.floats(0.3, 5.0)),
    }
    if draw(st.booleans()):
        options["mask"] = rng.random((draw(st.sampled_from([1, B])), 1, draw(st.sampled_from([1, T])), S)) < 0.7
    if draw(st.booleans()):
        shape = (draw(st.sampled_from([1, B])), draw(st.sampled_from([1, K * G])), T, S)
        inputs.append(Tensor(rng.standard_normal(shape), requires_grad=True))
    return inputs, options


def projection(shape: tuple[int, ...]) -> np.ndarray:
    """A gradient of the output that is different everywhere."""
    return np.cos(np.arange(np.prod(shape))).reshape(shape)


def run(function: Callable, inputs: list[Tensor], options: dict) -> tuple[np.ndarray, list[np.ndarray]]:
    """The output and the gradients of the inputs."""
    out = function(*inputs[:3], bias=inputs[3] if len(inputs) > 3 else None, **options)
    return out.numpy(), [x.numpy() for x in mg.grad(out, inputs, projection(out.shape))]


def run_in_blocks(inputs: list[Tensor], options: dict, **sizes: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """As `run`, by the passes on arrays, with other sizes of blocks than `attention` would choose."""
    q, k, v, *bias = (x.data for x in inputs)
    rest = dict(options)
    mask = rest.pop("mask", None)
    chosen = AttentionOptions(**{**rest, "scale": options["scale"] or q.shape[-1] ** -0.5})
    arrays = AttentionInputs(q, k, v, bias[0] if bias else None, mask, chosen)
    passes = BlockedAttention(arrays, **sizes)
    out, saved = passes.forward(save_for_backward=True)
    grads = passes.backward(projection(out.shape), out, saved, needs_bias_grad=bool(bias))
    # The gradient of the bias has the shape of the scores, to which the bias was broadcast.
    return out, [mg.grad(mg.broadcast_to(x, g.shape), x, g).numpy() for g, x in zip(grads, inputs, strict=True)]


@given(calls(), st.integers(1, 4), st.sampled_from([1, 40, 1 << 18]), st.sampled_from([0, 100]))
def test_any_blocks_give_the_reference_with_weights_saved_or_computed_again(
    call: tuple, query_block: int, max_block_scores: int, max_saved_ratio: int
) -> None:
    inputs, options = call
    expected, expected_grads = run(mg.attention_reference, inputs, options)
    sizes = {"query_block": query_block, "max_block_scores": max_block_scores, "max_saved_ratio": max_saved_ratio}
    for out, grads in (run(mg.attention, inputs, options), run_in_blocks(inputs, options, **sizes)):
        np.testing.assert_allclose(out, expected, rtol=0, atol=ROUNDING)
        for g, e in zip(grads, expected_grads, strict=True):
            np.testing.assert_allclose(g, e, rtol=0, atol=10 * ROUNDING)


@pytest.mark.control
def test_a_causal_mask_off_by_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    inputs = [Tensor(rng.standard_normal((1, 1, 5, 2)), requires_grad=True) for _ in range(3)]
    expected, _ = run(mg.attention_reference, inputs, {})
    right = attention_blocks.visible_pairs
    monkeypatch.setattr(
        attention_blocks, "visible_pairs", lambda xp, i, j, offset, **rest: right(xp, i, j, offset + 1, **rest)
    )
    out, _ = run(mg.attention, inputs, {})
    assert np.abs(out - expected).max() > 1e-3


@given(st.integers(1, 9), st.integers(0, 4), st.integers(1, 4), st.booleans(), st.none() | st.integers(1, 6))
def test_blocks_cover_every_visible_pair(T: int, earlier: int, step: int, causal: bool, window: int | None) -> None:
    S = T + earlier
    covered = np.zeros((T, S), bool)
    for i, j in attention_blocks.query_blocks(T, S, step, causal=causal, window=window):
        covered[i, j] = True
    visible = attention_blocks.visible_pairs(np, slice(0, T), slice(0, S), earlier, causal=causal, window=window)
    assert not (visible & ~covered).any()


@given(st.integers(1, 300), st.sampled_from([8, 64]), st.none() | st.integers(1, 80), st.none() | st.just(2.0))
def test_saved_weights_counts_what_the_forward_pass_saves(
    T: int, D: int, window: int | None, soft_cap: float | None
) -> None:
    q = np.zeros((1, 1, T, D), np.float32)
    arrays = AttentionInputs(q, q, q, None, None, AttentionOptions(True, window, 1.0, 0.0, None, soft_cap))
    _, saved = BlockedAttention(arrays).forward(save_for_backward=True)
    assert attention_blocks.saved_weights(T, D, window, soft_cap) == sum(s[0].size for s in saved if type(s) is tuple)


def difference_without_a_graph(call: tuple) -> float:
    """Between a single query where nothing is recorded, as in generating text, and the same as part of a graph."""
    (q, k, v, *_), options = call
    q = Tensor(q.data[:, :, -1:], requires_grad=True)
    options = {name: options[name] for name in ("scale", "window", "soft_cap")}
    with mg.no_grad():
        unrecorded = mg.attention(q, k, v, **options).data
    return float(np.abs(unrecorded - mg.attention(q, k, v, **options).data).max())


@given(calls())
def test_a_single_query_without_a_graph_gives_the_same(call: tuple) -> None:
    assert difference_without_a_graph(call) < ROUNDING


@given(calls())
def test_a_single_query_with_scores_whose_exponentials_overflow_gives_the_same(call: tuple) -> None:
    (q, *others), options = call
    wide = Tensor(q.data * 1000)
    assert difference_without_a_graph(([wide, *others], options)) < 1000 * ROUNDING  # as large as the scores


@pytest.mark.control
def test_another_scale_for_a_single_query_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = attention_file.single_query_attention
    monkeypatch.setattr(
        attention_file,
        "single_query_attention",
        lambda q, k, v, scale, *rest, **options: right(q, k, v, 1.1 * scale, *rest, **options),
    )
    rng = np.random.default_rng(0)
    call = (
        [Tensor(rng.standard_normal(shape)) for shape in ((1, 2, 3, 4), (1, 1, 5, 4), (1, 1, 5, 4))],
        {"scale": None, "window": None, "soft_cap": None},
    )
    assert difference_without_a_graph(call) > 1e-3


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 3.0))
def test_a_soft_cap_bounds_the_scores_before_the_bias_is_added(seed: int, cap: float) -> None:
    """With huge queries, every capped score is +cap or -cap, and no gradient goes through the cap. The bias is free."""
    rng = np.random.default_rng(seed)
    q, k, v, bias = (rng.standard_normal(shape) for shape in ((1, 1, 4, 1), (1, 1, 4, 1), (1, 1, 4, 1), (1, 1, 4, 4)))
    q, k, bias = 1e4 * (q + np.copysign(0.1, q)), k + np.copysign(0.1, k), 10 * bias
    weights = np.exp(cap * np.sign(q @ k.swapaxes(-1, -2)) + bias) * np.tri(4)
    expected = weights / weights.sum(-1, keepdims=True) @ v
    inputs = [Tensor(a, requires_grad=True) for a in (q, k, v, bias)]
    out, (dq, dk, dv, dbias) = run(mg.attention, inputs, {"soft_cap": cap, "scale": 1.0})
    np.testing.assert_allclose(out, expected, rtol=0, atol=ROUNDING)
    assert not dq.any() and not dk.any() and dv.any() and dbias.any()


@pytest.mark.control
def test_a_soft_cap_without_its_slope_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    inputs = [Tensor(rng.standard_normal((1, 1, 5, 2)), requires_grad=True) for _ in range(3)]
    expected, expected_grads = run(mg.attention_reference, inputs, {"soft_cap": 1.0})
    right = attention_scores.soft_cap_in_place
    monkeypatch.setattr(attention_scores, "soft_cap_in_place", lambda x, cap: np.ones_like(right(x, cap)))
    out, grads = run(mg.attention, inputs, {"soft_cap": 1.0})
    np.testing.assert_allclose(out, expected, rtol=0, atol=ROUNDING)
    assert np.abs(grads[0] - expected_grads[0]).max() > 1e-3


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_a_query_that_sees_nothing_gives_zero_and_no_gradient(seed: int, T: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = [Tensor(rng.standard_normal((1, 2, T, 3)), requires_grad=True) for _ in range(3)]
    out, grads = run(mg.attention, inputs, {"mask": np.zeros((1, 1, T, T), bool)})
    assert not out.any() and not any(g.any() for g in grads)


@given(calls(), st.sampled_from([1.0, 30.0, 1000.0]))
def test_rows_far_below_others_keep_their_digits(call: tuple, spread: float) -> None:
    """The maximum of a block may be hundreds above that of a row in it."""
    inputs, options = call
    inputs[0].data[:, :, ::2] *= spread
    expected, expected_grads = run(mg.attention_reference, inputs, options)
    out, grads = run(mg.attention, inputs, options)
    for g, e in zip(grads, expected_grads, strict=True):
        # dk has a factor q, and scores are rounded as below
        np.testing.assert_allclose(g, e, rtol=0, atol=10 * ROUNDING * spread**2)
    # scores are rounded in proportion to their size
    np.testing.assert_allclose(out, expected, rtol=0, atol=ROUNDING * spread)


@pytest.mark.control
def test_digits_lost_below_the_maximum_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One maximum for all rows, without the check for underflow: weights exp(0) beside scores of exp(2000)."""
    q, k, v = np.array([[2000.0], [0.0]]), np.ones((2, 1)), np.array([[1.0], [3.0]])
    arrays = [a[None, None] for a in (q, k, v)]
    np.testing.assert_allclose(mg.attention(*arrays, causal=False).data.ravel(), [2, 2])
    monkeypatch.setattr(attention_blocks, "UNDERFLOW", -1.0)
    with np.errstate(all="ignore"):
        assert not np.allclose(mg.attention(*arrays, causal=False).data.ravel(), [2, 2])


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(0, 7))
def test_causal_with_more_keys_than_queries_aligns_the_last_ones(seed: int, T: int, earlier: int) -> None:
    """The last T rows of causal attention are the attention of the last T queries: a key-value cache relies on it."""
    rng, S = np.random.default_rng(seed), T + earlier
    q, k, v = (rng.standard_normal((2, 2, S, 4)) for _ in range(3))
    np.testing.assert_allclose(
        mg.attention(q[:, :, earlier:], k, v), mg.attention(q, k, v)[:, :, earlier:], rtol=0, atol=ROUNDING
    )


@given(calls())
def test_inputs_may_be_views_of_one_projection(call: tuple) -> None:
    """Strided heads, as they lie in a packed projection, give what contiguous ones give."""
    inputs, options = call
    swapped = [np.ascontiguousarray(x.data.swapaxes(1, 2)).swapaxes(1, 2) for x in inputs[:3]]
    strided = [Tensor(a, requires_grad=True) for a in swapped] + inputs[3:]
    for a, b in zip(run(mg.attention, inputs, options)[1], run(mg.attention, strided, options)[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=10 * ROUNDING)


@pytest.mark.parametrize(
    ("shapes", "options", "words"),
    [
        (((1, 3, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4)), {}, "multiple of the key heads"),
        (((3, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4)), {}, "takes q"),
        (((1, 2, 2, 4), (1, 2, 2, 4), (1, 2, 3, 4)), {}, "takes q"),
        (((1, 2, 2, 4), (1, 2, 2, 5), (1, 2, 2, 5)), {}, "equal B and D"),
        (((1, 2, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4)), {"window": 0}, "at least 1"),
        (((1, 2, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4)), {"soft_cap": 0.0}, "a positive number, or None for no cap; got 0"),
        (((1, 2, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4)), {"soft_cap": np.inf}, "a positive number"),
    ],
)
def test_errors_are_sentences(shapes: tuple, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mg.attention(*(np.zeros(s) for s in shapes), **options)


@pytest.mark.parity
@given(
    seed=st.integers(0, 2**32 - 1), causal=st.booleans(), K=st.integers(1, 2), G=st.integers(1, 3), T=st.integers(1, 70)
)
def test_equals_torch(seed: int, causal: bool, K: int, G: int, T: int) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal((2, heads, T, 4)) for heads in (K * G, K, K)]
    peers = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = torch.nn.functional.scaled_dot_product_attention(*peers, is_causal=causal, enable_gqa=True)
    expected.backward(torch.cos(torch.arange(expected.numel(), dtype=torch.float64)).reshape(expected.shape))
    out, grads = run(mg.attention, [Tensor(a, requires_grad=True) for a in arrays], {"causal": causal})
    np.testing.assert_allclose(out, expected.detach().numpy(), rtol=0, atol=1e-10)
    for g, peer in zip(grads, peers, strict=True):
        np.testing.assert_allclose(g, peer.grad.numpy(), rtol=0, atol=1e-10)


# --- bias and mask that are computed block by block -------------------------------------------------------------------


class Parts:
    """A bias or mask (B or 1, H or 1, T, S) of which blocks are handed out, and the largest that was asked for."""

    def __init__(self, whole: np.ndarray):
        self.whole, self.largest = whole, 0

    def block(self, b: slice, i: slice, j: slice) -> np.ndarray:
        part = self.whole[b if len(self.whole) > 1 else slice(None), :, i, j]
        self.largest = max(self.largest, part.shape[2])
        return part


@given(
    seed=st.integers(0, 2**32), K=st.integers(1, 2), G=st.integers(1, 2), T=st.integers(1, 9), past=st.integers(0, 3),
    rows=st.sampled_from([1, 3]), heads=st.booleans(), causal=st.booleans(), window=st.sampled_from([None, 2]),
)  # fmt: skip
def test_a_bias_and_a_mask_by_blocks_are_those_of_the_arrays(
    seed: int, K: int, G: int, T: int, past: int, rows: int, heads: bool, causal: bool, window: int | None
) -> None:
    rng, (B, D, S) = np.random.default_rng(seed), (3, 4, T + past)
    shapes = (B, K * G, T, D), (B, K, S, D), (B, K, S, D)
    q, k, v = (Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes)
    bias, mask = rng.standard_normal((rows, K * G if heads else 1, T, S)), rng.random((rows, 1, T, S)) < 0.8
    g = Tensor(rng.standard_normal(shapes[0]))
    results = []
    for f, as_given in ((attention, Parts), (attention, np.asarray), (attention_reference, Parts)):
        y = f(q, k, v, causal=causal, window=window, bias=as_given(bias), mask=as_given(mask))
        results.append([y.numpy(), *(each.numpy() for each in mg.grad(y, [q, k, v], g))])
    for found in results[1:]:
        for a, b in zip(results[0], found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)  # float64, sums of a dozen terms


def test_no_block_is_larger_than_a_strip_of_queries() -> None:
    q = Tensor(np.zeros((1, 2, 300, 4)), requires_grad=True)
    bias = Parts(np.zeros((1, 2, 300, 300)))
    attention(q, q, q, bias=bias).sum().backward()
    assert 0 < bias.largest <= QUERY_BLOCK


def test_second_derivatives_see_a_bias_by_blocks() -> None:
    rng = np.random.default_rng(0)
    x, v = (Tensor(rng.standard_normal((1, 1, 3, 2))) for _ in range(2))
    bias = rng.standard_normal((1, 1, 3, 3))
    products = [
        mg.hvp(lambda x, b=b: (attention(x, x, x, bias=b) ** 2).sum(), x, v)[1].numpy() for b in (bias, Parts(bias))
    ]
    np.testing.assert_allclose(*products, rtol=1e-9)
