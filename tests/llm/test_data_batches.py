"""Batches are a pure function of the step, and an epoch visits each window once; so does the computed shuffle."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.batches import Batches, evaluation_batches
from llm.data.errors import DataError
from llm.data.permutation import ROUNDS, permute

seeds = st.integers(0, 2**63)


def keys_of(seed: int) -> np.ndarray:
    return np.random.SeedSequence(seed).generate_state(ROUNDS, np.uint64)


@st.composite
def drawn_batches(draw) -> Batches:
    """Batches over the tokens 0, 1, 2, ...: a token tells its position."""
    context = draw(st.integers(1, 8))
    tokens = np.arange(draw(st.integers(context + 1, 300)), dtype=np.uint16)
    return Batches(tokens, draw(st.integers(1, 12)), context, draw(seeds))


# The shuffle --------------------------------------------------------------------------------------------------------


def permute_reference(index: int, count: int, keys: list[int]) -> int:
    """The same shuffle of a single index, in plain Python."""
    bits = 64
    half = next(half for half in range(1, bits) if 4**half >= count)

    def mix(x: int) -> int:
        x = (x + 0x9E3779B97F4A7C15) % 2**bits
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**bits
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**bits
        return x ^ (x >> 31)

    while True:
        left, right = divmod(index, 2**half)
        for key in keys:
            left, right = right, left ^ (mix((right + key) % 2**bits) % 2**half)
        index = left * 2**half + right
        if index < count:
            return index


@given(count=st.integers(1, 1000) | st.sampled_from([1, 2, 3, 4, 5, 1023, 1024, 1025]), seed=seeds)
def test_permute_is_a_permutation(count, seed):
    assert sorted(permute(np.arange(count), count, keys_of(seed)).tolist()) == list(range(count))


@given(count=st.integers(1, 10**12), seed=seeds, data=st.data())
def test_permute_equals_its_plain_twin(count, seed, data):
    indices = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=5))
    expected = [permute_reference(index, count, keys_of(seed).tolist()) for index in indices]
    assert permute(np.array(indices), count, keys_of(seed)).tolist() == expected


@pytest.mark.parametrize("count", [2, 3, 5, 8, pytest.param(33, marks=pytest.mark.slow)])
def test_every_index_goes_everywhere_equally_often(count):
    """A chi-squared test on the matrix of (index, new index) over many keys, as rng.permutation passes it."""
    times = 100 * count

    def statistic(shuffles: np.ndarray) -> float:
        table = np.stack([np.bincount(shuffled, minlength=count) for shuffled in shuffles.T])
        return float(((table - 100) ** 2 / 100).sum())

    degrees = (count - 1) ** 2
    bound = degrees + 6 * np.sqrt(2 * degrees) + 6  # six standard deviations, and room where there are few degrees
    assert statistic(np.stack([permute(np.arange(count), count, keys_of(seed)) for seed in range(times)])) < bound
    rng = np.random.default_rng(0)
    assert statistic(np.stack([rng.permutation(count) for _ in range(times)])) < bound
    always_the_same = np.tile(permute(np.arange(count), count, keys_of(0)), (times, 1))
    assert statistic(always_the_same) > bound


def test_neighbours_are_scattered():
    """After a shuffle, steps between neighbours are as many different numbers as after rng.permutation."""
    steps = len(set(np.diff(permute(np.arange(1000), 1000, keys_of(1))).tolist()))
    expected = len(set(np.diff(np.random.default_rng(1).permutation(1000)).tolist()))
    assert abs(steps - expected) < 100
    assert len(set(np.diff(np.arange(1000) * 7 % 1000).tolist())) < 10, "an affine map would be seen"


# Epochs -------------------------------------------------------------------------------------------------------------


def check_epoch(batches: Batches, epoch: int) -> None:
    """Each window is visited once; windows do not overlap in targets; almost all of the text is visited."""
    visits = range(epoch * batches.windows, (epoch + 1) * batches.windows)
    rows = []
    for visit in visits:
        step, row = divmod(visit, batches.batch_size)
        inputs, targets = batches.batch(step)
        assert (targets[row] == inputs[row] + 1).all(), "targets are the inputs shifted by one"
        rows.append(targets[row])
    targets = np.sort(np.concatenate(rows))
    assert len(targets) == batches.windows * batches.context
    assert (np.diff(targets) == 1).all(), "the targets of an epoch are one stretch of the text, each token once"
    assert len(batches.tokens) - len(targets) <= 2 * batches.context, "only the ragged ends are left out"


@given(batches=drawn_batches(), epoch=st.integers(0, 3))
def test_an_epoch_visits_each_window_once(batches, epoch):
    check_epoch(batches, epoch)


class Drawing(Batches):
    """Broken: draws windows at random, with replacement."""

    def _starts(self, epoch, indices):
        return np.random.default_rng((epoch, *indices)).integers(len(self.tokens) - self.context, size=len(indices))


class Overlapping(Batches):
    """Broken: windows overlap by half."""

    def _starts(self, epoch, indices):
        return super()._starts(epoch, indices) // 2


@pytest.mark.control
def test_bad_epochs_are_noticed():
    for broken in (Drawing, Overlapping):
        with pytest.raises(AssertionError):
            check_epoch(broken(np.arange(300), batch_size=4, context=8), epoch=0)


@given(batches=drawn_batches(), step=st.integers(0, 100))
def test_shapes_and_epoch_numbers(batches, step):
    inputs, targets = batches.batch(step)
    for array in (inputs, targets):
        assert array.shape == (batches.batch_size, batches.context)
        assert array.dtype == np.int64
        assert array.flags.c_contiguous
    assert batches.epoch(step) == step * batches.batch_size // batches.windows
    assert batches.epoch(0) == 0
    assert batches.epoch(batches.steps_per_epoch) >= 1
    assert batches.epoch(batches.steps_per_epoch - 1) == 0 or batches.windows < batches.batch_size


def test_offset_and_order_change_with_the_epoch_and_the_seed():
    def starts(seed: int, epoch: int) -> list[int]:
        batches = Batches(np.arange(1003), batch_size=1, context=10, seed=seed)
        visits = range(epoch * batches.windows, (epoch + 1) * batches.windows)
        return [int(batches.batch(visit)[0][0, 0]) for visit in visits]

    orders = [starts(seed, epoch) for seed, epoch in itertools.product(range(4), range(3))]
    assert len({tuple(order) for order in orders}) == len(orders)
    assert len({min(order) for order in orders}) > 5, "epochs are cut at different offsets"


# Resuming -----------------------------------------------------------------------------------------------------------


def check_pure(make_batches, steps: list[int]) -> None:
    """The batches of `steps`, asked for in that order, are those of one uninterrupted run."""
    running = make_batches()
    history = [running.batch(step) for step in range(max(steps) + 1)]
    asked = make_batches()
    for step in steps:
        for array, expected in zip(asked.batch(step), history[step], strict=True):
            assert array.tolist() == expected.tolist()


@given(seed=seeds, steps=st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_a_batch_depends_on_seed_and_step_alone(seed, steps):
    check_pure(lambda: Batches(np.arange(100), batch_size=4, context=5, seed=seed), steps)


class Stateful(Batches):
    """Broken: the order depends on how many batches have been asked for."""

    calls = 0

    def batch(self, step):
        self.calls += 1
        return super().batch(self.calls)


@pytest.mark.control
def test_batches_that_depend_on_a_state_are_noticed():
    with pytest.raises(AssertionError):
        check_pure(lambda: Stateful(np.arange(100), batch_size=4, context=5, seed=0), [7, 3])


def test_the_order_is_the_same_in_every_version():
    """Written down so that a change of the order, which would break --resume, does not go unnoticed."""
    inputs, _ = Batches(np.arange(10_000), batch_size=7, context=9, seed=1337).batch(158)  # epochs 0 and 1 meet in it
    assert inputs[:, 0].tolist() == [26, 6425, 7352, 1862, 6687, 5778, 3285]


# Evaluation ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 5), st.integers(2, 300))
def test_evaluation_batches_are_spread_evenly_and_share_no_target(context, batch_size, count, length):
    tokens = np.arange(max(length, context + 1))
    batches = evaluation_batches(tokens, batch_size, context, count)
    assert 1 <= len(batches) <= count
    starts = np.concatenate([inputs[:, 0] for inputs, _ in batches])
    for inputs, targets in batches:
        assert inputs.shape == targets.shape == batches[0][0].shape
        assert (targets == inputs + 1).all()
    assert starts[0] == 0
    if len(starts) > 1:
        assert starts[-1] == len(tokens) - 1 - context
        gaps = np.diff(starts)
        assert gaps.min() >= context
        assert gaps.max() - gaps.min() <= 1
    available = (len(tokens) - 1) // context
    wanted = min(batch_size * count, available)
    assert wanted - batch_size < len(starts) <= wanted


# Errors -------------------------------------------------------------------------------------------------------------


@given(context=st.integers(1, 50))
def test_a_text_shorter_than_a_context_is_refused_and_one_as_long_is_not(context):
    for call in (lambda tokens: Batches(tokens, 2, context), lambda tokens: evaluation_batches(tokens, 2, context, 1)):
        with pytest.raises(DataError, match=rf"has {context} tokens, but a context of {context} needs {context + 1};"):
            call(np.arange(context))
        call(np.arange(context + 1))


@pytest.mark.parametrize(("batch_size", "context", "seed"), [(0, 4, 0), (2, 0, 0), (2, 4, -1)])
def test_impossible_numbers_are_refused(batch_size, context, seed):
    with pytest.raises(DataError, match=rf"got {batch_size}, {context} and {seed}"):
        Batches(np.arange(100), batch_size, context, seed)
