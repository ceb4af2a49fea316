"""Rewards: those that are built in, functions of users, and what is said when one of them fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llm.tuning.reinforcement.rewards import RewardError, load_reward

PROMPTS, TEXTS = ["1 + 1 =", "spell cat", "x"], [" 2", "c-a-t\n", ""]
ROWS = [{"answer": 2}, {"answer": " c-a-t "}, {"answer": "y"}]


def test_those_that_are_built_in() -> None:
    assert load_reward("exact")(PROMPTS, TEXTS, ROWS) == [1.0, 1.0, 0.0]
    assert load_reward("regex:^ ?[0-9]+$")(PROMPTS, TEXTS, ROWS) == [1.0, 0.0, 0.0]
    assert load_reward("regex:a:b")(PROMPTS, ["xa:b", "a", ":b"], ROWS) == [1.0, 0.0, 0.0]
    assert load_reward("length:4")(PROMPTS, TEXTS, ROWS) == [0.5, 0.5, 0.0]


def function(tmp_path: Path, body: str) -> str:
    path = tmp_path / "my:rewards.py"
    path.write_text(f"import numpy as np\ndef good(prompts, completions, rows):\n    {body}\n")
    return f"{path}:good"


def test_a_function_gets_prompts_completions_and_rows_and_returns_numbers_or_none(tmp_path: Path) -> None:
    values = 'len(c) if r["answer"] == 2 else None if p == "x" else True'
    body = f"return [{values} for p, c, r in zip(prompts, completions, rows)]"
    found = load_reward(function(tmp_path, body))(PROMPTS, TEXTS, ROWS)
    assert found == [2.0, 1.0, None]
    found = load_reward(function(tmp_path, "return np.arange(3, dtype=np.float32)"))(PROMPTS, TEXTS, ROWS)
    assert found == [0.0, 1.0, 2.0]
    assert all(type(value) is float for value in found)


def test_a_file_may_have_dataclasses(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Found:\n    score: float\n"
        "def reward(prompts, completions, rows):\n    return [Found(2).score for _ in rows]\n"
    )
    assert load_reward(f"{path}:reward")(PROMPTS, TEXTS, ROWS) == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 / 0", "failed: ZeroDivisionError: division by zero (line 3)"),
        ('return rows[0]["missing"]', "failed: KeyError: 'missing' (line 3)"),
        ("return [1]", "must return a number for each completion; it returned 1 for 3 completions"),
        ("return None", "failed: TypeError: 'NoneType' object is not iterable"),
        ('return ["1", 2, 3]', "must return finite numbers, or None; it returned '1'"),
        ("return [float('nan')] * 3", "must return finite numbers, or None; it returned nan"),
        ("return [[1]] * 3", "must return finite numbers, or None; it returned [1]"),
    ],
)
def test_what_goes_wrong_in_a_function_is_one_sentence_that_names_it(tmp_path: Path, body: str, message: str) -> None:
    name = function(tmp_path, body)
    with pytest.raises(RewardError) as caught:
        load_reward(name)(PROMPTS, TEXTS, ROWS)
    assert str(caught.value) == f"the reward {name} {message}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nice",
            "--reward nice is not possible; give exact, regex:PATTERN, length:N (at least 1), reward-model:PATH, or "
            "FILE.py:function",
        ),
        ("length:0", "--reward length:0 is not possible"),
        ("length:x", "--reward length:x is not possible"),
        ("exact:1", "--reward exact:1 is not possible"),
        ("regex:(", "'(' in --reward is not a regular expression: missing ), unterminated subpattern at position 0"),
        ("absent.py:f", "there is no file absent.py, which --reward names"),
        ("", "--reward  is not possible"),
    ],
)
def test_a_reward_that_does_not_exist_is_refused(name: str, message: str) -> None:
    with pytest.raises(RewardError) as caught:
        load_reward(name)
    assert str(caught.value).startswith(message)


def test_a_file_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    for text, message in [
        ("x = (", "SyntaxError: '(' was never closed (line 1)"),
        ("\nimport nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this' (line 2)"),
    ]:
        path.write_text(text)
        with pytest.raises(RewardError) as caught:
            load_reward(f"{path}:f")
        assert str(caught.value) == f"{path} cannot be imported for --reward: {message}"
    path.write_text("f = 1")
    for name in ("f", "g"):
        with pytest.raises(RewardError, match=f"has no function {name}, which --reward names"):
            load_reward(f"{path}:{name}")


def test_a_row_without_an_answer_is_refused() -> None:
    with pytest.raises(RewardError, match='needs the right answer in each row, as "answer", .* has the fields prompt'):
        load_reward("exact")(PROMPTS[:1], TEXTS[:1], [{"prompt": "1 + 1"}])
    assert np.isfinite(load_reward("exact")(PROMPTS[:1], ["2.5"], [{"answer": 2.5}])[0])
