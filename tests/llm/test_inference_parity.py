"""The same options give the same logits, probabilities and texts as in the Hugging Face library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.hub import save
from llm.inference import filters, penalties
from llm.inference.beam import beam_search
from llm.inference.sampling import Sampling, apply_temperature, distribution, softmax
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from tests.llm.gpts import SEEDS, random_gpt
from tests.llm.rows import logit_rows

pytestmark = pytest.mark.parity

VOCAB = 30
PAD = VOCAB  # no token: their `generate` hides tokens of the prompt that are equal to it from the model
TEXTS = st.lists(st.integers(0, 11), max_size=8)


def theirs(name: str, *arguments: Any, row: np.ndarray, ids: Sequence[int] = ()) -> np.ndarray:
    """What a class of transformers makes of a row of logits."""
    torch, generation = pytest.importorskip("torch"), pytest.importorskip("transformers.generation.logits_process")
    step = getattr(generation, name)(*arguments)
    return step(torch.tensor([ids], dtype=torch.long), torch.tensor(row)[None])[0].numpy()


# --- penalties: to the last bit ---------------------------------------------------------------------------------------


@given(logit_rows(), TEXTS, st.sampled_from([0.5, 1.0, 1.2, 3.0]))
def test_repetition_penalty(row: np.ndarray, ids: list[int], penalty: float) -> None:
    ids = [i % len(row) for i in ids]
    expected = theirs("RepetitionPenaltyLogitsProcessor", penalty, row=row, ids=ids)
    np.testing.assert_array_equal(penalties.penalize_repetition(row, ids, penalty), expected)


@given(logit_rows(), st.dictionaries(st.integers(0, 11), st.sampled_from([-100.0, -0.75, 2.0]), min_size=1))
def test_bias(row: np.ndarray, bias: dict[int, float]) -> None:
    bias = {i % len(row): number for i, number in bias.items()}
    expected = theirs("SequenceBiasLogitsProcessor", {(i,): number for i, number in bias.items()}, row=row)
    np.testing.assert_array_equal(penalties.add_bias(row, tuple(bias.items())), expected)


@given(
    st.lists(st.integers(0, 2), max_size=6),
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=1, unique_by=tuple),
)
def test_banned_words(ids: list[int], words: list[list[int]]) -> None:
    row = np.array([0.5, -1.0, 2.0])
    expected = theirs("NoBadWordsLogitsProcessor", words, row=row, ids=ids)
    np.testing.assert_array_equal(penalties.ban_words(row, ids, words), expected)


# --- filters ----------------------------------------------------------------------------------------------------------


@st.composite
def rows_without_ties(draw: st.DrawFn) -> np.ndarray:
    """Logits from a normal distribution, from nearly equal to nearly certain, and some of them -inf."""
    rng = np.random.default_rng(draw(SEEDS))
    row = rng.normal(0, draw(st.sampled_from([0.01, 1.0, 20.0])), draw(st.integers(1, 60)))
    row[rng.random(row.size) < draw(st.sampled_from([0.0, 0.5]))] = -np.inf
    row[rng.integers(row.size)] = 0.123
    return row


def same_probabilities(ours: np.ndarray, logits: np.ndarray) -> None:
    """1e-10: sums round differently in another order. The same tokens must be left."""
    np.testing.assert_array_equal(ours > 0, softmax(logits) > 0)
    np.testing.assert_allclose(ours, softmax(logits), rtol=1e-10, atol=0)


@given(rows_without_ties(), st.sampled_from([0.01, 0.7, 1.0, 30.0]))
def test_temperature(row: np.ndarray, temperature: float) -> None:
    expected = theirs("TemperatureLogitsWarper", temperature, row=row)
    same_probabilities(softmax(apply_temperature(row, temperature)), expected)


@given(rows_without_ties(), st.sampled_from([1, 2, 20, 1000]))
def test_top_k(row: np.ndarray, k: int) -> None:
    # They keep all of several -inf in any case.
    np.testing.assert_array_equal(filters.keep_top_k(row, k), theirs("TopKLogitsWarper", k, row=row))


@given(rows_without_ties(), st.sampled_from([1e-6, 0.3, 0.9, 0.999, 1.0]))
def test_top_p(row: np.ndarray, p: float) -> None:
    same_probabilities(filters.keep_top_p(softmax(row), p), theirs("TopPLogitsWarper", p, row=row))


@given(rows_without_ties(), st.sampled_from([0.0, 1e-3, 0.3, 1.0]))
def test_min_p(row: np.ndarray, p: float) -> None:
    same_probabilities(filters.keep_min_p(softmax(row), p), theirs("MinPLogitsWarper", p, row=row))


@given(rows_without_ties(), st.sampled_from([1e-6, 0.2, 0.5, 0.9, 0.999]))
def test_typical(row: np.ndarray, p: float) -> None:
    same_probabilities(filters.keep_typical(softmax(row), p), theirs("TypicalLogitsWarper", p, row=row))


@given(logit_rows(), st.integers(1, 12))
def test_of_equal_logits_top_k_keeps_some_and_they_keep_all(row: np.ndarray, k: int) -> None:
    ours, others = (np.isfinite(x) for x in (filters.keep_top_k(row, k), theirs("TopKLogitsWarper", k, row=row)))
    assert not (ours & ~others).any()
    assert (row[others & ~ours] == row[ours].min()).all()


# --- all together: what `generate` of transformers draws from ---------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[GPT, Any]]]:
    """Random models of ours, and the same ones as transformers loads them."""
    transformers = pytest.importorskip("transformers")
    config = GPTConfig(vocab_size=VOCAB, context=64, layers=2, heads=2, dim=16)
    pairs = []
    for seed in range(4):
        folder: Path = tmp_path_factory.mktemp("models") / "model"
        model = random_gpt(config, seed)
        save(model, None, folder)
        pairs.append((model, transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float64").eval()))
    return pairs


@settings(max_examples=3 * settings().max_examples // 2)
@given(
    number=st.integers(0, 3), seed=SEEDS, temperature=st.sampled_from([0.4, 1.7]), top_k=st.sampled_from([None, 3, 20]),
    top_p=st.sampled_from([0.5, 0.9, 1.0]), min_p=st.sampled_from([0.0, 0.02, 0.3]),
    typical_p=st.sampled_from([0.5, 0.9, 1.0]), repetition_penalty=st.sampled_from([0.8, 1.0, 1.5]),
    logit_bias=st.dictionaries(st.integers(0, VOCAB - 1), st.sampled_from([-3.0, 2.5]), max_size=4),
    banned_words=st.lists(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=2), max_size=6, unique_by=tuple),
)  # fmt: skip
def test_all_options_together(
    models: Any, number: int, seed: int, logit_bias: Any, banned_words: Any, **options: Any
) -> None:
    """At each place of a text that transformers writes: from its logits, we make the probabilities that it draws from.

    It keeps logits in float32, of which the last digit is 1e-7 of a number of up to 50, and a temperature of 0.4 makes
    more of it.
    """
    torch = pytest.importorskip("torch")
    torch.manual_seed(seed)
    prompt = np.random.default_rng(seed).integers(0, VOCAB, 6).tolist()
    sampling = Sampling(**options, logit_bias=logit_bias, banned_words=banned_words)
    their_options = {name: value for name, value in options.items() if not (name == "typical_p" and value == 1)}
    their_options["top_k"] = options["top_k"] or 0
    if logit_bias:
        their_options["sequence_bias"] = {(i,): number for i, number in logit_bias.items()}
    if banned_words:
        their_options["bad_words_ids"] = banned_words
    result = models[number][1].generate(
        torch.tensor([prompt]), do_sample=True, max_new_tokens=5, pad_token_id=PAD, return_dict_in_generate=True,
        output_scores=True, output_logits=True, **their_options
    )  # fmt: skip
    ids = result.sequences[0].tolist()
    for n, (logits, scores) in enumerate(zip(result.logits, result.scores), start=len(prompt)):
        ours = distribution(logits[0].numpy(), ids[:n], sampling, len(prompt))
        np.testing.assert_allclose(ours, softmax(scores[0].numpy()), rtol=0, atol=1e-5)


# --- beam search ------------------------------------------------------------------------------------------------------


@settings(max_examples=3 * settings().max_examples // 2)
@given(
    number=st.integers(0, 3), seed=SEEDS, num_beams=st.integers(2, 7), max_tokens=st.sampled_from([1, 2, 5, 8, 12]),
    length_penalty=st.sampled_from([-1.0, 0.0, 0.6, 1.0, 2.0]), early_stopping=st.sampled_from([True, False, "never"]),
    stops=st.sampled_from([0, 1, 1, 2, 2, 3, 3]),
)  # fmt: skip
def test_beam_search(models: Any, number: int, seed: int, stops: int, max_tokens: int, **options: Any) -> None:
    """All texts that a search finds, with their scores.

    Scores are sums in float32: 1e-5. Two that are nearer to each other than that could change places; in these models
    they differ by 0.1 or so.
    """
    ours, other = models[number]
    rng = np.random.default_rng(seed)
    prompt = rng.integers(0, VOCAB, 5).tolist()
    stop_ids = likely_stops(ours, prompt, stops, rng)
    found = beam_search(ours, prompt, max_tokens=max_tokens, stop_ids=stop_ids, **options)
    texts, scores = their_search(other, prompt, max_tokens, stop_ids, **options)
    assert [list(beam.ids) for beam in found] == texts
    np.testing.assert_allclose([beam.score for beam in found], scores, rtol=1e-5, atol=1e-5)


RULES: list[dict[str, Any]] = [
    {"length_penalty": length_penalty, "early_stopping": early_stopping}
    for length_penalty, early_stopping in ((2.0, "never"), (2.0, False), (2.0, True), (-1.0, "never"))
]


def differences(models: Any, ours: dict[str, Any], theirs: dict[str, Any]) -> int:
    """In how many of 20 searches the texts differ, where our rules and theirs are these."""
    (model, other), rng, count = models[0], np.random.default_rng(0), 0
    for first in range(20):
        stop_ids = likely_stops(model, [first], 2, rng)
        found = beam_search(model, [first], num_beams=3, max_tokens=8, stop_ids=stop_ids, **ours)
        texts, _ = their_search(other, [first], 8, stop_ids, num_beams=3, **theirs)
        count += [list(beam.ids) for beam in found] != texts
    return count


@pytest.mark.parametrize("rules", RULES)
def test_beam_search_where_its_rules_matter(models: Any, rules: dict[str, Any]) -> None:
    assert differences(models, rules, rules) == 0


@pytest.mark.control
@pytest.mark.parametrize("wrong", RULES[1:])
def test_other_rules_of_beam_search_are_noticed(models: Any, wrong: dict[str, Any]) -> None:
    assert differences(models, wrong, RULES[0]) > 0


def likely_stops(model: GPT, prompt: list[int], count: int, rng: np.random.Generator) -> list[int]:
    """Stop ids that the likely texts have, or few of them would end before the others."""
    likely = {id for beam in beam_search(model, prompt, num_beams=6, max_tokens=8) for id in beam.ids[1:]}
    return rng.choice(sorted(likely), min(count, len(likely)), replace=False).tolist()


def their_search(
    model: Any, prompt: list[int], max_tokens: int, stop_ids: list[int], **options: Any
) -> tuple[list[list[int]], np.ndarray]:
    """The texts that transformers finds, and their scores."""
    torch = pytest.importorskip("torch")
    result = model.generate(
        torch.tensor([prompt]), do_sample=False, max_new_tokens=max_tokens, eos_token_id=stop_ids or None,
        pad_token_id=PAD, return_dict_in_generate=True, output_scores=True,
        num_return_sequences=options["num_beams"], **options
    )  # fmt: skip
    texts = [[i for i in row[len(prompt) :].tolist() if i != PAD] for row in result.sequences]
    return texts, result.sequences_scores.numpy()
