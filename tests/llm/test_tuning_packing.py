"""Examples in rows: packing fills rows and loses nothing, and neither packing nor padding changes loss or gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.threads import Threads
from llm.tuning.chat.packing import IGNORED, PADDING, Tokens, make_batch, pack
from llm.tuning.chat.task import AnswerTokens
from llm.tuning.examples.row_batches import RowBatches
from tests.llm.gpts import CONTEXT, FLOAT64_SUMS, SEEDS, VOCAB, configs, random_gpt

Rows = Sequence[Sequence[Tokens]]


@st.composite
def examples(draw: st.DrawFn, longest: int = CONTEXT // 2) -> list[Tokens]:
    """Examples that have something to learn."""
    rng = np.random.default_rng(draw(SEEDS))
    made = []
    for length in draw(st.lists(st.integers(2, longest + 1), min_size=1, max_size=5)):
        learned = rng.random(length) < 0.5
        learned[-1] = True
        made.append(Tokens(rng.integers(0, VOCAB, length), learned))
    return made


def separate(made: Sequence[Tokens]) -> Rows:
    return [[example] for example in made]


def packed(made: Sequence[Tokens]) -> Rows:
    return [[made[i] for i in group] for group in pack([example.width for example in made], CONTEXT)]


# --- where examples go ------------------------------------------------------------------------------------------------


def test_packing_of_a_known_example() -> None:
    """Of TRL's documentation: texts of 5, 2, 3 and 1 tokens in rows of 4. The first is cut."""
    assert pack([5, 2, 3, 1], 4) == [[0], [2, 3], [1]]


@given(st.lists(st.integers(1, 40), max_size=40), st.integers(1, 20))
def test_packing_loses_nothing_and_overfills_nothing(lengths: list[int], capacity: int) -> None:
    groups = pack(lengths, capacity)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    sizes = [sum(min(lengths[i], capacity) for i in group) for group in groups]
    assert all(size <= capacity for size in sizes)
    # No two groups would fit into one: best fit decreasing would have joined them.
    smallest = sorted(sizes)[:2]
    assert len(smallest) < 2 or sum(smallest) > capacity


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 40))
def test_each_example_goes_where_it_fits_best(lengths: list[int], capacity: int) -> None:
    room: list[int] = []
    for length in sorted((min(length, capacity) for length in lengths), reverse=True):
        fitting = [left for left in room if left >= length]
        if fitting:
            room.remove(min(fitting))
            room.append(min(fitting) - length)
        else:
            room.append(capacity - length)
    filled = [sum(min(lengths[i], capacity) for i in group) for group in pack(lengths, capacity)]
    assert sorted(capacity - size for size in filled) == sorted(room)


@given(examples())
def test_a_target_is_the_token_after_its_input_in_the_same_example(made: list[Tokens]) -> None:
    for rows in (separate(made), packed(made)):
        inputs, targets, documents = make_batch(rows)
        assert inputs.shape == targets.shape == documents.shape
        for b, row in enumerate(rows):
            start = 0
            for number, example in enumerate(row):
                for t in range(example.width):
                    at = (b, start + t)
                    expected = example.ids[t + 1] if example.learned[t + 1] else IGNORED
                    assert (inputs[at], targets[at], documents[at]) == (example.ids[t], expected, number)
                start += example.width
            assert (targets[b, start:] == IGNORED).all() and (documents[b, start:] == PADDING).all()


@given(examples(), st.integers(1, CONTEXT))
def test_a_cut_example_is_its_beginning(made: list[Tokens], context: int) -> None:
    for example in made:
        cut = example.cut(context)
        assert cut.width == min(example.width, context)
        assert cut.ids.tolist() == example.ids[: len(cut.ids)].tolist()
        assert cut.targets == int(example.learned[1 : len(cut.ids)].sum())


