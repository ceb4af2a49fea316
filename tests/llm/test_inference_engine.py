"""The engine: each text is what `generate` writes, whoever shares the batch, and whatever was reused or guessed."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.inference.constrain.constraint import Constraint
from llm.inference.engine.engine import Engine
from llm.inference.engine.requests import Generation, Request
from llm.inference.engine.speculation import DraftModel, PromptLookup
from llm.inference.generate import generate
from llm.inference.logprobs import log_probabilities
from llm.inference.sampling import Sampling
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.rope_scaling import RopeScaling
from tests.llm.gpts import SEEDS, VOCAB, configs, random_gpt
from tokenizer.models.char import CharTokenizer

# In float64, the order of sums changes logits by 1e-12 or less. A random number falls so close to a border between two
# tokens once in 10^12 tokens, so texts are compared as they are.
LETTERS = CharTokenizer.train(["abc\n"])
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_k=st.sampled_from([None, 3]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    frequency_penalty=st.sampled_from([0.0, 0.5]),
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Some with a common beginning; some longer than the context."""
    beginning = draw(st.sampled_from([[], [1, 2, 3, 4, 5], [1, 2, 3], [7] * 12]))
    ids = beginning + draw(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=20))
    return Request(
        ids,
        max_tokens=draw(st.integers(0, 30)),
        sampling=draw(SAMPLINGS),
        seed=draw(SEEDS),
        stop_ids=draw(st.sampled_from([(), (3,)])),
        draft=draw(st.sampled_from([None, PromptLookup(3, 2)])),
    )


def plain(model: GPT, request: Request) -> list[int]:
    """The text without an engine."""
    return list(
        generate(
            model,
            request.ids,
            max_tokens=request.max_tokens,
            sampling=request.sampling,
            seed=request.seed,
            stop_ids=request.stop_ids,
        )
    )


def written(generation: Generation) -> list[int]:
    return [token.id for token in generation.tokens]


def finish_all(engine: Engine) -> None:
    while engine.running or engine.waiting:
        engine.step()


@given(configs(), SEEDS, st.lists(requests(), min_size=1, max_size=5), st.integers(1, 3), st.integers(1, 8), st.data())
def test_a_text_does_not_depend_on_batch_chunks_and_reuse(
    config: GPTConfig, seed: int, wanted: list[Request], slots: int, chunk: int, data: st.DataObject
) -> None:
    model = random_gpt(config, seed, np.float64)
    engine = Engine(model, slots, chunk=chunk)
    generations = []
    for request in wanted:  # they join at any time
        generations.append(engine.submit(request))
        for _ in range(data.draw(st.integers(0, 5))):
            engine.step()
    finish_all(engine)
    for request, generation in zip(wanted, generations, strict=True):
        assert written(generation) == plain(model, request)
        stopped = len(generation.tokens) < request.max_tokens
        assert generation.finish_reason == ("stop" if stopped else "length")


@given(configs(positions="rope", window=3), SEEDS)
def test_layers_with_a_window_keep_only_their_window(config: GPTConfig, seed: int) -> None:
    engine = Engine(random_gpt(config, seed, np.float64), chunk=4)
    list(engine.run(Request([1] * 10, max_tokens=10)))
    for layer in engine.slots.pool.layers:
        if layer.window is not None and config.rope_scaling is None:
            assert layer.arrays[0].shape[2] == 7  # the window, and a chunk


@given(SEEDS, st.integers(1, 6))
def test_a_cancelled_text_gives_its_slot_to_the_next_one(seed: int, steps: int) -> None:
    model = random_gpt(small(), seed, np.float64)
    engine = Engine(model)
    first, second = (engine.submit(Request([1, 2, 3], max_tokens=9, seed=number)) for number in (1, 2))
    for _ in range(steps):
        engine.step()
    engine.cancel(first)
    assert (first.finish_reason, second.finish_reason) == ("cancelled", None)
    finish_all(engine)
    assert written(second) == plain(model, second.request)
    assert written(first) == plain(model, first.request)[: len(first.tokens)]


