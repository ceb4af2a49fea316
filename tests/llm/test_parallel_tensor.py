"""A model that is split over ranks has the loss and every gradient of one process."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.inference.generate import generate
from llm.inference.sampling import Sampling
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.shards import check_split, shard, split_evenly, split_heads
from llm.parallel.tensor import attention, experts, gpt, group, shared
from llm.parallel.tensor.gpt import SplitGPT
from llm.parallel.tensor.operators import reduce
from llm.parallel.tensor.weights import gather_state, split_state
from minigrad import no_grad
from tests.llm.gpts import SEEDS, token_ids
from tests.llm.split_models import EXACT, assert_part, batch, loss_and_gradients, splits, trained_weights


def split_model(config: GPTConfig, weights: dict[str, Any], ranks: Communicator, **options: Any) -> SplitGPT:
    model = SplitGPT(config, ranks, rng=None, dtype=np.float64, **options)
    model.load_state_dict(split_state(config, weights, ranks.rank, ranks.size))
    return model


def whole_model(config: GPTConfig, weights: dict[str, Any]) -> GPT:
    model = GPT(config, rng=None, dtype=np.float64)
    model.load_state_dict(weights)
    return model


def check(
    config: GPTConfig, size: int, seed: int, *, recompute: bool = False, sequence: bool = False, **more: Any
) -> None:
    weights, arguments = trained_weights(config, seed), batch(seed, 2, 7) | more
    loss, expected = loss_and_gradients(whole_model(config, weights), **arguments)

    def run(ranks: Communicator) -> tuple[float, dict[str, np.ndarray]]:
        model = split_model(config, weights, ranks, sequence=sequence)
        model.recompute = recompute
        return loss_and_gradients(model, **arguments)

    for rank, (found, gradients) in enumerate(run_ranks(size, run)):
        assert found == pytest.approx(loss, rel=EXACT, abs=EXACT)
        held = {name for name, g in expected.items() if shard(config, name, g.shape, rank, size) is not None}
        assert gradients.keys() == held
        for name, part in gradients.items():
            assert_part(config, name, part, expected[name], rank, size)


LOSS_OPTIONS = st.fixed_dictionaries(
    {"label_smoothing": st.sampled_from([0.0, 0.2]), "z_loss": st.sampled_from([0.0, 0.1]),
     "reduction": st.sampled_from(["mean", "sum"])}
)  # fmt: skip


@given(split=splits(), seed=SEEDS, recompute=st.booleans(), options=LOSS_OPTIONS)
def test_loss_and_gradients_are_those_of_one_process(
    split: tuple[GPTConfig, int], seed: int, recompute: bool, options: dict[str, Any]
) -> None:
    check(*split, seed, recompute=recompute, **options)


@given(split=splits(experts=None), seed=SEEDS, recompute=st.booleans(), options=LOSS_OPTIONS)
def test_they_are_with_sequence_parallelism_too(
    split: tuple[GPTConfig, int], seed: int, recompute: bool, options: dict[str, Any]
) -> None:
    check(*split, seed, recompute=recompute, sequence=True, **options)


@given(split=splits(), seed=SEEDS, sequence=st.booleans())
def test_they_are_for_packed_documents_and_padding(split: tuple[GPTConfig, int], seed: int, sequence: bool) -> None:
    rng = np.random.default_rng(seed)
    documents, mask = np.sort(rng.integers(0, 3, (2, 7)), axis=1), rng.random((2, 7)) < 0.8
    sequence &= split[0].experts is None
    check(*split, seed, sequence=sequence, documents=documents, mask=mask)


@given(
    split=splits(balance_loss=0.5), seed=SEEDS, times=st.integers(1, 2), per_token=st.integers(1, 2),
    recompute=st.booleans(),
)  # fmt: skip
def test_they_are_with_experts_over_the_ranks(
    split: tuple[GPTConfig, int], seed: int, times: int, per_token: int, recompute: bool
) -> None:
    config, size = split
    config = replace(config, experts=size * times, experts_per_token=per_token, dense_layers=())
    check(config, size, seed, recompute=recompute)


@given(split=splits(), seed=SEEDS, sequence=st.booleans())
def test_gradients_have_the_same_bits_every_time_and_where_ranks_hold_the_same(
    split: tuple[GPTConfig, int], seed: int, sequence: bool
) -> None:
    config, size = split
    weights, arguments = trained_weights(config, seed), batch(seed, 2, 7)
    sequence &= config.experts is None

    def run(ranks: Communicator) -> dict[str, bytes]:
        _, found = loss_and_gradients(split_model(config, weights, ranks, sequence=sequence), **arguments)
        return {name: g.tobytes() for name, g in found.items()}

    first, again = (run_ranks(size, run) for _ in range(2))
    assert first == again
    for name, whole in weights.items():
        shards = [shard(config, name, whole.shape, rank, size) for rank in range(size)]
        holders = [(each.ranges, found[name]) for each, found in zip(shards, first) if each and name in found]
        for ranges, bits in holders:
            assert all(bits == other for same, other in holders if same == ranges), name


@given(split=splits(), seed=SEEDS)
def test_a_seed_gives_each_rank_its_part_of_the_same_initial_weights(split: tuple[GPTConfig, int], seed: int) -> None:
    config, size = split
    expected = GPT(config, rng=seed, dtype=np.float64).state_dict()
    for rank, state in enumerate(run_ranks(size, lambda ranks: SplitGPT(config, ranks, seed, np.float64).state_dict())):
        own = split_state(config, expected, rank, size)
        assert list(state) == list(own)
        for name in own:
            np.testing.assert_array_equal(state[name], own[name])


@given(split=splits(), seed=SEEDS)
def test_the_parts_of_all_ranks_make_up_the_whole_again_and_each_number_is_owned_once(
    split: tuple[GPTConfig, int], seed: int
) -> None:
    config, size = split
    weights = trained_weights(config, seed)
    shapes = {name: whole.shape for name, whole in weights.items()}

    def run(ranks: Communicator) -> dict[str, np.ndarray]:
        return dict(gather_state(config, shapes, split_state(config, weights, ranks.rank, size), ranks, root=size - 1))

    *others, gathered = run_ranks(size, run)
    assert not any(others)
    for name, whole in weights.items():
        np.testing.assert_array_equal(gathered[name], whole)
        shards = [each for rank in range(size) if (each := shard(config, name, whole.shape, rank, size)) is not None]
        owned = [each.part(whole).ravel()[own] for each in shards for own in each.owned_elements(whole.shape)]
        np.testing.assert_array_equal(np.sort(np.concatenate(owned)), np.sort(whole.ravel()))


# --- without gradients ------------------------------------------------------------------------------------------------


@given(split=splits(), seed=SEEDS, sequence=st.booleans(), first=st.integers(1, 6))
def test_logits_are_the_same_bits_on_all_ranks_with_a_cache_and_without(
    split: tuple[GPTConfig, int], seed: int, sequence: bool, first: int
) -> None:
    config, size = split
    sequence &= config.experts is None
    weights, ids = trained_weights(config, seed), token_ids(np.random.default_rng(seed), 2, 9)

    def run(ranks: Communicator) -> list[np.ndarray]:
        model = split_model(config, weights, ranks, sequence=sequence).eval()
        with no_grad():
            cache = KVCache(model.config)
            parts = [model(part, cache=cache).data for part in np.split(ids, [first, 7, 8], axis=1)]
            return [model(ids).data, np.concatenate(parts, axis=1)]

    with no_grad():
        expected = whole_model(config, weights).eval()(ids).data
    found = run_ranks(size, run)
    for each in found:
        for logits, same in zip(each, found[0], strict=True):
            np.testing.assert_array_equal(logits, same)
            np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-10 * max(1, abs(expected).max()))


@settings(max_examples=5)
@given(split=splits(dropout=0.0), seed=SEEDS)
def test_all_ranks_write_the_text_of_one_process(split: tuple[GPTConfig, int], seed: int) -> None:
    config, size = split
    weights, options = trained_weights(config, seed), {"max_tokens": 30, "sampling": Sampling(temperature=0.8, top_k=5)}
    expected = list(generate(whole_model(config, weights), [1, 2, 3], seed=seed, **options))  # beyond the context
    texts = run_ranks(
        size, lambda ranks: list(generate(split_model(config, weights, ranks), [1, 2, 3], seed=seed, **options))
    )
    assert texts == [expected] * size


@given(split=splits(), seed=SEEDS)
def test_the_loss_of_each_token_and_its_gradient_are_those_of_one_process(
    split: tuple[GPTConfig, int], seed: int
) -> None:
    config, size = split
    weights, arguments = trained_weights(config, seed), batch(seed, 2, 5)
    factors = np.random.default_rng(seed).standard_normal((2, 5))

    def run(model: GPT) -> tuple[np.ndarray, np.ndarray]:
        losses = model.eval().loss(**arguments, reduction="none")
        (losses * factors).sum().backward()
        return losses.data, model.blocks[0].norm1.weight.grad.numpy()

    expected = run(whole_model(config, weights))
    for found in run_ranks(size, lambda ranks: run(split_model(config, weights, ranks))):
        for part, whole in zip(found, expected, strict=True):
            np.testing.assert_allclose(part, whole, rtol=0, atol=EXACT * max(1, abs(whole).max()))


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "size", "message"),
    [
        (GPTConfig(heads=12), 5, "12 query heads cannot be split over 5 ranks; use a number that divides them"),
        (
            GPTConfig(heads=12, kv_heads=4),
            6,
            "4 key-value heads cannot be split over 6 ranks; use a number that divides",
        ),
        (GPTConfig(heads=4, dim=16, mlp_dim=3), 4, "an MLP of 3 cannot be split over 4 ranks; use at most 3"),
        (GPTConfig(heads=4, dim=16, vocab_size=3), 4, "a vocabulary of 3 cannot be split over 4 ranks; use at most 3"),
    ],
    ids=lambda value: "",
)
def test_what_cannot_be_split_is_refused_in_one_sentence(config: GPTConfig, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_split(config, size)


def test_tokens_of_experts_are_not_divided() -> None:
    config = replace(SMALL, experts=2)
    with pytest.raises(ValueError, match="sequence parallelism cannot divide the tokens of a model with experts"):
        run_ranks(2, lambda ranks: SplitGPT(config, ranks, sequence=True))


@pytest.mark.parametrize("wrong", [13, -1])
def test_an_id_outside_of_the_whole_vocabulary_is_refused(wrong: int) -> None:
    with pytest.raises(IndexError, match=f"id {wrong} is outside a vocabulary of 13, whose ids go from 0 to 12"):
        run_ranks(2, lambda ranks: SplitGPT(SMALL, ranks).hidden(np.array([[1, wrong]])))


# --- controls ---------------------------------------------------------------------------------------------------------

SMALL = GPTConfig(vocab_size=13, context=24, layers=1, heads=4, kv_heads=2, dim=16, qk_norm=True)


def plain(x: Any, ranks: Communicator) -> Any:
    """A missing reduction."""
    return x


def mean(x: Any, ranks: Communicator) -> Any:
    """A wrong scale."""
    return reduce(x, ranks) / ranks.size


@pytest.mark.control
@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [
        (group, "copy", plain),  # the gradient of what a layer reads
        (gpt, "copy", plain),  # the gradient of what the head reads
        (attention, "copy", plain),  # the gradients of QK-norm
        (shared, "copy", plain),  # the gradients of shared key-value heads
        (group, "reduce", plain),
        (group, "reduce", mean),
        (attention, "split_heads", lambda config, rank, size: split_heads(config, (rank + 1) % size, size)),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_mistakes_are_noticed(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, broken: Any) -> None:
    config = replace(SMALL, positions="alibi")
    check(config, 4, seed=1)
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(AssertionError):
        check(config, 4, seed=1)


@pytest.mark.control
def test_gradients_of_tokens_that_stay_with_the_experts_of_one_rank_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = replace(SMALL, experts=4)
    check(config, 2, seed=1)

    def slice_only(x: Any, ranks: Communicator, axis: int) -> Any:
        rows = split_evenly(len(x), ranks.rank, ranks.size)
        return x[rows.start : rows.stop]

    monkeypatch.setattr(experts, "own", slice_only)
    with pytest.raises(AssertionError):
        check(config, 2, seed=1)


@pytest.mark.control
def test_masks_that_forget_which_heads_and_tokens_they_are_for_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(SMALL, dropout=0.3)
    check(config, 2, seed=1, sequence=True)
    for module in attention, gpt:
        with monkeypatch.context() as patch:
            patch.setattr(module, "placed", lambda *parts: nullcontext())
            with pytest.raises(AssertionError):
                check(config, 2, seed=1, sequence=True)