@given(st.integers(1, 30), st.integers(1, 7), SEEDS)
def test_each_row_is_used_once_in_an_epoch_and_a_batch_depends_only_on_its_step(
    count: int, batch_size: int, seed: int
) -> None:
    rows = [[Tokens(np.array([i, i]), np.array([True, True]))] for i in range(count)]
    batches = RowBatches(rows, batch_size, seed, make_batch)
    steps = 3 * batches.steps_per_epoch
    used = [i for step in range(steps) for i in batches.indices(step)]
    for epoch in range(len(used) // count):
        assert sorted(used[epoch * count : (epoch + 1) * count]) == list(range(count))
    again = RowBatches(rows, batch_size, seed, make_batch)
    assert [i for step in reversed(range(steps)) for i in reversed(again.indices(step))] == used[::-1]


# --- loss and gradient ------------------------------------------------------------------------------------------------


def loss_and_gradients(model: GPT, rows: Rows, *, is_packed: bool) -> tuple[float, dict[str, np.ndarray]]:
    """The mean over all that is learned."""
    objective, batch = AnswerTokens(packed=is_packed), make_batch(rows)
    model.zero_grad()
    loss = objective.loss_sum(model, batch) / objective.count(batch)
    loss.backward()
    return float(loss.data), {name: np.array(p.grad.data) for name, p in model.named_parameters() if p.grad is not None}


def assert_equal(got: tuple[float, dict], expected: tuple[float, dict]) -> None:
    np.testing.assert_allclose(got[0], expected[0], **FLOAT64_SUMS)
    assert got[1].keys() == expected[1].keys()
    for name, gradient in got[1].items():
        np.testing.assert_allclose(gradient, expected[1][name], **FLOAT64_SUMS, err_msg=name)


@given(configs(balance_loss=0.0), examples(), SEEDS)
def test_packed_rows_have_the_loss_and_the_gradient_of_separate_rows(
    config: GPTConfig, made: list[Tokens], seed: int
) -> None:
    model = random_gpt(config, seed)
    assert_equal(
        loss_and_gradients(model, packed(made), is_packed=True),
        loss_and_gradients(model, separate(made), is_packed=False),
    )


@given(configs(balance_loss=0.0), examples(), SEEDS)
def test_rows_have_the_loss_and_the_gradient_of_each_example_alone(
    config: GPTConfig, made: list[Tokens], seed: int
) -> None:
    """Weighted by how many tokens each of them has to learn: not the mean of means."""
    model, total = random_gpt(config, seed), sum(example.targets for example in made)
    loss, gradients = 0.0, {}
    for example in made:
        part = example.targets / total
        own_loss, own = loss_and_gradients(model, [[example]], is_packed=False)
        loss += own_loss * part
        gradients = {name: gradients.get(name, 0) + gradient * part for name, gradient in own.items()}
    assert_equal(loss_and_gradients(model, separate(made), is_packed=False), (loss, gradients))


@pytest.mark.control
@pytest.mark.parametrize("change", ["without documents", "without mask", "shifted"])
@given(examples(), SEEDS)
@settings(max_examples=5)
def test_wrong_rows_are_noticed(change: str, made: list[Tokens], seed: int) -> None:
    made = [*made, made[0], Tokens(np.array([1, 2, 3]), np.array([False, True, False]))]
    wrong = made
    if change == "without mask":
        wrong = [Tokens(example.ids, np.ones_like(example.learned)) for example in made]
    if change == "shifted":
        wrong = [Tokens(example.ids, np.roll(example.learned, 1)) for example in made]
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=CONTEXT, layers=1, heads=2, dim=8), seed)
    with pytest.raises(AssertionError):
        assert_equal(
            loss_and_gradients(model, packed(wrong), is_packed=change != "without documents"),
            loss_and_gradients(model, separate(made), is_packed=False),
        )


@given(configs(balance_loss=0.0), examples(), SEEDS, st.integers(1, 3), st.booleans())
def test_micro_batches_and_workers_change_nothing(
    config: GPTConfig, made: list[Tokens], seed: int, workers: int, is_packed: bool
) -> None:
    """Also if one of them has a row of which nothing is learned: it adds 0 to loss and gradient."""
    model = random_gpt(config, seed)
    nothing = Tokens(made[0].ids, np.zeros_like(made[0].learned))
    rows = [[nothing], *(packed(made) if is_packed else separate(made))]
    expected = loss_and_gradients(model, rows[1:], is_packed=is_packed)
    pool = Threads(model, AnswerTokens(packed=is_packed), workers)
    try:
        model.zero_grad()
        loss = pool.accumulate(make_batch(rows), micro_batches=len(rows))
        got = {name: np.array(p.grad.data) for name, p in model.named_parameters() if p.grad is not None}
        assert_equal((loss, got), expected)
    finally:
        pool.close()


@given(configs(balance_loss=0.0), examples(), SEEDS)
def test_rows_of_which_nothing_is_learned_add_exactly_nothing(config: GPTConfig, made: list[Tokens], seed: int) -> None:
    model = random_gpt(config, seed)
    rows = [[Tokens(example.ids, np.zeros_like(example.learned))] for example in made]
    model.zero_grad()
    loss = AnswerTokens(packed=True).loss_sum(model, make_batch(rows))
    loss.backward()
    assert float(loss.data) == 0
    assert all(not p.grad.data.any() for _, p in model.named_parameters() if p.grad is not None)