def test_the_common_beginning_of_two_texts_is_read_once() -> None:
    model, read = random_gpt(small(), 0, np.float64), []
    engine, hidden = Engine(model, slots=2), model.hidden
    model.hidden = lambda ids, **options: read.append(ids.shape) or hidden(ids, **options)
    list(engine.run(Request(range(8), max_tokens=1)))
    list(engine.run(Request([*range(6), 9, 9], max_tokens=1)))
    list(engine.run(Request([*range(6), 9, 9, 4], max_tokens=1)))
    assert read == [(1, 8), (1, 2), (1, 1)]


def test_a_text_stays_when_another_one_begins_like_it() -> None:
    model, read = random_gpt(small(), 0, np.float64), []
    engine, hidden = Engine(model, slots=2), model.hidden
    model.hidden = lambda ids, **options: read.append(ids.shape[1]) or hidden(ids, **options)
    for ids in ([1, 2, 3, 4, 5, 6], [1, 2, 3, 9], [1, 2, 3, 4, 5, 6, 7]):
        list(engine.run(Request(ids, max_tokens=1)))
    assert read == [6, 1, 1]


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
@given(seed=SEEDS, wanted=st.lists(requests(), min_size=1, max_size=3))
def test_a_text_is_read_again_when_its_length_changes_all_angles(kind: Any, seed: int, wanted: list[Request]) -> None:
    factors = {"short_factors": (1.0,) * 2, "long_factors": (2.0, 3.0)} if kind == "longrope" else {"factor": 2.0}
    scaling = RopeScaling(kind, original_context=10, **factors)
    model = random_gpt(replace(small(), rope_scaling=scaling), seed, np.float64)
    engine = Engine(model, slots=2, chunk=4)
    generations = [engine.submit(request) for request in wanted]
    finish_all(engine)
    for request, generation in zip(wanted, generations, strict=True):
        assert written(generation) == plain(model, request)


def test_a_text_that_is_written_lends_its_beginning() -> None:
    model = random_gpt(small(), 0, np.float64)
    engine = Engine(model, slots=2)
    first = engine.submit(Request([1, 2, 3, 4], max_tokens=12))
    for _ in range(4):
        engine.step()
    second = engine.submit(Request([1, 2, 3, 4, 5], max_tokens=12))
    finish_all(engine)
    assert [written(each) for each in (first, second)] == [plain(model, each.request) for each in (first, second)]


def test_without_sliding_a_text_ends_with_the_context() -> None:
    model = random_gpt(small(), 0, np.float64)
    engine = Engine(model)
    generation = engine.submit(Request([1] * 20, max_tokens=50, slide=False))
    finish_all(engine)
    assert generation.finish_reason == "length"
    assert len(generation.ids) == model.config.context + 1  # the last token is drawn, and cannot be read
    with pytest.raises(ValueError, match="the context is 24"):
        engine.submit(Request([1] * 25, max_tokens=1, slide=False))


@given(
    configs(rope_scaling=None), SEEDS, st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=24), st.integers(1, 9)
)
def test_log_probabilities_of_prompt_and_text(config: GPTConfig, seed: int, ids: list[int], chunk: int) -> None:
    model = random_gpt(config, seed, np.float64)
    engine = Engine(model, slots=2, chunk=chunk)
    list(engine.run(Request(ids, max_tokens=1)))  # what is in the cache is not left out of the report
    request = Request(ids, max_tokens=min(3, 24 - len(ids)), top_logprobs=2, prompt_logprobs=True, seed=seed)
    generation = engine.submit(request)
    finish_all(engine)
    reported = generation.prompt_tokens + generation.tokens
    assert [token.id for token in reported] == generation.ids
    assert reported[0].logprob is None
    logits = model(np.array([generation.ids])).numpy()[0]
    for token, row in zip(reported[1:], logits, strict=False):
        logprobs = log_probabilities(row)
        assert token.logprob == pytest.approx(logprobs[token.id], abs=1e-10)
        assert [pair[1] for pair in token.top] == pytest.approx(sorted(logprobs)[:-3:-1], abs=1e-10)
        assert token.logprob <= token.top[0][1]
        assert (
            token.id not in (ids := [id for id, _ in token.top]) or token.logprob == token.top[ids.index(token.id)][1]
        )


