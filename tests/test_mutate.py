"""tools/mutate.py: what it changes and what it leaves alone; it tells a tested line from one that no test sees."""

from __future__ import annotations

import ast
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.mutations import all_changes

ROOT = Path(__file__).parents[1]
SOURCE = '''"""One."""
from typing import TYPE_CHECKING, Literal
__all__ = ["f"]
if TYPE_CHECKING: import numpy

@cache(3)
def f(x: Literal[1], *, axis: int = 0):
    """Two."""
    if not x:
        raise ValueError("x is three")
    total = 0
    for y in x:
        total += g(y, axis)  # four
        break
    h(x, x)
    return f"{total + 1}"

class A:
    def g(y, axis):
        return y[1:] - axis if y > axis else "é" * len(y)
    h = lambda x: x.sum(axis=1)
'''


def changed_lines(folder: Path, source: str) -> dict[str, set[str]]:
    (folder / "a.py").write_text(source, "utf-8")
    found: dict[str, set[str]] = {}
    for change in all_changes(folder, "a.py"):
        before, after = change.apply()[1].removeprefix("a.py ").split(" -> ")
        found.setdefault(before, set()).add(after)
    return found


def test_each_kind_of_change_is_made_and_texts_for_people_stay(tmp_path: Path) -> None:
    assert changed_lines(tmp_path, SOURCE) == {
        "f: def f(x: Literal[1], *, axis: int=0):": {
            "def f(x: Literal[1], *, axis: int=1):",
            "def f(x: Literal[1], *, axis: int=-1):",
        },
        "f: if not x:": {"if not not x:", "if x:"},
        "f: raise ValueError('x is three')": {"pass"},
        "f: total = 0": {"total = 1", "total = -1"},
        "f: total += g(y, axis)": {"total = g(y, axis)", "total -= g(y, axis)", "total += g(axis, y)"},
        "f: break": {"continue"},
        "f: h(x, x)": {"pass"},  # to swap the arguments is no change
        "A.g: return y[1:] - axis if y > axis else 'é' * len(y)": {
            "return y[1:] + axis if y > axis else 'é' * len(y)",
            "return y[:] - axis if y > axis else 'é' * len(y)",
            "return y[2:] - axis if y > axis else 'é' * len(y)",
            "return y[0:] - axis if y > axis else 'é' * len(y)",
            "return y[1:] - axis if y >= axis else 'é' * len(y)",
            "return y[1:] - axis if not y > axis else 'é' * len(y)",
            "return y[1:] - axis if y > axis else 'éé' * len(y)",
            "return y[1:] - axis if y > axis else 'é' / len(y)",
        },
        "A.<lambda>: h = lambda x: x.sum(axis=1)": {
            "h = lambda x: x.mean(axis=1)",
            "h = lambda x: x.sum()",
            "h = lambda x: x.sum(axis=2)",
            "h = lambda x: x.sum(axis=0)",
        },
    }


@pytest.mark.parametrize("file", ["minigrad/ops/shape.py", "llm/model/attention.py", "tokenizer/cli/terminal.py"])
def test_a_change_is_at_one_place_of_a_program_and_is_undone(file: str) -> None:
    whole = ast.unparse(ast.parse((ROOT / file).read_text("utf-8")))
    for change in random.sample(list(all_changes(ROOT, file)), 20):
        changed = change.apply()[0]
        compile(changed, file, "exec")
        assert sum(a != b for a, b in zip(whole.splitlines(), changed.splitlines(), strict=True)) == 1
        assert ast.unparse(change.tree) == whole


def test_a_wrong_change_is_met_by_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "tools" / "mutate.py", "--work", tmp_path, "--harmless", "no change"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "error: --harmless needs" in done.stderr.splitlines()[-1]


def test_a_function_is_noted_though_one_before_it_was_freed(tmp_path: Path) -> None:
    made = "for i in range(99): exec(compile(f'def f{i}(): pass\\nf{i}()', '/copy/made.py', 'exec'), {})"
    where = {"PYTHONPATH": str(ROOT / "tools" / "mutation_site"), "MUTATE_COPY": "/copy/"}
    calls = tmp_path / "calls"
    subprocess.run([sys.executable, "-c", made], env=os.environ | where | {"MUTATE_CALLS": str(calls)}, check=True)
    assert {f"made.py f{i}" for i in range(99)} <= {*calls.read_text().splitlines()}


PROJECT = {
    "minigrad/tested.py": "def double(x):\n    return x * 2\n",
    "minigrad/untested.py": "def half(x):\n    return x / 2\n",
    "llm/program.py": "def main():\n    print(7)\n\nif __name__ == '__main__':\n    main()\n",
    "tests/test_all.py": """
import subprocess, sys
from minigrad import tested, untested

def test_double():
    assert tested.double(3) == 6

def test_half():
    untested.half(3)

def test_fails_always():
    assert False

def test_program():
    assert subprocess.check_output([sys.executable, "-m", "llm.program"]) == b"7\\n"
""",
}


@pytest.mark.slow
@pytest.mark.control
def test_a_change_that_no_test_sees_survives(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)

    def mutate(*options: str) -> str:
        command = [sys.executable, "tools/mutate.py", "--work", str(tmp_path / "work"), *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    without_tests = mutate("--only", "llm/", "minigrad/", "--tests", "tests/none", "tests/other")
    assert "survived: minigrad/tested.py" in without_tests and "survived: llm/program.py" in without_tests
    assert "caught" not in without_tests and "map" not in without_tests, "no other tests are run"
    (tmp_path / "work" / "journal.jsonl").unlink()
    first = mutate("--count", "20", "--only", "minigrad/")
    assert "fails unchanged, left out: tests/test_all.py::test_fails_always" in first
    records = [json.loads(line) for line in (tmp_path / "work" / "journal.jsonl").read_text().splitlines()]
    assert {(record["change"].split()[0], record["result"]) for record in records} == {
        ("minigrad/tested.py", "caught"),
        ("minigrad/untested.py", "survived"),
    }
    assert len(records) == 6
    assert mutate("--count", "20", "--only", "minigrad/") == "", "all are done"
    assert "caught: llm/program.py main: print(7) -> print(8)" in mutate("--count", "20", "--only", "llm/")

    harmless = next(record["change"] for record in records if record["result"] == "survived")
    mutate("--harmless", harmless)
    report = mutate("--report")
    assert "3 of    5 caught   60.0% (23.1% to 88.2%)  minigrad\n" in report and "1 more are harmless" in report
    assert report.count("survived: minigrad/untested.py half: ") == 2 and harmless not in report
    tests = tmp_path / "tests" / "test_all.py"
    tests.write_text(tests.read_text().replace("untested.half(3)", "assert untested.half(3) == 1.5"))
    assert mutate("--again").count("caught: minigrad/untested.py half: ") == 2
    assert "5 of    5 caught  100.0% (56.6% to 100.0%)  minigrad\n" in mutate("--report")
    unchanged = {name: text for name, text in PROJECT.items() if not name.startswith("tests/")}
    assert {name: (tmp_path / name).read_text() for name in unchanged} == unchanged
