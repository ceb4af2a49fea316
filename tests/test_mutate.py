"""tools/mutate.py: what it changes and what it leaves alone; it tells a tested line from one that no test sees."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from tools.mutations import Changes, draw_changes, is_another_program

ROOT = Path(__file__).parents[1]
SOURCE = '''"""One."""
from typing import Literal
__all__ = ["f"]

def f(x: "Literal[1]", *, axis: int = 0) -> "Literal[2]":
    """Two."""
    if not x:
        raise ValueError("x is three")
    total = 0
    for y in x:
        total += g(y, axis)  # four
        break
    return total

def g(y, axis):
    return y - axis if y > axis else "é" * len(y)  # after letters of several bytes
'''


def changed_lines(source: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for change in Changes("a.py", source.encode()).found:
        if is_another_program(change, source.encode()):
            before, after = change.describe(source.encode()).removeprefix("a.py: ").split(" -> ")
            found.setdefault(before, set()).add(after)
    return found


def test_each_kind_of_change_is_made_and_texts_for_people_stay() -> None:
    found = changed_lines(SOURCE.replace("->", "|").replace('| "Literal[2]"', ""))
    comment = "# after letters of several bytes"
    assert found == {
        'def f(x: "Literal[1]", *, axis: int = 0) :': {
            'def f(x: "Literal[1]", *, axis: int = 1) :',
            'def f(x: "Literal[1]", *, axis: int = (-1)) :',
        },
        "if not x:": {"if (not (not x)):", "if (x):"},
        'raise ValueError("x is three")': {"pass"},
        "total = 0": {"total = 1", "total = (-1)"},
        "total += g(y, axis) # four": {
            "total = g(y, axis) # four",
            "total -= g(y, axis) # four",
            "total += g(axis, y) # four",
        },
        "break": {"continue"},
        f'return y - axis if y > axis else "é" * len(y) {comment}': {
            f'return y + axis if y > axis else "é" * len(y) {comment}',
            f'return y - axis if y >= axis else "é" * len(y) {comment}',
            f'return y - axis if (not (y > axis)) else "é" * len(y) {comment}',
            f"return y - axis if y > axis else 'éé' * len(y) {comment}",
            f'return y - axis if y > axis else "é" / len(y) {comment}',
        },
    }  # fmt: skip


def test_a_change_of_the_real_source_is_another_program_and_a_seed_gives_the_same_ones() -> None:
    files = ["minigrad/ops/shape.py", "llm/model/attention.py"]
    drawn = list(islice(draw_changes(ROOT, files, 3), 30))
    assert drawn == list(islice(draw_changes(ROOT, files, 3), 30))
    assert drawn != list(islice(draw_changes(ROOT, files, 4), 30))
    for change in drawn:
        source = (ROOT / change.file).read_bytes()
        assert change.apply(source) != source and is_another_program(change, source)
        assert change.apply(source).startswith(source[: change.start])


@pytest.mark.parametrize(
    "options", [["--part", "3"], ["--part", "2/1"], ["--part", "0/1"], ["--harmless", "no change"]]
)
def test_a_wrong_option_is_met_by_one_sentence(options: list[str], tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "tools" / "mutate.py", "--work", tmp_path, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"error: {'argument ' if options[0] == '--part' else ''}{options[0]}" in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.control
def test_a_change_that_no_test_sees_survives(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    files = {
        "minigrad/tested.py": "def double(x):\n    return x * 2\n",
        "minigrad/untested.py": "def half(x):\n    return x / 2\n",
        "tests/test_all.py": "from minigrad import tested, untested\n\n"
        "def test_double():\n    assert tested.double(3) == 6\n\ndef test_half():\n    untested.half(3)\n",
        "train.py": "",
        "generate.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    command = [sys.executable, "tools/mutate.py", "--count", "20", "--work", str(tmp_path / "work")]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    records = [json.loads(line) for line in (tmp_path / "work" / "journal.jsonl").read_text().splitlines()]
    assert sorted((record["file"], record["result"]) for record in records) == [
        *[("minigrad/tested.py", "caught")] * 3,
        *[("minigrad/untested.py", "survived")] * 3,
    ]
    assert first.count("survived") == 3
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "", (
        "all are done"
    )
    assert {name: (tmp_path / name).read_text() for name in files} == files
