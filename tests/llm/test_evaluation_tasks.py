"""Tasks: rows become questions as their description says, and what comes back is scored and added up."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.errors import DataError
from llm.evaluation.likelihood import CannotScore, LogLikelihood
from llm.evaluation.tasks import template
from llm.evaluation.tasks.comparison import Comparison
from llm.evaluation.tasks.description import Description, from_dict
from llm.evaluation.tasks.items import Item, Task, read_task, task_of
from llm.evaluation.tasks.known import KNOWN, find_description
from llm.evaluation.tasks.outcomes import Outcome
from llm.evaluation.tasks.progress import PIECE, solve
from llm.evaluation.tasks.results import evaluate_task, result_of
from llm.evaluation.tasks.show import shown

TEXTS = st.text("ab {}|.:\n", max_size=8)


@dataclass
class Stub:
    """A predictor that finds a continuation the likelier the more letters "x" it has, and answers with its context."""

    calls: list[int] = field(default_factory=list)  # how many texts at a time
    dies_at: int = 1 << 30  # the call that fails, as if it was killed

    def log_likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[LogLikelihood]:
        self.calls.append(len(pairs))
        if len(self.calls) >= self.dies_at:
            raise KeyboardInterrupt
        for number, (_, text) in enumerate(pairs):
            if "long" in text:
                raise CannotScore("pair", number, "it is too long")
        return [LogLikelihood(text.count("x") - 10.0, "x" in text, len(text)) for _, text in pairs]

    def answers(self, contexts: Sequence[str], max_tokens: int, stop: Sequence[str]) -> list[str]:
        return [context.upper() for context in contexts]

    def texts(self, texts: Sequence[str]) -> list[Any]:
        raise CannotScore("text", 1, "it is too short")

    def classes(self, texts: Sequence[str]) -> list[dict[str, float]]:
        return [{"ham": 1 - len(text) / 10, "spam": len(text) / 10} for text in texts]


def only_item(kind: str, row: dict[str, Any]) -> Item:
    (item,) = task_of(kind, find_description(kind), [row]).items
    return item


# --- templates --------------------------------------------------------------------------------------------------------


@given(TEXTS, TEXTS)
def test_what_a_field_holds_is_text_and_no_template(value: str, other: str) -> None:
    assert template.render("{a}-{{{b.c}}}", {"a": value, "b": {"c": other}}) == f"{value}-{{{other}}}"
    assert template.render("{a|before_last: }|{a|after_last: }", {"a": value}) == "|".join(
        (" ".join(value.split(" ")[:-1]), value.split(" ")[-1])
    )


@pytest.mark.parametrize("name", ["__class__", "a.__class__", "a.upper", "a.0", "", "missing"])
def test_a_template_reaches_nothing_but_fields(name: str) -> None:
    with pytest.raises(template.MissingField):
        template.render(f"{{{name}}}", {"a": "text"})


@pytest.mark.parametrize("given_", ["{a", "a}", "{a|upper}", "{a|before:}", "{a|strip:x}", "{a|__class__}"])
def test_a_template_that_no_row_can_fill_is_refused(given_: str) -> None:
    with pytest.raises(ValueError, match="template"):
        template.check(given_)


# --- descriptions -----------------------------------------------------------------------------------------------------


def test_known_tasks_are_data() -> None:
    assert json.loads(json.dumps(KNOWN)) == KNOWN
    for kind in KNOWN:
        assert isinstance(find_description(kind), Description)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "expected an object with score, shapes"),
        ({"score": "choice"}, "expected an object with score, shapes"),
        ({"score": "chess", "shapes": []}, "expected one of choice, continuation, answer, classes, text"),
        ({"score": "choice", "shapes": [{"contexts": "x"}]}, "contexts"),
        ({"score": "choice", "shapes": [{"context": "{a"}]}, "single brace"),
        ({"score": "choice", "shapes": [], "more": 1}, "expected an object with"),
        ({"score": "choice", "shapes": [], "metrics": ["f1"]}, "acc, acc_norm, acc_bytes"),
        ({"score": "answer", "shapes": [], "ignore": ["("]}, "is not a regular expression"),
        ({"score": "answer", "shapes": 3}, "does not describe a task"),
        ({"score": "answer", "shapes": ["x"]}, "does not describe a task"),
        ({"score": "answer", "shapes": [], "extract": []}, "does not describe a task"),
        ({"score": "answer", "shapes": [], "max_tokens": "many"}, "max_tokens"),
        ({"score": "answer", "shapes": [], "stop": "END"}, "stop"),
        ({"score": ["answer"], "shapes": []}, "does not describe a task"),
    ],
)
def test_what_describes_no_task_is_refused(data: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=re.escape(str(path))) as error:
        find_description(str(path))
    assert said in str(error.value)


# --- items ------------------------------------------------------------------------------------------------------------


def test_both_shapes_of_hellaswag_are_the_same_question() -> None:
    endings = ["sits [title] down.", " runs  off.", "x", "y"]
    original = {"activity_label": "Dogs", "ctx_a": "A dog [header] stands.", "ctx_b": "the dog", "endings": endings}
    item = only_item("hellaswag", {**original, "label": "1", "ctx": "unused"})
    assert item.pairs[:2] == [
        ("Dogs: A dog stands. The dog", " sits. down."),
        ("Dogs: A dog stands. The dog", " runs off."),
    ]
    assert item.label == 1
    other = only_item("hellaswag", {"query": item.context, "endings": endings, "label": 1})
    assert (other.pairs, other.label) == (item.pairs, item.label)


def test_both_shapes_of_arc_are_the_same_question() -> None:
    choices = [{"text": "two", "label": "1"}, {"text": "three", "label": "2"}]
    original = only_item("arc", {"id": "q", "question": {"stem": "1 + 1?", "choices": choices}, "answerKey": "1"})
    turned = {"text": ["two", "three"], "label": ["1", "2"]}
    hosted = only_item("arc", {"question": "1 + 1?", "choices": turned, "answerKey": "1"})
    assert (
        original.pairs
        == hosted.pairs
        == [("Question: 1 + 1?\nAnswer:", " two"), ("Question: 1 + 1?\nAnswer:", " three")]
    )
    assert original.label == hosted.label == 0


def test_the_right_choice_is_given_by_its_number_or_by_its_text() -> None:
    row = {"query": "q", "choices": ["3", "2", "1", "7"]}
    assert [only_item("choice", {**row, "label": label}).label for label in (0, 3, "1", "2", "0")] == [0, 3, 2, 1, 0]


@pytest.mark.parametrize("label", [4, -1, "x", "", True, 1.5, [1]])
def test_a_label_that_is_no_choice_is_refused_by_its_line(label: Any) -> None:
    rows = [
        {"query": "q", "choices": list("abcd"), "label": 0},
        {"query": "q", "choices": list("abcd"), "label": label},
    ]
    with pytest.raises(DataError, match=r"choice, line 2: label is .*, which is none of the choices"):
        task_of("choice", find_description("choice"), rows)


@pytest.mark.parametrize("kind", list(KNOWN))
def test_a_row_of_another_shape_is_refused_by_its_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"something": "else"}\n')
    with pytest.raises(DataError, match=r"rows.jsonl, line 2: the row has the fields something; this task needs \w+"):
        read_task(kind, find_description(kind), path)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a b"}\n{"text": \n')
    with pytest.raises(DataError, match=r"rows.jsonl, line 2"):
        read_task("lambada", find_description("lambada"), path)


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"sentence_good": name, "sentence_bad": "c"}) + "\n")
    task = read_task("blimp", find_description("blimp"), tmp_path)
    assert [item.choices[0] for item in task.items] == ["a", "b"]


@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 99))
def test_examples_are_other_rows_and_depend_on_the_seed_alone(rows: int, shots: int, seed: int) -> None:
    data = [{"query": f"q{i}?", "choices": ["x", "y"], "label": i % 2} for i in range(rows)]
    description = find_description("choice")
    if shots >= rows:
        with pytest.raises(DataError, match="--shots"):
            task_of("t", description, data, shots=shots, seed=seed)
        return
    task = task_of("t", description, data, shots=shots, seed=seed)
    for number, item in enumerate(task.items):
        *examples, question = item.context.split("\n\n")
        assert question == f"q{number}?" and len({*examples}) == shots
        for example in examples:
            found = re.fullmatch(r"q(\d+)\? (x|y)", example)
            assert found is not None and int(found[1]) != number
            assert found[2] == "xy"[int(found[1]) % 2]
    some = task_of("t", description, data, limit=2, shots=shots, seed=seed)
    assert list(some.items) == list(task.items[:2])


# --- scores -----------------------------------------------------------------------------------------------------------


def choices(*rows: tuple[list[str], int], **more: Any) -> Task:
    data = [{"query": "q", "choices": list(each), "label": label, **more} for each, label in rows]
    return task_of("choice", find_description("choice"), data)


def test_a_task_is_scored_by_the_likeliest_choice() -> None:
    result = evaluate_task(choices((["xx", "x"], 0), (["xxx", "b" * 99], 0), (["x", "a"], 1)), Stub())
    assert result.measures["acc"].value == pytest.approx(2 / 3)
    assert result.values("acc_norm") == [1.0, 0.0, 0.0]  # -8/2 and -9/1; -7/3 and -10/99; -9 and -10
    data = result.to_json()
    assert data["n"] == 3 and data["loglikelihoods"] == [[-8, -9], [-7, -10], [-9, -10]]
    assert data["stderr"] == pytest.approx(math.sqrt(2 / 9 / 2))
    json.dumps(data, allow_nan=False)


def test_answers_are_compared_without_spaces_at_their_ends_or_found_by_an_expression() -> None:
    rows = [{"question": "ab ", "answer": " AB", "kind": "k"}, {"question": "b", "answer": "b", "kind": "l"}]
    result = evaluate_task(task_of("answers", find_description("answers"), rows), Stub())
    assert result.values("acc") == [1, 0]
    assert [each.value for each in result.groups.values()] == [1, 0]
    rows = [{"question": "abc", "pattern": "^A.C"}, {"question": "abc", "answer": "b"}]
    assert evaluate_task(task_of("regex", find_description("regex"), rows), Stub()).values("acc") == [1, 0]
    with pytest.raises(ValueError, match=r"regex, line 1: '\(' is not a regular expression"):
        evaluate_task(task_of("regex", find_description("regex"), [{"question": "a", "pattern": "("}]), Stub())


def test_classes_and_their_calibration() -> None:
    rows = [{"text": "aaaaaaaaa", "label": "spam"}, {"text": "a", "label": "ham"}, {"text": "a", "label": "spam"}]
    result = evaluate_task(task_of("classify", find_description("classify"), rows), Stub())
    assert result.values("acc") == [1, 1, 0]
    assert result.to_json()["calibration"]["error"] == pytest.approx(0.9 - 2 / 3)
    with pytest.raises(DataError, match="classify, line 1: 'eggs' is none of the classes of the model, ham, spam"):
        evaluate_task(task_of("classify", find_description("classify"), [{"text": "a", "label": "eggs"}]), Stub())


def test_what_cannot_be_scored_is_named_by_its_line() -> None:
    with pytest.raises(DataError, match="choice, line 2: it is too long"):
        evaluate_task(choices((["a", "b"], 0), (["a", "long"], 0)), Stub())
    with pytest.raises(DataError, match="lambada, line 1: it is too long"):
        evaluate_task(task_of("lambada", find_description("lambada"), [{"text": "so long"}]), Stub())
    with pytest.raises(DataError, match="text, line 2: it is too short"):
        evaluate_task(task_of("text", find_description("text"), [{"text": "a"}, {"text": ""}]), Stub())


@pytest.mark.control
def test_a_model_that_gives_no_numbers_is_not_judged() -> None:
    with pytest.raises(ValueError, match=r"choice, line 1: the model gives no numbers \(NaN\)"):
        result_of(choices((["a", "b"], 0)), [Outcome([math.nan, -1.0], [False, False])])


def test_a_model_that_finds_nothing_possible_is_still_judged() -> None:
    result = result_of(choices((["a", "b"], 0)), [Outcome([-math.inf, -math.inf], [False, False])])
    assert result.to_json()["loglikelihoods"] == [[None, None]]
    task = task_of("lambada", find_description("lambada"), [{"text": "a b"}])
    json.dumps(result_of(task, [Outcome([-math.inf], [False])]).to_json(), allow_nan=False)


def test_two_models_are_compared_item_by_item() -> None:
    task = choices(*[(["x", "a"], i % 2) for i in range(10)])
    first = evaluate_task(task, Stub())
    second = result_of(task, [Outcome([-1.0, -2.0] if i < 5 else [-2.0, -1.0], [False] * 2) for i in range(10)])
    both = Comparison(first, second)
    expected = np.array(first.values("acc")) - np.array(second.values("acc"))
    assert both.measures["acc"].difference == pytest.approx(expected.mean())
    assert (both.measures["acc"].won, both.measures["acc"].lost) == ((expected > 0).sum(), (expected < 0).sum())
    json.dumps(both.to_json(), allow_nan=False)
    text = "\n".join(shown(first, 100, second))
    assert text.count("won: ") == (expected > 0).sum() and text.count("lost: ") == (expected < 0).sum()


def test_items_that_were_lost_and_won_are_shown_with_their_likelihoods() -> None:
    lines = list(shown(evaluate_task(choices((["x", "aa"], 0), (["x", "b"], 1)), Stub()), 5))
    assert [line for line in lines if "line" in line] == ["lost: choice, line 2", "won: choice, line 1"]
    assert lines[2].split() == [">", "-9.000", "x"] and lines[3].split() == ["-10.000", "*", "b"]
    assert lines[-1] == "numbers: log-likelihoods; > the likeliest choice; * the right one"
    assert list(shown(evaluate_task(choices((["x", "aa"], 0)), Stub()), 0)) == []
    task = task_of("lambada", find_description("lambada"), [{"text": "a b"}, {"text": "a b c"}])
    both = result_of(task, [Outcome([-1.0], [True]), Outcome([-2.0], [False])])
    text = "\n".join(shown(both, 1))
    assert "model: log-likelihood -1.000, each token the likeliest" in text and "-2.000, not the likeliest" in text


# --- going on after a kill --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies_at", [1, 2, 3])
def test_a_task_that_was_killed_goes_on_with_the_same_outcomes(dies_at: int, tmp_path: Path) -> None:
    task = choices(*[([f"{'x' * (i % 7)}", f"a{i}"], 0) for i in range(2 * PIECE + 3)])
    whole = solve(task, Stub())
    with pytest.raises(KeyboardInterrupt):
        solve(task, Stub(dies_at=dies_at), tmp_path)
    for path in tmp_path.iterdir():  # the kill came in the middle of writing
        path.write_bytes(path.read_bytes()[:-1] + b'{"item": "ab')
    again, counted = Stub(), []
    assert solve(task, again, tmp_path, counted.append) == whole
    assert sum(counted) == len(task.items)
    assert solve(task, Stub(dies_at=1), tmp_path) == whole  # nothing is left to do
    assert len(again.calls) == 3 - max(0, dies_at - 2)  # the last piece that was written has lost an item


def test_outcomes_of_other_items_are_not_used(tmp_path: Path) -> None:
    solve(choices((["x", "a"], 0)), Stub(), tmp_path)
    solve(choices((["x", "a"], 1)), Stub(dies_at=1), tmp_path)  # the label does not change what the model is asked
    with pytest.raises(KeyboardInterrupt):
        solve(choices((["x", "b"], 0)), Stub(dies_at=1), tmp_path)
    assert solve(choices((["x", "b"], 0)), Stub(), tmp_path) == solve(choices((["x", "b"], 0)), Stub())


def test_a_description_of_ones_own(tmp_path: Path) -> None:
    data = {
        "score": "choice",
        "shapes": [{"context": "{q|strip}:", "choices": ["{yes}", "{no}"], "label": "right", "labels": ["y", "n"]}],
        "delimiter": "",
    }
    (item,) = task_of("t", from_dict(data, "mine"), [{"q": " a ", "yes": "Y", "no": "N", "right": "n"}]).items
    assert (item.pairs, item.label) == ([("a:", "Y"), ("a:", "N")], 1)