@given(configs(), SEEDS, SEEDS, SAMPLINGS, st.integers(1, 5))
def test_a_draft_model_changes_nothing(
    config: GPTConfig, seed: int, other_seed: int, sampling: Sampling, count: int
) -> None:
    model, smaller = random_gpt(config, seed, np.float64), random_gpt(small(), other_seed, np.float64)
    for draft in (DraftModel(smaller, count), DraftModel(model, count)):
        request = Request([1, 2, 3], max_tokens=30, sampling=sampling, seed=seed, draft=draft)
        assert [token.id for token in Engine(model).run(request)] == plain(model, request)


@given(SEEDS, st.sampled_from([None, PromptLookup(3, 2)]), st.integers(1, 20))
def test_a_constrained_text_matches_or_is_the_beginning_of_a_match(seed: int, draft: Any, max_tokens: int) -> None:
    constraint = Constraint.from_regex("(ab|ba){4}c", LETTERS)
    model = random_gpt(replace(small(), vocab_size=LETTERS.vocab_size), seed)
    options = {"sampling": Sampling(temperature=2.0), "seed": seed, "constraint": constraint, "draft": draft}
    engine = Engine(model)
    generation = engine.submit(Request([1, 2, 1, 2], max_tokens, **options))
    finish_all(engine)
    text = LETTERS.decode(written(generation))
    if max_tokens > 9:
        assert generation.finish_reason == "stop"  # nothing can follow
        assert re.fullmatch("(ab|ba){4}c", text)
    else:
        assert generation.finish_reason == "length"
        assert re.fullmatch("(ab|ba)*[ab]?c?", text)
        assert len(text) == max_tokens


def test_a_draft_model_with_a_window_reads_a_long_prompt() -> None:
    config = replace(small(), context=900)
    model, draft = random_gpt(config, 0, np.float64), random_gpt(replace(config, window=3), 1, np.float64)
    prompt = np.random.default_rng(0).integers(0, VOCAB, 700).tolist()  # more than a chunk of the engine
    request = Request(prompt, max_tokens=6, seed=1, draft=DraftModel(draft, 3))
    assert [token.id for token in Engine(model).run(request)] == plain(model, request)


def test_right_guesses_save_calls_of_the_model() -> None:
    model = random_gpt(small(), 3, np.float64)
    calls, hidden = [], model.hidden
    model.hidden = lambda ids, **options: calls.append(ids.shape) or hidden(ids, **options)
    request = Request([1, 2], max_tokens=16, seed=5, sampling=Sampling(temperature=1.0))
    list(Engine(model).run(request))
    without = len(calls)
    calls.clear()
    draft = DraftModel(random_gpt(small(), 3, np.float64), 3)  # the same weights: all guesses are right
    list(Engine(model).run(Request([1, 2], max_tokens=16, seed=5, sampling=Sampling(temperature=1.0), draft=draft)))
    assert (without, len(calls)) == (16, 5)  # the prompt gives one token, and then four calls give four each, or three


def test_a_model_that_has_diverged_ends_its_text_with_an_error() -> None:
    model = random_gpt(small(), 0)
    model.embedding.weight.data[5] = np.nan
    engine = Engine(model, slots=2)
    bad, good = engine.submit(Request([5], max_tokens=4)), engine.submit(Request([1, 2], max_tokens=4))
    finish_all(engine)
    assert (bad.finish_reason, good.finish_reason) == ("error", "error")  # a tied head: all logits are NaN
    with pytest.raises(ValueError, match="no token can be drawn"):
        list(engine.run(Request([5], max_tokens=4)))


