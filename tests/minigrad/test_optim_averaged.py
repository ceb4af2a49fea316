"""A moving average of the weights equals its formula and PyTorch's; it is evaluated and saved, and not trained."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import Tensor
from minigrad.nn import Parameter
from minigrad.optim import SGD, AdamW, Averaged, Muon, ScheduleFreeAdamW, Together
from tests.minigrad.helpers import seeds
from tests.minigrad.test_optim_parallel import in_slices
from tests.minigrad.tolerances import FLOAT64_SUMS

decays = st.floats(0, 0.99)
counts = st.integers(1, 6)


def drawn(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in [(3, 4), (5,), ()]]


def make(seed: int, decay: float, kind: Any = AdamW) -> tuple[list[Parameter], Averaged]:
    parameters = [Parameter(a) for a in drawn(seed)]
    named = [(f"p{i}", p) for i, p in enumerate(parameters)]
    inner = Together([Muon(named[:1]), kind(named[1:], lr=0.1)]) if kind is SGD else kind(named, lr=0.1)
    return parameters, Averaged(inner, decay)


def train(parameters: list[Parameter], optimizer: Averaged, steps: int, seed: int, **more: Any) -> list[list]:
    """The weights after each step."""
    found = []
    for step in range(steps):
        for p, g in zip(parameters, drawn(seed + step + 1)):
            p.grad = Tensor(g)
        optimizer.step(**more)
        found.append([p.numpy().copy() for p in parameters])
    return found


def average(steps: list[list[np.ndarray]], decay: float) -> list[np.ndarray]:
    """The formula at the top of the file."""
    found = steps[0]
    for weights in steps[1:]:
        found = [decay * a + (1 - decay) * w for a, w in zip(found, weights)]
    return found


@given(seeds, decays, counts, st.sampled_from([AdamW, SGD]))
def test_equals_its_formula_and_trains_as_without(seed: int, decay: float, count: int, kind: Any) -> None:
    parameters, optimizer = make(seed, decay, kind)
    steps = train(parameters, optimizer, count, seed)
    alone, without = make(seed, decay, kind)
    assert all(np.array_equal(a, b) for a, b in zip(train(alone, without.optimizers[0], count, seed)[-1], steps[-1]))
    with optimizer.averaged():
        for p, expected in zip(parameters, average(steps, decay)):
            np.testing.assert_allclose(p.numpy(), expected, rtol=FLOAT64_SUMS, atol=FLOAT64_SUMS)
    assert all(np.array_equal(p.numpy(), w) for p, w in zip(parameters, steps[-1])), "the weights are back"


@pytest.mark.control
def test_another_decay_is_noticed() -> None:
    parameters, optimizer = make(0, 0.9)
    steps = train(parameters, optimizer, 4, 0)
    with optimizer.averaged():
        assert max(abs(p.numpy() - a).max() for p, a in zip(parameters, average(steps, 0.8))) > 1e-3


@given(seeds, decays, st.lists(st.floats(0, 1), max_size=3))
def test_slices_change_no_bit(seed: int, decay: float, fractions: list[float]) -> None:
    results = []
    for more in ({}, {"parallel": in_slices(*fractions)}):
        parameters, optimizer = make(seed, decay)
        train(parameters, optimizer, 3, seed, **more)
        results.append(optimizer.state_dict())
    assert all(np.array_equal(results[0][name], results[1][name]) for name in results[0])


@given(seeds, decays, counts, counts, st.booleans())
def test_a_saved_state_goes_on_bit_for_bit(seed: int, decay: float, first: int, then: int, inside: bool) -> None:
    parameters, optimizer = make(seed, decay)
    train(parameters, optimizer, first, seed)
    with optimizer.averaged() if inside else nullcontext():  # inside, as a checkpoint is made
        state, saved = optimizer.state_dict(), [p.numpy().copy() for p in parameters]
    kinds = {name.partition(".")[0] for name in state}
    assert ("trained" in kinds, "average" in kinds) == (inside, not inside), "the other one is saved as the parameters"
    expected = train(parameters, optimizer, then, seed + 50)[-1]
    others, again = make(seed + 1, decay)
    for p, array in zip(others, saved):
        p.data[...] = array
    again.load_state_dict(state)
    assert all(np.array_equal(a, b) for a, b in zip(train(others, again, then, seed + 50)[-1], expected))
    assert all(np.array_equal(a, b) for a, b in zip(again.averages, optimizer.averages))


def test_a_state_that_does_not_fit_is_refused_and_nothing_changes() -> None:
    parameters, optimizer = make(0, 0.9)
    train(parameters, optimizer, 1, 0)
    with optimizer.averaged():
        inside = optimizer.state_dict()
    for state, own in ((optimizer.state_dict(), "average.p0"), (inside, "trained.p1")):
        before = [x.copy() for x in (*(p.numpy() for p in parameters), *optimizer.averages)]
        moments = {key: array for key, array in state.items() if "." in key and not key.startswith("step.")}
        assert optimizer.moments_size() == sum(array.nbytes for array in moments.values())
        for name in (own, "average_updates", "exp_avg.p0"):
            broken = {key: array for key, array in state.items() if key != name}
            with pytest.raises(ValueError, match=name):
                optimizer.load_state_dict(broken)
            after = (*(p.numpy() for p in parameters), *optimizer.averages)
            assert all(np.array_equal(a, b) for a, b in zip(after, before, strict=True))
            assert [group.moment_names for group in optimizer.groups] == [("exp_avg", "exp_avg_sq")]
    with pytest.raises(ValueError, match="decay must be at least 0 and below 1"):
        make(0, 1.0)


def test_before_the_first_step_and_inside_of_itself_nothing_changes() -> None:
    parameters, optimizer = make(0, 0.9)
    parameters[0].data[...] = 7  # as weights that were loaded
    with optimizer.averaged():
        assert (parameters[0].numpy() == 7).all()
    train(parameters, optimizer, 2, 0)
    with optimizer.averaged():
        inner = parameters[1].numpy().copy()
        with optimizer.averaged():
            assert np.array_equal(parameters[1].numpy(), inner)
        assert np.array_equal(parameters[1].numpy(), inner)


def test_what_cannot_be_joined_is_refused() -> None:
    p = Parameter(np.ones(2))
    with pytest.raises(ValueError, match="ScheduleFreeAdamW keeps numbers of its own"):
        Averaged(ScheduleFreeAdamW([p]), 0.9)
    with pytest.raises(ValueError, match="two optimizers have the same parameter"):
        Together([SGD([("a", p)], lr=0.1), SGD([("b", p)], lr=0.1)])


@pytest.mark.parity
@given(seeds, decays, counts)
def test_equals_torch(seed: int, decay: float, count: int) -> None:
    torch = pytest.importorskip("torch")
    parameters, optimizer = make(seed, decay)
    module = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(a)) for a in drawn(seed)])
    theirs = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay))
    for weights in train(parameters, optimizer, count, seed):
        with torch.no_grad():
            for p, w in zip(module, weights):
                p.copy_(torch.tensor(w))
        theirs.update_parameters(module)
    with optimizer.averaged():
        for p, expected in zip(parameters, theirs.module):
            np.testing.assert_allclose(p.numpy(), expected.detach().numpy(), rtol=FLOAT64_SUMS, atol=FLOAT64_SUMS)
