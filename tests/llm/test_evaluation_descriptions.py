"""A description of a task that would score something else than what was meant is refused, before the work."""

from __future__ import annotations

from typing import Any

import pytest

from llm.data.errors import DataError
from llm.evaluation.tasks.description import RESERVED, from_dict
from llm.evaluation.tasks.items import task_of
from llm.evaluation.tasks.outcomes import Outcome
from llm.evaluation.tasks.results import Result, result_of

CHOICE: dict[str, Any] = {"score": "choice", "shapes": [{"context": "{q}", "choices": "c", "label": 0}]}
ANSWER: dict[str, Any] = {"score": "answer", "shapes": [{"context": "{q}", "target": "{a}"}]}


def with_shape(description: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**description, "shapes": [{**description["shapes"][0], **more}]}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({**CHOICE, "replace": [["a", "\\1"]]}, "'a' cannot be replaced by"),
        ({**CHOICE, "replace": [["a", "\\g<name>"]]}, "'a' cannot be replaced by"),
        ({**CHOICE, "replace": [["(", "b"]]}, "'(' cannot be replaced by 'b'"),
        ({**CHOICE, "shapes": []}, '"shapes" is empty'),
        ({**CHOICE, "shapes": [None]}, "found None; expected an object with context, choices"),
        (with_shape(CHOICE, choices=""), '"choices" must be the name of a field'),
        (with_shape(CHOICE, choices=["one"]), "at least 2"),
        (with_shape(CHOICE, context=[]), '"context" can be a list only'),
        (with_shape(ANSWER, context=["{q}", "{q}"]), '"context" can be a list only'),
        (with_shape(ANSWER, target=""), '"target" is missing'),
        ({**ANSWER, "max_tokens": 0}, '"max_tokens" must be at least 1, got 0'),
        ({**ANSWER, "extract": {"x": 3}}, "found 3; expected an object with pattern, which"),
    ],
)
def test_what_would_score_something_else_is_refused(data: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match="mine does not describe a task") as error:
        from_dict(data, "mine")
    assert said in str(error.value)


def results() -> list[Result]:
    """One of each score, with all that a result may have."""
    rows = [{"q": "q", "a": "a", "c": ["b", "c"], "kind": kind} for kind in "xy"]
    kinds = [
        (CHOICE, Outcome([-1.0, -2.0], [True, False])),
        (ANSWER, Outcome(answer="a")),
        ({**ANSWER, "score": "continuation"}, Outcome([-1.0], [True])),
        ({**ANSWER, "score": "text"}, Outcome([-1.0], sizes=[1, 1, 1])),
        ({**ANSWER, "score": "classes"}, Outcome(answer="a", probabilities=[0.9, 0.1])),
    ]
    tasks = [(task_of("t", from_dict({**data, "group": "kind"}, "t"), rows), outcome) for data, outcome in kinds]
    return [result_of(task, [outcome] * 2) for task, outcome in tasks]


def test_no_extract_has_a_name_that_results_have() -> None:
    names = {name for result in results() for name in result.to_json()}
    assert {name for name in names if not name.endswith(("_stderr", "_interval"))} <= RESERVED
    for name in sorted(RESERVED):
        with pytest.raises(DataError, match=f"\"extract\" has the name '{name}', which results have already"):
            from_dict({**ANSWER, "extract": {name: {"pattern": "a"}}}, "mine")


def test_each_choice_has_its_context_or_all_have_one() -> None:
    description = from_dict(with_shape(CHOICE, context=["{q}1", "{q}2"]), "mine")
    (item,) = task_of("t", description, [{"q": "q", "c": ["a", "b"]}]).items
    assert item.pairs == [("q1", " a"), ("q2", " b")]
    with pytest.raises(DataError, match="t, line 1: there are 2 contexts and 3 choices"):
        task_of("t", description, [{"q": "q", "c": ["a", "b", "c"]}])
