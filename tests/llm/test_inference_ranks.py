"""A model that is split over ranks writes the text of one process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm.evaluation.command import Evaluate
from llm.evaluation.ranks import on_ranks
from llm.hub.source import open_model
from llm.inference.command import start
from llm.inference.options import parse
from llm.inference.ranks import complete, load_split, read_part
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.tensor.weights import split_state
from tests.llm.mpi_jobs import MARKS, mpiexec
from tests.llm.runs import make_run, model_at
from tokenizer import END_OF_TEXT, Tokenizer

BYTES = Tokenizer.train(["the rain, the sea"], vocab_size=263, special_tokens=[END_OF_TEXT])  # 263: not even


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("work") / "run", BYTES).folder


def test_each_rank_reads_its_part_of_the_weights(folder: Path) -> None:
    source, whole = open_model(folder), model_at(BYTES, 5).state_dict()
    for rank, model in enumerate(run_ranks(2, lambda ranks: read_part(source, ranks))):
        expected = split_state(source.config, whole, rank, 2)
        assert model.state_dict().keys() == expected.keys()
        assert model.num_parameters() < 0.7 * sum(array.size for array in whole.values())
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--chat"], "--chat is not possible with several ranks; leave it out, or start without mpiexec"),
        (["--serve"], "--serve is not possible with several ranks"),
        (["--checkpoint", "best"], "--checkpoint best is not possible with several ranks"),
    ],
    ids=["chat", "serve", "best"],
)
def test_what_ranks_cannot_do_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        complete(parse(arguments))


def test_a_model_that_cannot_be_split_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="2 query heads cannot be split over 3 ranks"):
        run_ranks(3, lambda group: load_split(str(folder), group))


def test_a_folder_without_a_run_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="holds no run, there is no config.json"):
        complete(parse(["--run", f"{folder}/nothing", "--prompt", ""]))


def test_an_evaluation_on_ranks_is_that_of_one_process(folder: Path, tmp_path: Path) -> None:
    options = Evaluate(str(folder), task=("copying", "agreement"), limit=5, json=str(tmp_path / "one.json"))
    options.start()
    run_ranks(2, lambda ranks: on_ranks(replace(options, json=str(tmp_path / "two.json")), ranks).start())
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one["tasks"].keys() == {"copying", "agreement"}
    assert_alike(one, two)


def assert_alike(one: Any, two: Any) -> None:
    """Equal, with numbers as near as float32 computes the logits of the ranks, whose sums have another order."""
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_alike(one[key], two[key])
    elif isinstance(one, list):
        assert len(one) == len(two)
        for pair in zip(one, two, strict=True):
            assert_alike(*pair)
    elif isinstance(one, float):
        assert two == pytest.approx(one, rel=1e-3, abs=1e-3)
    else:
        assert one == two


@MARKS[0]
@MARKS[1]
def test_generate_writes_the_same_text_on_two_processes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--run", str(folder), "--prompt", "the ", "--seed", "3", "--max-tokens", "12"]
    found = mpiexec(2, "generate.py", *arguments)
    assert found.returncode == start(parse(arguments)) == 0, found.stderr
    assert found.stdout == capsys.readouterr().out
    assert "the model is split over 2 ranks" in found.stderr


@MARKS[0]
@MARKS[1]
def test_an_error_on_all_ranks_is_one_sentence(folder: Path) -> None:
    result = mpiexec(2, "generate.py", "--run", f"{folder}/nothing", "--prompt", "x")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and "holds no run" in result.stderr


@pytest.mark.slow
@MARKS[0]
@MARKS[1]
def test_the_command_of_evaluation_prints_once(folder: Path) -> None:
    result = mpiexec(2, "-m", "llm.evaluation", str(folder), "--task", "copying", "--limit", "3")
    assert result.returncode == 0, result.stderr
    assert sum(line.startswith("copying") for line in result.stdout.splitlines()) == 1
