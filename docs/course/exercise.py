"""Break the property, repair it: a copy of the source with one small fault, and the tests that see it.

The copy is a folder of its own, `course-work/NN-name` in the checkout, so that nothing can happen to the original. Its
file course.json says which chapter it is of, and how many hints were given.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from docs.course.chapters import ROOT, Chapter, CourseError

COPIED = ["minigrad", "tokenizer", "llm", "tests", "tools", "docs", "pyproject.toml", "train.py", "generate.py"]
STATE = "course.json"
# Runs the tests. Fails with 90 if they imported the changed file from somewhere else, such as an installed package.
RUN = """
import importlib.util, os, pathlib, pytest, sys
file, *options = sys.argv[1:]
# A file that is changed twice in a second and keeps its size would be taken for the one of which this is the bytecode.
bytecode = importlib.util.cache_from_source(os.path.join(os.environ["PYTHONPATH"], file))
pathlib.Path(bytecode).unlink(missing_ok=True)
status = pytest.main(options)
module = sys.modules.get(file.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
elsewhere = module is not None and not pathlib.Path(module.__file__).samefile(file)
sys.exit(90 if elsewhere else status)
"""


@dataclass(frozen=True)
class Outcome:
    passed: bool
    failed: list[str]  # the ids of the tests that failed
    text: str  # what pytest wrote


def folder_of(chapter: Chapter, into: Path | None) -> Path:
    """Where the copy of a chapter is: here, if this is one."""
    here = _state(ROOT) is not None
    return (into or (ROOT if here else ROOT / "course-work" / chapter.name)).resolve()


def break_(chapter: Chapter, into: Path | None, *, again: bool = False) -> Outcome:
    """Make the copy and run the tests. `again`: an older copy is kept under another name."""
    if _state(ROOT) is not None:
        raise CourseError(f"{ROOT} is itself a copy for an exercise; run break in the folder from which it was made")
    folder = folder_of(chapter, into)
    if folder.exists() and not _is_empty(folder) and not (again and _state_of(chapter, folder)):
        _refuse(chapter, folder, into)
    if missing := [name for name in ("pytest", "hypothesis") if importlib.util.find_spec(name) is None]:
        raise CourseError(f"the tests need {' and '.join(missing)}: pip install -e '.[test]'")
    mutated = chapter.exercise.mutated((ROOT / chapter.exercise.file).read_text("utf-8"))
    if folder.exists() and not _is_empty(folder):
        folder.rename(next(p for n in range(1, 1000) if not (p := folder.with_name(f"{folder.name}-old{n}")).exists()))
    make_copy(folder)
    (folder / chapter.exercise.file).write_text(mutated, "utf-8")
    _write_state(folder, {"chapter": chapter.name, "hints": 0, "digest": _digest(folder)})
    return run_tests(chapter, folder)


def make_copy(folder: Path) -> None:
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "book.html"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def check(chapter: Chapter, into: Path | None) -> Outcome:
    """Run the tests. They are the original ones, whatever was done to those in the copy."""
    folder = folder_of(chapter, into)
    state = _require(chapter, folder, into)
    if state["digest"] == _digest(folder):
        file = _short(folder / chapter.exercise.file)
        raise CourseError(f"the copy is as break has left it; what is to be repaired is {file}")
    if folder != ROOT:
        for name in {test.partition("::")[0] for test in chapter.exercise.tests}:
            shutil.copy(ROOT / name, folder / name)
    outcome = run_tests(chapter, folder)
    _write_state(folder, state | {"repaired": outcome.passed})
    return outcome


def progress(chapter: Chapter) -> str:
    """What has become of the copy, for the list."""
    state = _state_of(chapter, folder_of(chapter, None))
    if state is None:
        return ""
    return "repaired" if state.get("repaired") else "broken"


def command(verb: str, chapter: Chapter, into: Path | None) -> str:
    """What to type."""
    return f"python -m docs.course {verb} {chapter.number}{f' --into {into}' if into else ''}"


def hint(chapter: Chapter, into: Path | None) -> str:
    """The next hint; after the third, how to see the solution."""
    folder, hints = folder_of(chapter, into), chapter.exercise.hints
    state = _require(chapter, folder, into)
    given = state["hints"]
    _write_state(folder, state | {"hints": min(given + 1, len(hints))})
    if given < len(hints):
        return f"Hint {given + 1} of {len(hints)}: {hints[given]}"
    file = chapter.exercise.file
    return f"The solution is the original. To see it:\n\n    diff {_short(folder / file)} {file}"


def run_tests(chapter: Chapter, folder: Path, tests: list[str] | None = None) -> Outcome:
    """Run the tests of the exercise, or other ones, in the copy."""
    tests = chapter.exercise.tests if tests is None else tests
    options = ["-q", "--tb=short", "-p", "no:cacheprovider", "-m", "not slow and not parity", "-rf", "--color=no"]
    environment = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "400"}
    command = [sys.executable, "-c", RUN, chapter.exercise.file, *options, *tests]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode == 90:
        raise CourseError(f"the tests did not import {chapter.exercise.file} from {folder}, but from another checkout")
    failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    # The status alone is not enough: a file that ends the program while it is imported ends it with 0 too.
    ran = re.search(r"^\d+ passed", done.stdout, re.MULTILINE) is not None
    return Outcome(done.returncode == 0 and ran, failed, done.stdout + done.stderr)


def failure(outcome: Outcome, lines: int = 34) -> str:
    """The first failure as pytest shows it: the line of the test that failed, and the smallest example."""
    parts = re.split(r"^_{3,} (.*?) _{3,}$", outcome.text, flags=re.MULTILINE)
    if len(parts) < 3:  # the file could not be imported, for instance
        return "\n".join(outcome.text.strip().splitlines()[-lines:])
    report = re.split(r"^={3,}", parts[2], flags=re.MULTILINE)[0].strip("\n").splitlines()
    where = [i for i, line in enumerate(report) if line.startswith("tests/")]
    begin = where[-1] if where else 0
    report = "\n".join(report[begin:]).split("\nE   Explanation:")[0].splitlines()
    shown = [
        re.sub(r"^E(?=\s|$)", "", line).rstrip()
        for line in report
        if not re.match(r"E\s+(\+ |You can reproduce|# The test)|-{3,} Hyp|\s+\^+$", line)
    ]
    more = [f"    ... and {len(shown) - lines} lines more"] if len(shown) > lines else []
    return "\n".join([parts[1], *(f"    {line}" for line in shown[:lines]), *more])


# --- the copy ---------------------------------------------------------------------------------------------------------


def _refuse(chapter: Chapter, folder: Path, into: Path | None) -> None:
    """Say why there is no new copy in a folder that has something in it."""
    state, check = _state_of(chapter, folder), command("check", chapter, into)
    again = command("break", chapter, into) + " --again"
    if state is None:
        raise CourseError(
            f"{folder} exists and is no copy for chapter {chapter.number}; delete it, or name another folder"
        )
    if state["digest"] == _digest(folder):
        raise CourseError(
            f"chapter {chapter.number} is broken already, in {_short(folder)}: repair {chapter.exercise.file} there, "
            f"then run {check}; to see again how its tests fail: {again}"
        )
    raise CourseError(
        f"{_short(folder)} has changes of yours, which are kept: go on with {check}, or begin anew with {again}, which "
        "gives the old folder another name"
    )


def _require(chapter: Chapter, folder: Path, into: Path | None) -> dict:
    state = _state_of(chapter, folder)
    if state is None:
        raise CourseError(
            f"{_short(folder)} is no copy for chapter {chapter.number}; first run {command('break', chapter, into)}"
        )
    return state


def _state_of(chapter: Chapter, folder: Path) -> dict | None:
    """The state of the copy for this chapter; None if the folder is no such copy."""
    state = _state(folder)
    return state if state is not None and state["chapter"] == chapter.name else None


def _state(folder: Path) -> dict | None:
    try:
        return json.loads((folder / STATE).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _write_state(folder: Path, state: dict) -> None:
    (folder / STATE).write_text(json.dumps(state), "utf-8")


def _digest(folder: Path) -> str:
    """Changes if any Python file in the copy does."""
    files = sorted(folder.rglob("*.py"))
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _short(path: Path) -> str:
    """A path as a reader would type it."""
    near = os.path.relpath(path)
    return str(path) if near.startswith("..") else near
