"""What the pages tell readers to run with python -m runs, and fails with a sentence and a status where it must."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("minigrad.gradcheck tanh", "caught"),
        ("tokenizer --help", "usage: "),
        ("llm.model.textbook --help", "usage: "),
        ("llm.training.simple --help", "usage: "),
        ("llm.hub --help", "usage: "),
        ("llm.tuning --help", "usage: "),
        ("llm.evaluation --help", "usage: "),
        ("llm.report --help", "usage: "),
        ("llm.tuning show --help", "usage: "),
    ],
)
def test_a_module_that_is_a_program_runs(command: str, said: str) -> None:
    result = run(*command.split())
    assert (result.returncode, result.stderr) == (0, "")
    assert said in result.stdout


def test_the_textbook_shows_each_merge_and_each_example() -> None:
    result = run("tokenizer.bpe.textbook")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines if " + " in line] == ["256", "257", "258", "259", "260"]
    assert [line.split(" -> ")[0] for line in lines if " -> " in line] == ["'slow'", "' lowest'", "'🐢'"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("minigrad.gradcheck tanhh", "tanhh"),
        ("tokenizer encode --tokenizer no_such_file text", "no_such_file"),
        ("llm.model.textbook no_such_run To", "no_such_run"),
        ("llm.training.simple no_such_file", "no_such_file"),
        ("llm.hub inspect no_such_model", "no_such_model"),
        ("llm.tuning teach", "'teach'"),
        ("llm.evaluation no_such_model --task lambada=pyproject.toml", "pyproject.toml, line 1"),
        ("llm.tuning show no_such_file --model no_such_model", "no_such_model"),
        ("llm.report no_such_run", "no_such_run"),
    ],
)
def test_a_mistake_ends_it_with_a_sentence_and_a_status(command: str, said: str) -> None:
    result = run(*command.split())
    assert result.returncode > 0
    assert said in result.stderr and "Traceback" not in result.stderr


def test_one_process_imports_nothing_of_what_splits_a_model_over_ranks() -> None:
    program = "import sys, train; train.main(['--dry-run', '--preset', 'tiny']); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = result.stdout.split()
    rooms = ("data", "zero", "tensor", "pipeline", "context", "plan", "rank_job", "communicators.mpi")
    assert "llm.parallel.job" in modules and "mpi4py" not in modules
    assert not [each for each in modules if each.startswith(tuple(f"llm.parallel.{room}" for room in rooms))]
