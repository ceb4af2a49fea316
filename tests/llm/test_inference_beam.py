"""Beam search: against a search through all texts, against greedy writing, and against the sums that it claims."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.inference import beam as module
from llm.inference.beam import Beam, beam_search, exhaustive_search
from llm.inference.generate import generate, read_all
from llm.inference.logprobs import log_probabilities
from llm.inference.sampling import Sampling
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.rope_scaling import RopeScaling
from tests.llm.gpts import SEEDS, configs, random_gpt

SIZE = 4  # tokens of the vocabulary
PENALTIES = st.sampled_from([-1.0, 0.0, 0.7, 1.0, 2.0])
STOPS = st.sets(st.integers(0, SIZE - 1), max_size=2)
PROMPTS = st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=3)
ENDINGS = st.sampled_from([True, False, "never"])


def tiny(seed: int, **options: Any) -> GPT:
    return random_gpt(
        GPTConfig(**{"vocab_size": SIZE, "context": 16, "layers": 1, "heads": 1, "dim": 4} | options), seed
    )


def same_texts(found: list[Beam], expected: list[Beam]) -> bool:
    """The same ids with the same scores, the best first. 1e-9: logits from a cache differ by rounding."""
    scores = {beam.ids: beam.score for beam in expected}
    return (
        len(found) == len(expected)
        and {beam.ids for beam in found} == scores.keys()
        and all(math.isclose(beam.score, scores[beam.ids], rel_tol=1e-9) for beam in found)
        and all(a.score >= b.score for a, b in zip(found, found[1:]))
    )


@given(configs(vocab_size=SIZE, context=16), SEEDS, PROMPTS, st.integers(0, 3), PENALTIES, STOPS)
@settings(max_examples=3 * settings().max_examples // 4)
def test_with_enough_beams_it_finds_all_texts(
    config: GPTConfig, seed: int, prompt: list[int], max_tokens: int, length_penalty: float, stop_ids: set[int]
) -> None:
    model, options = random_gpt(config, seed), {"max_tokens": max_tokens, "length_penalty": length_penalty}
    expected = exhaustive_search(model, prompt, stop_ids=stop_ids, **options)
    found = beam_search(model, prompt, stop_ids=stop_ids, num_beams=SIZE**3 + 1, **options)
    assert same_texts(found, expected)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
@given(SEEDS)
@settings(max_examples=settings().max_examples // 2)
def test_texts_are_read_again_when_their_length_changes_all_angles(kind: Any, seed: int) -> None:
    factors = {"short_factors": (1.0,) * 2, "long_factors": (2.0, 3.0)} if kind == "longrope" else {"factor": 4.0}
    scaling = RopeScaling(kind, original_context=3, **factors)
    model = tiny(seed, layers=2, positions="rope", rope_scaling=scaling)
    expected = exhaustive_search(model, [1, 2], max_tokens=3)
    assert same_texts(beam_search(model, [1, 2], num_beams=SIZE**3, max_tokens=3), expected)


@pytest.mark.control
def test_a_search_that_forgets_its_reserve_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"max_tokens": 3, "stop_ids": {1}}
    expected = exhaustive_search(tiny(0), [0], **options)
    assert same_texts(beam_search(tiny(0), [0], num_beams=SIZE**3, **options), expected)
    best: Callable = module.best_continuations
    monkeypatch.setattr(module, "best_continuations", lambda beginnings, logprobs, count: best(beginnings, logprobs, 3))
    assert not same_texts(beam_search(tiny(0), [0], num_beams=SIZE**3, **options), expected)


@given(SEEDS, PROMPTS, st.integers(1, 12), st.integers(1, 4), PENALTIES, STOPS, ENDINGS)
def test_texts_are_complete_and_have_the_scores_that_they_claim(
    seed: int, prompt: list[int], max_tokens: int, num_beams: int, length_penalty: float, stop_ids: set[int], early: Any
) -> None:
    """A text longer than the context too: its oldest tokens are left out, as when it is drawn."""
    model = tiny(seed, context=6)
    found = beam_search(
        model, prompt, num_beams=num_beams, max_tokens=max_tokens, length_penalty=length_penalty,
        early_stopping=early, stop_ids=stop_ids,
    )  # fmt: skip
    assert 1 <= len(found) <= num_beams
    assert len({beam.ids for beam in found}) == len(found)
    for ids, score in ((beam.ids, beam.score) for beam in found):
        assert len(ids) == max_tokens or ids[-1] in stop_ids
        assert not stop_ids & set(ids[:-1])
        rows = [log_probabilities(read_all(model, [*prompt, *ids[:n]])) for n in range(len(ids))]
        total = sum(row[id] for row, id in zip(rows, ids))
        assert math.isclose(score, total / len(ids) ** length_penalty, rel_tol=1e-9)


@given(SEEDS, PROMPTS, st.integers(0, 12), STOPS)
def test_one_beam_that_stops_early_is_greedy(seed: int, prompt: list[int], max_tokens: int, stop_ids: set[int]) -> None:
    options: dict[str, Any] = {"max_tokens": max_tokens, "stop_ids": stop_ids}
    (beam,) = beam_search(tiny(seed), prompt, num_beams=1, early_stopping=True, **options)
    drawn = list(generate(tiny(seed), prompt, sampling=Sampling(temperature=0), **options))
    assert list(beam.ids[: len(drawn)]) == drawn
    assert len(beam.ids) == len(drawn) or beam.ids[-1] in stop_ids


def table_model(rows: list[list[float]]) -> Any:
    """A model that knows for each token with which probability the next one comes after it."""
    table = np.log(rows)

    def hidden(ids: np.ndarray, cache: Any = None) -> np.ndarray:
        if cache is not None:
            cache.advance(slice(0, cache.length + ids.shape[1]))
        return table[ids]

    config = SimpleNamespace(vocab_size=len(rows), context=16, layers=0, rope_scaling=None)
    return SimpleNamespace(
        config=config, context=16, training=False, hidden=hidden, logits=lambda x: SimpleNamespace(data=x)
    )


def test_it_finds_a_text_that_is_likelier_than_the_greedy_one() -> None:
    """After 0 comes 1 (0.6) or 2 (0.4); after 1 each of four (0.25), after 2 surely 3. And 0.4 is more than 0.6 / 4."""
    model = table_model([[1e-9, 0.6, 0.4, 1e-9], [0.25] * 4, [1e-9, 1e-9, 1e-9, 1], [0.25] * 4])
    for num_beams, expected in ((1, (1, 0)), (2, (2, 3))):
        assert beam_search(model, [0], num_beams=num_beams, max_tokens=2)[0].ids == expected
    assert exhaustive_search(model, [0], max_tokens=2)[0].ids == (2, 3)


def test_as_many_beginnings_go_on_as_there_are_beams() -> None:
    """The three likeliest tokens end the text. Of the two others the less likely one leads to the best long text."""
    row, wide = [0.3, 0.25, 0.2, 0.15, 0.1], [0.2] * 5
    model = table_model([row, wide, wide, wide, [1e-9, 1e-9, 1e-9, 1e-9, 1]])
    options: dict[str, Any] = {"max_tokens": 3, "length_penalty": 2.0, "stop_ids": {0, 1, 2}}
    (best, _) = beam_search(model, [0], num_beams=2, early_stopping="never", **options)
    assert best.ids == (4, 4, 4) == exhaustive_search(model, [0], **options)[0].ids


def test_texts_that_are_impossible_are_not_found() -> None:
    with np.errstate(divide="ignore"):  # log(0)
        model = table_model([[0, 0.5, 0.5], [0, 0, 1], [0, 1, 0]])
    found = beam_search(model, [0], num_beams=9, max_tokens=2)
    assert {beam.ids for beam in found} == {(1, 2), (2, 1)}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
        ({"length_penalty": math.nan}, "length_penalty must be a number from -10 to 10, got nan"),
        ({"length_penalty": 11}, "length_penalty must be a number from -10 to 10, got 11"),
        ({"early_stopping": "always"}, "early_stopping must be True, False or \"never\", got 'always'"),
        ({"max_tokens": -1}, "max_tokens and seed must not be negative"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        beam_search(tiny(0), [0], **{"num_beams": 2, "max_tokens": 2, **options})
    with pytest.raises(ValueError, match="at least one token"):
        beam_search(tiny(0), [], num_beams=2, max_tokens=2)
