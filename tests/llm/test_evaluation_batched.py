"""Many pairs of texts at once get the log-likelihoods that each has alone, in any model and with any batch size."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.evaluation import batched
from llm.evaluation.batched import encode, log_likelihoods, score_batched
from llm.evaluation.likelihood import LogLikelihood, encode_parts, log_likelihood
from llm.evaluation.shared_beginnings import Scored, batches_of, groups_of
from llm.evaluation.text import ids_of
from llm.model.adapters.attach import adapter_off
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.rope_scaling import RopeScaling
from llm.tuning import add_prefix
from tests.llm.adapted import ADAPTERS, adapt
from tests.llm.gpts import SEEDS, VOCAB, configs, random_gpt
from tests.tokenizer.helpers import every_kind
from tokenizer import END_OF_TEXT, CharTokenizer, Tokenizer

LETTERS = CharTokenizer.train(["abcdefghijklm"])
BYTES = Tokenizer.train(["the rain, the sea"], vocab_size=262, special_tokens=[END_OF_TEXT])
# Sums of at most 18 log-probabilities in float64, of the size of 100, added up in another order.
TOLERANCE = 1e-9

beginnings = st.sampled_from(["a", "abcab", "abcabcabcabcabc", "m" * 30, "abcabcabcabcabcd"])
contexts = st.builds(str.__add__, beginnings, st.text("abm", max_size=3))  # some begin alike; some are too long
pairs = st.lists(st.tuples(contexts, st.text("abcm", min_size=1, max_size=18)), min_size=1, max_size=12)
sizes = st.integers(1, 200)


def check_equal(found: list[LogLikelihood], expected: list[LogLikelihood]) -> None:
    np.testing.assert_allclose([f.total for f in found], [e.total for e in expected], rtol=TOLERANCE, atol=TOLERANCE)
    assert [f[1:] for f in found] == [e[1:] for e in expected]


@given(configs(), st.one_of(st.none(), ADAPTERS), SEEDS, pairs, sizes)
def test_many_pairs_get_what_each_gets_alone(
    config: GPTConfig, adapter: Any, seed: int, pairs: list[tuple[str, str]], size: int
) -> None:
    model = random_gpt(config, seed)
    if adapter is not None:
        adapt(model, adapter, seed)
    model.train()
    found = log_likelihoods(model, LETTERS, pairs, batch_tokens=size)
    check_equal(found, [log_likelihood(model, LETTERS, *pair) for pair in pairs])
    assert model.training


# At most 30 letters: the continuation, with the spaces before it, has to fit in the context.
continuations = st.text("the sea", min_size=1, max_size=30)


@given(st.lists(st.tuples(st.sampled_from(["", "  ", "the "]), continuations), max_size=8), sizes)
def test_an_empty_context_is_the_beginning_of_a_text(pairs: list[tuple[str, str]], size: int) -> None:
    model = random_gpt(GPTConfig(vocab_size=262, context=40, layers=1, heads=2, dim=8), 0)
    found = log_likelihoods(model, BYTES, pairs, batch_tokens=size)
    check_equal(found, [log_likelihood(model, BYTES, *pair) for pair in pairs])


@given(SEEDS, pairs, sizes)
def test_angles_that_depend_on_the_length_of_the_text(seed: int, pairs: list[tuple[str, str]], size: int) -> None:
    scaling = RopeScaling("dynamic", factor=2.0, original_context=8)
    config = GPTConfig(vocab_size=VOCAB, context=24, layers=1, heads=1, dim=8, positions="rope", rope_scaling=scaling)
    model = random_gpt(config, seed)
    found = log_likelihoods(model, LETTERS, pairs, batch_tokens=size)
    check_equal(found, [log_likelihood(model, LETTERS, *pair) for pair in pairs])


def small_model(dtype: Any = np.float64) -> GPT:
    config = GPTConfig(vocab_size=VOCAB, context=64, layers=2, heads=2, dim=16, positions="rope")
    return random_gpt(config, 0, dtype)


ENDINGS = [("abcdefghij" * 3, ending) for ending in ("klm", "klmab", "a", "bbbb")]


def tokens_read(model: GPT, pairs: list[tuple[str, str]], size: int) -> list[int]:
    """How many ids each call of the model gets."""
    read: list[int] = []
    hidden = model.hidden
    model.hidden = lambda ids, **others: (read.append(np.size(ids)), hidden(ids, **others))[1]  # type: ignore
    log_likelihoods(model, LETTERS, pairs, batch_tokens=size)
    return read


@pytest.mark.parametrize("size", [1, 1000])
def test_a_context_is_read_once_for_all_of_its_endings(size: int) -> None:
    # The last id of a text is only predicted. The endings "klm" and "klmab" have only the context in common with "a".
    assert tokens_read(small_model(), ENDINGS, size) == [30, 2 + 4 + 0 + 3]


def test_batches_are_as_large_as_asked() -> None:
    questions = [(letter * 9, ending) for letter in "abcdef" for ending in ("gg", "hh")]
    read = tokens_read(small_model(), questions, 22)  # 9 + 1 + 1 for a question
    assert read == [18, 4] * 3


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-9)])
def test_the_size_of_batches_changes_only_the_rounding(dtype: Any, tolerance: float) -> None:
    model, pairs = small_model(dtype), [*ENDINGS, ("abc", "def"), ("m", "m"), ("hij" * 10, "klm" * 10)]
    one, *others = ([f.total for f in log_likelihoods(model, LETTERS, pairs, batch_tokens=n)] for n in (1, 30, 500))
    for other in others:
        np.testing.assert_allclose(other, one, atol=tolerance)


def test_results_come_as_they_are_finished() -> None:
    model, reported = small_model(), []
    expected = log_likelihoods(model, LETTERS, ENDINGS, progress=reported.append)
    assert sum(reported) == len(ENDINGS)
    each = score_batched(model, list(encode(LETTERS, model.context, [*ENDINGS, ("a", "b")])), 1)
    assert {number for number, _ in [next(each) for _ in ENDINGS]} == {0, 1, 2, 3}  # the longest ones first
    number, found = next(each)
    assert (number, found.tokens) == (4, 1)
    check_equal([found], [log_likelihood(model, LETTERS, "a", "b")])
    assert [f.tokens for f in expected] == [3, 5, 1, 4]


@pytest.mark.parametrize(("pair", "problem"), [(("a", ""), "has no tokens"), (("a", "b" * 65), "has 65 tokens")])
def test_a_pair_that_cannot_be_scored_is_named_before_anything_is_computed(pair: Any, problem: str) -> None:
    model = small_model()
    with pytest.raises(ValueError, match=f"pair 1: the continuation .*{problem}"):
        log_likelihoods(model, LETTERS, [("a", "b"), pair])
    with pytest.raises(ValueError, match="batch_tokens must be at least 1, got 0"):
        log_likelihoods(model, LETTERS, ENDINGS, batch_tokens=0)
    assert log_likelihoods(model, LETTERS, []) == []


texts = st.lists(st.integers(0, 2), min_size=1, max_size=30)


@given(st.lists(texts, max_size=30), st.integers(1, 100), st.integers(1, 60), st.integers(1, 200))
def test_each_text_is_in_one_group_of_one_batch(all_ids: list[Any], largest: int, most: int, cached: int) -> None:
    scored = [Scored(number, ids, ids[-1:]) for number, ids in enumerate(all_ids)]
    groups = groups_of(scored, largest)
    for each in groups:
        assert 1 <= each.shared <= min(len(text.ids) for text in each.texts)
        assert len({tuple(text.ids[: each.shared]) for text in each.texts}) == 1
        assert each.read <= each.cached
        assert len(each.texts) == 1 or each.cached <= largest
    in_batches = list(batches_of(groups, most, cached))
    assert sorted(t.number for batch in in_batches for g in batch for t in g.texts) == list(range(len(all_ids)))
    for batch in in_batches:
        assert len(batch) == 1 or sum(g.read for g in batch) <= most
        assert len(batch) == 1 or sum(g.cached for g in batch) <= cached


@pytest.mark.parametrize(("settings", "expected"), [({}, END_OF_TEXT), ({"bos_token": "<s>"}, "<s>")])
def test_a_token_that_begins_texts_is_preferred_to_one_that_ends_them(settings: Any, expected: str) -> None:
    tokenizer = Tokenizer.train(["the rain"], vocab_size=262, special_tokens=[END_OF_TEXT, "<s>"])
    tokenizer.settings = settings
    assert encode_parts(tokenizer, "", "the")[0] == [tokenizer.token_to_id(expected)]
    assert ids_of(tokenizer, "the")[0] == tokenizer.token_to_id(expected)


def test_a_context_that_has_no_tokens_is_empty() -> None:
    tokenizer = every_kind()["WordPiece"]  # which leaves control characters out
    assert encode_parts(tokenizer, "\x07", "the cat") == encode_parts(tokenizer, "", "the cat")
    with pytest.raises(ValueError, match="pair 0: the context is empty and this tokenizer has no token that begins"):
        log_likelihoods(small_model(), LETTERS, [("", "abc")])


@pytest.mark.parametrize("off", [False, True])
def test_threads_compute_what_one_thread_does(off: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "SMALL_MODEL", 0)
    monkeypatch.setattr(batched, "threads_to_use", lambda requested: 3)
    model = adapt(small_model(), (add_prefix, {"tokens": 2}), 1)
    pairs = [(letter * 9, ending) for letter in "abcdef" for ending in ("gg", "hh")]
    with adapter_off(model) if off else nullcontext():
        expected = [log_likelihood(model, LETTERS, *pair) for pair in pairs]
        check_equal(log_likelihoods(model.train(), LETTERS, pairs, batch_tokens=22), expected)
        check_equal(log_likelihoods(model, LETTERS, pairs[:1]), expected[:1])
    assert model.training
    each = score_batched(model, list(encode(LETTERS, model.context, pairs)), 22)
    next(each)
    each.close()  # type: ignore[attr-defined]
    assert model.training
