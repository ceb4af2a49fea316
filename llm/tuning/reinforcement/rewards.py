"""Rewards that a program can check: what is good about a completion, as a number.

A reward is a function of lists, so that it can check many completions at once:

    def reward(prompts, completions, rows):
        return [1.0 if row["answer"] in text else 0.0 for text, row in zip(completions, rows)]

`prompts`: the texts that the model was given. `completions`: what it wrote after them, without the token that ends it.
`rows`: the rows of the data file, each a dict with all its fields, also those that no training needs, such as "answer".
It returns a number for each completion, or None where it can give none: nothing is learned from this completion.

--reward FILE.py:function names such a function. Some are built in, and are named with their argument after a colon:

    exact            1 if the completion is the row's "answer", or 0; spaces at the ends do not count
    regex:PATTERN    1 if the regular expression matches somewhere in the completion, or 0
    length:N         1 for N characters, and less the further the length is from it; 0 for none, or twice as many
    reward-model:PATH   what the model at PATH says, which has learned from preferences (judge.py)
"""

from __future__ import annotations

import importlib.util
import math
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from llm.hub.tuned import base_checksum
from llm.runs.files import digest
from llm.tuning.reinforcement.judge import RewardModel

Row = Mapping[str, Any]
Reward = Callable[[Sequence[str], Sequence[str], Sequence[Row]], Sequence[float | None]]


class RewardError(ValueError):
    """A reward that does not exist, or that fails. The message names it."""


def exact(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Row]) -> list[float]:
    return [float(text.strip() == answer_of(row)) for text, row in zip(completions, rows, strict=True)]


def answer_of(row: Row) -> str:
    """The right answer to a row."""
    answer = row.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, (str, int, float)):
        raise RewardError(
            'the reward exact needs the right answer in each row, as "answer", a text or a number, and a row has the '
            f"fields {', '.join(row)}"
        )
    return str(answer).strip()


def regex(
    prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Row], *, pattern: re.Pattern
) -> list[float]:
    return [float(pattern.search(text) is not None) for text in completions]


def length(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Row], *, wanted: int) -> list[float]:
    return [max(0.0, 1 - abs(len(text) - wanted) / wanted) for text in completions]


def load_reward(name: str) -> Reward:
    """The reward that --reward names. Raises RewardError if there is none."""
    kind, colon, argument = name.partition(":")
    if name == "exact":
        return exact
    if kind == "regex" and argument:
        return partial(regex, pattern=_compiled(argument))
    if kind == "length" and argument.isdecimal() and int(argument):
        return partial(length, wanted=int(argument))
    if kind == "reward-model" and argument:
        return RewardModel(argument)
    path, _, function = name.rpartition(":")
    if path.endswith(".py") and function:
        return _checked(_function_of(path, function), name)
    raise RewardError(
        f"--reward {name} is not possible; give exact, regex:PATTERN, length:N (at least 1), reward-model:PATH, or "
        "FILE.py:function"
    )


def checksum(name: str) -> dict[str, str]:
    """A hash of the file or the model that --reward names, so that a run is not resumed with another reward."""
    kind, _, argument = name.partition(":")
    if kind == "reward-model":
        return {"reward": base_checksum(argument)}
    path = Path(name.rpartition(":")[0])
    return {"reward": digest(path)} if path.is_file() else {}


def _compiled(pattern: str) -> re.Pattern:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise RewardError(f"{pattern!r} in --reward is not a regular expression: {error}") from None


def _function_of(path: str, name: str) -> Callable:
    if not Path(path).is_file():
        raise RewardError(f"there is no file {path}, which --reward names")
    spec = importlib.util.spec_from_file_location("reward_of_user", path)
    assert spec is not None and spec.loader is not None, "the name ends with .py"
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses in it look for it there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RewardError(f"{path} cannot be imported for --reward: {_described(error, path)}") from None
    function = getattr(module, name, None)
    if not callable(function):
        raise RewardError(f"{path} has no function {name}, which --reward names")
    return function


def _checked(function: Callable, name: str) -> Reward:
    """The function of a user; what goes wrong in it, and a result that is not possible, is told in one sentence."""

    def reward(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Row]) -> list[float | None]:
        try:
            result = list(function(prompts, completions, rows))
        except Exception as error:
            raise RewardError(f"the reward {name} failed: {_described(error, name.rpartition(':')[0])}") from None
        if len(result) != len(completions):
            raise RewardError(
                f"the reward {name} must return a number for each completion; it returned {len(result)} for "
                f"{len(completions)} completions"
            )
        return [_number(value, name) for value in result]

    return reward


def _number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, (str, bytes)) or not math.isfinite(number):
        raise RewardError(f"the reward {name} must return finite numbers, or None; it returned {value!r}")
    return number


def _described(error: Exception, path: str) -> str:
    """The kind of an error, its message, and the line of the user's file where it happened."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    where = f" (line {lines[-1]})" if lines and lines[-1] else ""
    message = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    return f"{type(error).__name__}: {message}{where}"
