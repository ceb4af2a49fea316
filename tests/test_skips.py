"""At its end a run of tests says why tests were skipped, whatever is installed here, with -q too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_with_a_library(number):
    pytest.importorskip("no_such_library")

def test_with_a_machine():
    pytest.skip("needs a large machine")

def test_with_nothing(): ...
"""


def test_the_end_of_a_run_says_why_tests_were_skipped(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest", str(tmp_path)]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = output.splitlines()
    where = lines.index("3 skipped: needs no_such_library")
    assert lines[where + 1] == "1 skipped: needs a large machine"
    assert "1 passed, 4 skipped" in lines[-1]
