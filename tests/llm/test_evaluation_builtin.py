"""Built-in tasks: right answers, items that cannot be guessed; n-gram models against their definition."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.evaluation.builtin.baselines import NAMES, baselines, text_of, with_baselines
from llm.evaluation.builtin.groups import distinct
from llm.evaluation.builtin.ngrams import NGram
from llm.evaluation.builtin.questions import ALIKE
from llm.evaluation.builtin.suite import COUNT, SUITE, builtin_task, rows
from llm.evaluation.builtin.words import NOUNS, VOWELS, plural
from llm.evaluation.likelihood import LogLikelihood
from llm.evaluation.task_arguments import open_tasks
from llm.evaluation.tasks.results import evaluate_task
from llm.runs.run import Run
from tests.llm.trainings import train, without_pictures
from tokenizer import END_OF_TEXT, CharTokenizer, Tokenizer

SEEDS = st.integers(0, 10**9)
each_task = pytest.mark.parametrize("name", SUITE)
PLURALS = set(map(plural, NOUNS))
CLOSING = {"(": ")", "[": "]", "{": "}"}


class Preference:
    """Likelihoods that depend on the context and the continuation by a given function."""

    def __init__(self, score: Callable[[str, str], float]):
        self.score = score

    def log_likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[LogLikelihood]:
        return [LogLikelihood(self.score(*pair), False, 1) for pair in pairs]


def accuracy(name: str, score: Callable[[str, str], float], limit: int = 200, seed: int = 0) -> float:
    return evaluate_task(builtin_task(name, limit=limit, seed=seed), Preference(score)).measures["acc"].value  # type: ignore[arg-type]


# --- the answers are right, by another way to find them ---------------------------------------------------------------


def solve_copying(query: str, choices: list[str]) -> list[bool]:
    return [len(re.findall(rf"\b{choice.strip()}\b", query)) >= 1 for choice in choices]


def solve_induction(query: str, choices: list[str]) -> list[bool]:
    last = query.split()[-1] if query.split()[-1] in NOUNS else [w for w in re.findall(r"\w+", query) if w in NOUNS][-1]
    nouns = [word for word in re.findall(r"\w+", query) if word in NOUNS]
    return [nouns[nouns.index(last) + 1] == choice.strip() for choice in choices]


def solve_arithmetic(query: str, choices: list[str]) -> list[bool]:
    terms = re.findall(r"([+-]?) ?(\d+)", query)
    return [sum(int(sign + number) for sign, number in terms) == int(choice) for choice in choices]


def solve_spelling(query: str, choices: list[str]) -> list[bool]:
    return [re.search(rf"\b{choice.replace(' ', '')}\b", query) is not None for choice in choices]


def solve_brackets(query: str, choices: list[str]) -> list[bool]:
    return [is_closed(query.replace(">>>", "") + choice) for choice in choices]


def is_closed(text: str) -> bool:
    open_brackets: list[str] = []
    for character in text:
        if character in CLOSING:
            open_brackets.append(character)
        elif character in CLOSING.values() and (not open_brackets or CLOSING[open_brackets.pop()] != character):
            return False
    return not open_brackets


def solve_agreement(query: str, choices: list[str]) -> list[bool]:
    return [agrees(re.findall(r"\w+", query + choice)) for choice in choices]


def agrees(words: list[str]) -> bool:
    for word, following in zip(words, words[1:], strict=False):
        if word in ("a", "an") and following in NOUNS and (word == "an") != (following[0] in VOWELS):
            return False
        if (
            word in ("this", "these")
            and following in PLURALS | {*NOUNS}
            and (word == "these") != (following in PLURALS)
        ):
            return False
    verbs = [place for place, word in enumerate(words) if word in ("is", "are", "has", "have", "does", "do")]
    if words[0] in ("This", "It") or not verbs:
        return True
    before = [word for word in words[: verbs[0]] if word in PLURALS | {*NOUNS}]
    subject = before[-1] if words[0] == "In" else before[0]
    return (words[verbs[0]] in ("are", "have", "do")) == (subject in PLURALS)


@each_task
@given(seed=SEEDS)
def test_exactly_one_choice_is_right(name: str, seed: int) -> None:
    for row in rows(name, 12, seed):
        right = globals()[f"solve_{name}"](row["query"], row["choices"])
        assert [i for i, each in enumerate(right) if each] == [row["label"]], row


# --- what cannot be guessed -------------------------------------------------------------------------------------------


@each_task
@given(seed=SEEDS, salt=st.integers())
def test_what_prefers_a_choice_whatever_the_question_is_scores_at_chance_exactly(
    name: str, seed: int, salt: int
) -> None:
    def of_ending(context: str, continuation: str) -> float:
        return random.Random(f"{salt} {continuation}").random()

    found = rows(name, 40, seed)
    if name != "agreement":  # there, what follows depends on the number of the noun
        assert accuracy(name, of_ending, limit=40, seed=seed) == 1 / len(found[0]["choices"])
    for score in (lambda context, text: len(text), lambda context, text: -len(text), lambda context, text: 0.0):
        assert accuracy(name, score, limit=40, seed=seed) == 1 / len(found[0]["choices"])  # length, position


@each_task
def test_labels_are_balanced_and_chance_is_as_stated(name: str) -> None:
    task = builtin_task(name, limit=COUNT)
    count = len(task.items[0].choices)
    assert np.bincount([item.label for item in task.items]).tolist() == [COUNT // count] * count
    assert evaluate_task(task, Preference(lambda context, text: 0.0)).chance == 1 / count  # type: ignore[arg-type]


@each_task
def test_items_are_different_and_more_items_begin_with_the_same(name: str) -> None:
    many = rows(name, COUNT, seed=3)
    assert len({json.dumps(row) for row in many}) == len({(row["query"], *row["choices"]) for row in many}) == COUNT
    assert rows(name, 50, seed=3) == many[:50]
    assert rows(name, 50, seed=4) != many[:50]


def test_more_items_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="the task spelling has only about [0-9,]+ items; ask for fewer than 100,000"):
        rows("spelling", 100_000)
    assert [len(each) >= 13 for each in ALIKE] == [True] * 7
    assert distinct(lambda: 1, lambda x: x, 5) == [1]
    assert [len(each) >= 13 for each in ALIKE] == [True] * 7
    assert distinct(lambda: 1, lambda x: None, 5) == []


def test_examples_before_a_question_are_other_items() -> None:
    task = builtin_task("copying", limit=20, shots=2)
    assert len(task.items) == 20
    for item, plain in zip(task.items, builtin_task("copying", limit=20).items, strict=True):
        assert item.context.endswith(plain.context)
        assert len(item.context) > len(plain.context)
        assert plain.context not in item.context[: -len(plain.context)]


def test_tasks_are_asked_for_by_name() -> None:
    names = [task.name for task in open_tasks(["induction", "builtin", "induction"], limit=4)]
    assert names == ["induction", *(name for name in SUITE if name != "induction")]
    for wrong in ("inductions", "", "induction=", "=x"):
        with pytest.raises(ValueError, match="is no task; give KIND=FILE, .* copying, induction, brackets"):
            open_tasks([wrong])


# --- n-gram models ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return CharTokenizer.train(["abcdefgh"])


@given(text=st.text("abc", max_size=40), history=st.text("abcd", max_size=4), n=st.integers(1, 3))
def test_the_probabilities_of_all_tokens_sum_to_1(tokenizer: Any, text: str, history: str, n: int) -> None:
    model = NGram(tokenizer, np.array(tokenizer.encode_ordinary(text), int), n)
    before = tokenizer.encode_ordinary(history)
    p = [model.probabilities(np.array([*before, token]))[-1] for token in range(tokenizer.vocab_size)]
    assert min(p) > 0
    assert math.fsum(p) == pytest.approx(1, abs=1e-12)


@given(text=st.text("abc", min_size=1, max_size=40), other=st.text("abcd", min_size=1, max_size=8), n=st.integers(1, 3))
def test_probabilities_are_those_of_the_definition(tokenizer: Any, text: str, other: str, n: int) -> None:
    ids, seen = tokenizer.encode_ordinary(other), tokenizer.encode_ordinary(text)

    def probability(history: list[int], token: int) -> float:
        shorter = probability(history[1:], token) if history else 1 / tokenizer.vocab_size
        size = len(history)
        followed = [seen[i + size] for i in range(len(seen) - size) if seen[i : i + size] == history]
        kinds = len(set(followed))
        return (followed.count(token) + kinds * shorter) / (len(followed) + kinds) if followed else shorter

    expected = [probability(ids[max(0, i - n + 1) : i], token) for i, token in enumerate(ids)]
    np.testing.assert_allclose(NGram(tokenizer, np.array(seen), n).probabilities(np.array(ids)), expected, rtol=1e-12)


def test_an_n_gram_model_knows_the_text_it_was_counted_in(tokenizer: Any) -> None:
    model = NGram(tokenizer, np.array(tokenizer.encode_ordinary("abcabcabdabc" * 20)), 3)
    better, worse = model.log_likelihoods([("ab", "c"), ("ab", "d")])
    assert math.exp(better.total) == pytest.approx(0.75, abs=0.02)
    assert math.exp(worse.total) == pytest.approx(0.25, abs=0.02)
    assert better.tokens == 1
    with pytest.raises(ValueError, match="only says how likely texts are"):
        model.answers(["a"], 1, [])


def test_n_gram_models_stand_beside_a_model_and_score_at_chance_where_they_see_too_little() -> None:
    words = " ".join(NOUNS) + " The is are used. ()[]{}=,\n" * 20
    tokenizer = Tokenizer.train([words], vocab_size=400, special_tokens=[END_OF_TEXT])
    models = {name: NGram(tokenizer, np.array(tokenizer.encode_ordinary(words)), n) for name, n in NAMES.items()}
    for name, chance in (("copying", 0.25), ("induction", 0.25), ("spelling", 0.25)):
        result = evaluate_task(builtin_task(name, limit=40), Preference(lambda context, text: 0.0))  # type: ignore[arg-type]
        beside = with_baselines(result, models)
        found = beside.to_json()
        assert found["chance"] == chance
        assert found["baselines"]["unigram"]["acc"] == chance
        assert list(found["baselines"]) == list(NAMES)
        assert f"  acc of chance {chance:.4f}, and of simpler models:" in list(beside.lines())


def test_n_gram_models_are_counted_in_the_text_of_a_run_or_else_in_that_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    without_pictures(monkeypatch)
    train(tmp_path / "run", "--steps", "1")
    run, text = str(tmp_path / "run"), tmp_path / "text.txt"
    tokenizer = Run(run).tokenizer()
    assert baselines(run, tokenizer)["unigram"].tables[0].counts.sum() == len(text.read_text())
    monkeypatch.setattr("llm.evaluation.builtin.baselines.MOST_CHARACTERS", 100)
    assert baselines(run, tokenizer)["unigram"].tables[0].counts.sum() == 100
    text.unlink()
    assert text_of(run).name == "python-docs"
    assert sorted(baselines(run, tokenizer)) == ["bigram", "trigram", "unigram"]  # though it lacks most characters
