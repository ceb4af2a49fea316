"""Options of tuning: what is not possible is refused by the name of its option; JSON keeps the others."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.runs.options import Options, TrainOptions
from llm.runs.tuning_options import BELONGS_TO, LEAST, LORA, TuningOptions
from llm.training.checks import check_objective

OF_ALL = {"lora_rank", "lora_targets", *LORA, "prefix_tokens", "prompt_tokens", "freeze"}


def test_each_option_belongs_to_some_objective_or_to_all() -> None:
    assert {field.name for field in fields(TuningOptions)} == {*OF_ALL, *BELONGS_TO}


@pytest.mark.parametrize("name", LEAST)
@given(above=st.integers(0, 3), below=st.integers(1, 3))
def test_a_number_is_taken_from_its_bound_on(name: str, above: int, below: int) -> None:
    assert getattr(TuningOptions(**{name: LEAST[name] + above}), name) == LEAST[name] + above
    flag, least = name.replace("_", "-"), LEAST[name]
    with pytest.raises(ValueError, match=f"--{flag} must be at least {least}, got {least - below}"):
        TuningOptions(**{name: least - below})


@pytest.mark.parametrize("name", ["beta", "gamma", "temperature", "clip_low"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_number_is_finite(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} must be a number"):
        TuningOptions(**{name: value})


@pytest.mark.parametrize("name", LORA)
def test_an_option_of_lora_needs_a_rank(name: str) -> None:
    given: dict[str, Any] = {name: True if name in ("rslora", "dora") else 0.5}
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} belongs to LoRA; give --lora-rank too"):
        TuningOptions(**given)
    assert TuningOptions(lora_rank=1, **given).has_adapters


@pytest.mark.parametrize("name", BELONGS_TO)
def test_an_option_of_another_objective_is_refused(name: str) -> None:
    default = getattr(TuningOptions(), name)
    texts = {"preference": "ipo", "algorithm": "ppo", "kl": "k3", "baseline": "group", "ratio": "token"}
    other: Any = {bool: True, str: texts.get(name, "none"), int: 7, float: 0.25}.get(type(default), 3)
    tuning = TuningOptions(**{name: other})
    for objective in ("text", "chat", "classify", "preference", "reward", "reinforce"):
        training = replace(TrainOptions(from_="base", data="rows.jsonl"), objective=objective)  # type: ignore[arg-type]
        options = Options(training, tuning=tuning)
        if objective in BELONGS_TO[name]:
            check_objective(options)
        else:
            with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} is for --objective .*leave it out"):
                check_objective(options)


@given(
    rank=st.none() | st.integers(1, 99), alpha=st.floats(0.1, 9), beta=st.none() | st.floats(0, 9) | st.integers(0, 9)
)
def test_json_keeps_them(rank: int | None, alpha: float, beta: float | None) -> None:
    tuning = TuningOptions(lora_rank=rank, beta=beta, **({} if rank is None else {"lora_alpha": alpha}))
    options = Options(tuning=tuning)
    assert Options.from_json(json.loads(json.dumps(options.to_json()))) == options


@pytest.mark.parametrize(
    "changes", [{"lora_rank": "2"}, {"dora": 1}, {"preference": "none"}, {"freeze": None}, {"new": 1}, {"beta": True}]
)
def test_json_of_another_type_is_refused(changes: dict[str, Any]) -> None:
    data = Options(tuning=TuningOptions(lora_rank=1)).to_json()
    data["tuning"] |= changes
    with pytest.raises(ValueError, match=next(iter(changes))):
        Options.from_json(data)
    with pytest.raises(ValueError, match="not an object"):
        Options.from_json({**data, "tuning": 3})