class Failing:
    """A constraint, a draft or a sampler that fails when it is used for the `last` time."""

    def __init__(self, last: int):
        self.left = last

    def __call__(self, *arguments: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise KeyError("a mistake")
        return []

    start = advance = propose = __call__

    def allowed(self, state: Any) -> np.ndarray:
        return np.ones(VOCAB, dtype=bool)


@pytest.mark.parametrize("part", ["constraint", "draft", "sampler"])
def test_what_fails_for_one_text_ends_only_this_text(part: str) -> None:
    model = random_gpt(small(), 0, np.float64)
    engine = Engine(model, slots=3)
    parts = {} if part == "sampler" else {part: Failing(3)}
    bad = engine.submit(Request([1, 2, 3], max_tokens=30, **parts))
    if part == "sampler":
        bad.sampler = Failing(1)
    others = []
    for seed in range(3 if part != "draft" else 0):  # guesses are made for a single text
        others.append(engine.submit(Request([1, 2, 3 + seed], max_tokens=20, seed=seed)))
    finish_all(engine)
    assert (bad.finish_reason, type(bad.error)) == ("error", KeyError)
    again = engine.submit(Request([1, 2, 3], max_tokens=20))
    finish_all(engine)
    for each in [*others, again]:  # the next text may begin with what the bad one has left in the cache
        assert written(each) == plain(model, each.request)


@given(SEEDS)
def test_a_prompt_whose_report_fails_ends_only_itself(seed: int) -> None:
    model = random_gpt(replace(small(), tied_head=False), seed, np.float64)
    model.embedding.weight.data[5] = np.nan
    engine = Engine(model, slots=2)
    good = engine.submit(Request([1, 2, 3], max_tokens=9, sampling=Sampling(logit_bias={5: -math.inf})))
    bad = engine.submit(Request([1, 5, 2], max_tokens=3, prompt_logprobs=True))
    finish_all(engine)
    assert (bad.finish_reason, type(bad.error)) == ("error", ValueError)
    assert written(good) == plain(model, good.request)


def test_prompts_that_wait_are_read_together() -> None:
    model, read = random_gpt(small(), 0, np.float64), []
    engine, hidden = Engine(model, slots=4, chunk=8), model.hidden
    model.hidden = lambda ids, **options: read.append(ids.size) or hidden(ids, **options)
    generations = [engine.submit(Request([length] * length, max_tokens=2)) for length in (12, 1, 2, 1)]
    engine.step()
    assert read == [8]  # the short ones whole, and as much of the long one as there is room for
    assert [len(each.tokens) for each in generations] == [0, 1, 1, 1]
    engine.step()
    assert read == [8, 3 + 8]  # a token of each of the others, which are not counted
    assert [len(each.tokens) for each in generations] == [1, 2, 2, 2]


@given(SEEDS, st.integers(1, 4))
def test_texts_with_the_same_prompt_read_it_once(seed: int, slots: int) -> None:
    model, read = random_gpt(replace(small(), context=60), seed, np.float64), []
    engine, hidden = Engine(model, slots, chunk=25), model.hidden
    model.hidden = lambda ids, **options: read.append(ids.size) or hidden(ids, **options)
    ids = np.random.default_rng(seed).integers(0, VOCAB, 50).tolist()
    generations = [engine.submit(Request(ids, max_tokens=3, seed=number)) for number in range(4)]
    finish_all(engine)
    # The prompt, its last token for each of the other texts, and the first two of the three tokens that each writes.
    assert sum(read) == 50 + 3 + 2 * 4
    for each in generations:
        assert written(each) == plain(model, each.request)


@given(SEEDS)
def test_float32_logits_are_those_of_the_model_alone(seed: int) -> None:
    model = random_gpt(small(), seed)
    rng = np.random.default_rng(seed)
    engine = Engine(model, slots=4, chunk=5)
    texts = [rng.integers(0, VOCAB, size).tolist() for size in (3, 17, 1, 9)]
    generations = [engine.submit(Request(ids, max_tokens=5, top_logprobs=0)) for ids in texts]
    finish_all(engine)
    for generation in generations:
        logits = model(np.array([generation.ids])).numpy()[0]
        for token, row in zip(generation.tokens, logits[len(generation.request.ids) - 1 :], strict=False):
            # float32: the products of different batches add in another order
            assert token.logprob == pytest.approx(log_probabilities(row)[token.id], abs=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"ids": []}, {"ids": [VOCAB]}, {"ids": [-1]}, {"max_tokens": -1}, {"seed": -1}], ids=str
)
def test_requests_that_are_not_possible(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must not be negative|at least one token|the model knows"):
        Engine(random_gpt(small(), 0)).submit(Request(**{"ids": [1], "max_tokens": 3} | wrong))


def small() -> GPTConfig:
    return GPTConfig(vocab_size=VOCAB, context=24, layers=1, heads=2, dim=8, positions="rope")
