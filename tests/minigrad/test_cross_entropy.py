"""Cross-entropy, alone and with the head: against the definition in primitives, against PyTorch, in any chunks."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor

ROUNDING = 1e-12  # float64: sums of at most a hundred terms of size about 1
IGNORED = -100


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.random.Generator, tuple, int, np.ndarray, dict]:
    """A generator, the shape of the targets, the number of classes, targets, and options."""
    shape = tuple(draw(st.lists(st.integers(1, 5), max_size=3)))
    classes = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    targets = np.where(
        rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 1.0])), IGNORED, rng.integers(0, classes, shape)
    )
    options = {
        "label_smoothing": draw(st.sampled_from([0.0, 0.2])),
        "z_loss": draw(st.sampled_from([0.0, 0.1])),
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
    }
    return rng, shape, classes, targets, options


def outcome(loss: Tensor, inputs: list[Tensor]) -> list[np.ndarray]:
    """The loss, and gradients of the inputs for a gradient of the loss that is not all ones."""
    g = np.cos(1 + np.arange(loss.size)).reshape(loss.shape)
    return [loss.numpy(), *(x.numpy() for x in mg.grad(loss, inputs, g))]


def assert_same(given: list, expected: list, atol: float = ROUNDING) -> None:
    for a, b in zip(given, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@given(problems())
def test_cross_entropy_equals_the_reference(problem: tuple) -> None:
    rng, shape, classes, targets, options = problem
    logits = Tensor(3 * rng.standard_normal((*shape, classes)), requires_grad=True)
    assert_same(
        outcome(mg.cross_entropy(logits, targets, **options), [logits]),
        outcome(mg.cross_entropy_reference(logits, targets, **options), [logits]),
    )


@given(problems(), st.booleans(), st.none() | st.floats(0.5, 5.0), st.integers(1, 7))
def test_linear_cross_entropy_equals_the_reference_in_chunks_of_any_size(
    problem: tuple, biased: bool, soft_cap: float | None, chunk: int
) -> None:
    rng, shape, classes, targets, options = problem
    shapes = [(*shape, 3), (classes, 3), (classes,)][: 3 if biased else 2]
    x, weight, *bias = inputs = [Tensor(rng.standard_normal(s), requires_grad=True) for s in shapes]
    options |= {"soft_cap": soft_cap}
    assert_same(
        outcome(mg.linear_cross_entropy(x, weight, targets, *bias, chunk=chunk, **options), inputs),
        outcome(mg.linear_cross_entropy_reference(x, weight, targets, *bias, **options), inputs),
    )


@pytest.mark.control
def test_a_gradient_off_by_a_millionth_is_noticed() -> None:
    logits = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    right = outcome(mg.cross_entropy(logits, np.array([0, 2])), [logits])
    with pytest.raises(AssertionError):
        assert_same([right[0], right[1] * (1 + 1e-6)], right)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e3, 1e30]))
def test_large_logits_do_not_overflow(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    logits = Tensor((size * rng.standard_normal((4, 5))).astype(np.float32), requires_grad=True)
    loss, grad = outcome(mg.cross_entropy(logits, rng.integers(0, 5, 4)), [logits])
    assert np.isfinite(loss) and np.isfinite(grad).all()


def test_no_row_that_counts_gives_zero_not_nan() -> None:
    logits = Tensor(np.ones((2, 3)), requires_grad=True)
    loss, grad = outcome(mg.cross_entropy(logits, np.full(2, IGNORED)), [logits])
    assert loss == 0 and not grad.any()


def test_equal_logits_have_the_loss_log_V() -> None:
    assert math.isclose(mg.cross_entropy(np.zeros((7, 50)), np.arange(7)).item(), math.log(50))


@pytest.mark.parametrize(
    ("targets", "options", "error", "words"),
    [
        (np.array([0, 3]), {}, IndexError, "target 3 is out of range: there are 3 classes"),
        (np.array([-1, 0]), {}, IndexError, "target -1"),
        (np.array([0.0, 1.0]), {}, ValueError, "must be integers"),
        (np.array([0, 1, 2]), {}, ValueError, r"shape \(2,\)"),
        (np.array([0, 1]), {"reduction": "avg"}, ValueError, "'mean', 'sum' or 'none'"),
    ],
)
def test_errors_are_sentences(targets: np.ndarray, options: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        mg.cross_entropy(np.zeros((2, 3)), targets, **options)


@pytest.mark.parametrize("cap", [0.0, -1.0, math.inf, math.nan])
def test_a_soft_cap_that_is_no_bound_is_refused(cap: float) -> None:
    with pytest.raises(ValueError, match="soft_cap is the bound of what it caps, a positive number"):
        mg.linear_cross_entropy(np.zeros((2, 4)), np.zeros((3, 4)), np.array([0, 1]), soft_cap=cap)


def test_logits_never_exist_all_at_once() -> None:
    """4,096 rows and 8,192 classes would be 128 MB of logits; a chunk of 64 rows is 2 MB."""
    x, weight = (Tensor(np.ones((n, 4), np.float32), requires_grad=True) for n in (4096, 8192))
    targets = np.zeros(4096, int)
    tracemalloc.start()
    mg.linear_cross_entropy(x, weight, targets, chunk=64).backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6


@pytest.mark.parity
@given(problems())
def test_equals_torch(problem: tuple) -> None:
    torch = pytest.importorskip("torch")
    rng, shape, classes, targets, options = problem
    options = {k: v for k, v in options.items() if k != "z_loss"}
    if (targets == IGNORED).all():
        return  # PyTorch's mean of nothing is NaN, ours is 0
    a = 3 * rng.standard_normal((*shape, classes))
    peer = torch.tensor(a, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        peer.reshape(-1, classes), torch.tensor(targets.reshape(-1)), **options
    )
    expected = expected.reshape(shape) if options["reduction"] == "none" else expected
    expected.backward(torch.cos(1 + torch.arange(expected.numel(), dtype=torch.float64)).reshape(expected.shape))
    logits = Tensor(a, requires_grad=True)
    assert_same(
        outcome(mg.cross_entropy(logits, targets, **options), [logits]),
        [expected.detach().numpy(), peer.grad.numpy()],
        atol=1e-10,
    )
