"""For tools/mutate.py: a copy of the checkout, tests that run there in a child process, and the map of the tests.

The map says for each test which functions it calls. To make it, each file of tests is run in a copy whose functions
report that they are called (mutations.with_calls). A file of tests is run again only when it has changed.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mutations import with_calls

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("minigrad/", "tokenizer/", "llm/")
MEMORY = 6 << 30  # bytes of data that one process may hold
CALLS: set[str] = set()  # the functions called since the test began: "file function"
Map = dict[str, dict[str, Any]]  # test: {"seconds": what it took, "calls": ["file function", ...]}


def make_copy(copy: Path) -> list[str]:
    """Copy the files of the checkout, without those that git ignores. Returns the names of its source files."""
    shutil.rmtree(copy, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    sources = [name for name in names if name.startswith(PACKAGES) and name.endswith(".py")]
    return sources + ["train.py", "generate.py"]


class Plugin:
    """In the process that runs tests: run `tests` (None: all) in this order, and write those that fail to `failed`."""

    def __init__(self, tests: list[str] | None, failed: Path) -> None:
        self.order = None if tests is None else {test: place for place, test in enumerate(tests)}
        self.failed, self.seconds, self.calls = failed, Counter[str](), dict[str, list[str]]()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        if self.order is not None:
            order = self.order
            items[:] = sorted((i for i in items if i.nodeid in order), key=lambda item: order[item.nodeid])

    def pytest_collectreport(self, report: Any) -> None:
        self.pytest_runtest_logreport(report)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] += getattr(report, "duration", 0)
        if report.failed:
            with self.failed.open("a") as file:
                print(report.nodeid, file=file)

    def pytest_runtest_logstart(self) -> None:
        CALLS.clear()  # the calls before this test, such as those of imports

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.calls[nodeid] = sorted(CALLS)


def run_tests(copy: Path, files: Iterable[str], tests: list[str] | None, seconds: float, map_file: Path | None) -> str:
    """Run tests of `files` in a child process. Returns what failed ("" if nothing). Writes their map to `map_file`."""
    failed = copy.with_suffix(".failed")
    failed.unlink(missing_ok=True)
    child = os.fork()  # quicker than a new process: NumPy and PyTorch are loaded already
    if child == 0:
        status = 3  # of pytest: it has failed itself
        with contextlib.suppress(BaseException):
            status = child_runs_tests(copy, files, Plugin(tests, failed), map_file)
        os._exit(status)
    deadline = time.monotonic() + seconds
    try:
        while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:  # also on Ctrl-C
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # with all processes that it started
    if done == (0, 0):
        os.waitpid(child, 0)
        return "the time limit"
    first = failed.read_text().split("\n")[0] if failed.exists() else ""
    status = os.waitstatus_to_exitcode(done[1])  # of pytest: 0 all pass, 4 a file is not there, 5 no tests
    if status == 4:
        raise RuntimeError(f"the tests have changed since the map was made: {copy.with_suffix('.output').read_text()}")
    return first or ("" if status in (0, 5) else f"the end of the process with status {status}")


def child_runs_tests(copy: Path, files: Iterable[str], plugin: Plugin, map_file: Path | None) -> int:
    os.setsid()  # a process group, so that all processes which the tests start can be ended with it
    os.chdir(copy)
    sys.path[0] = str(copy)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    output = os.open(copy.with_suffix(".output"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    from hypothesis import Phase, settings

    # Examples are not kept, because the next change would get them too. They are not shrunk, because that takes long.
    phases = [Phase.explicit, Phase.generate]
    examples = 20 if map_file is None else 3
    settings.register_profile("mutate", max_examples=examples, deadline=None, database=None, phases=phases)
    os.environ["HYPOTHESIS_PROFILE"] = "mutate"
    if map_file is not None:
        builtins._called = CALLS.add  # type: ignore[attr-defined]
        os.environ["PYTHONPATH"] = str(make_site(copy, Path(f"{map_file}.programs")))
    stop = ["-x"] if map_file is None else []
    status = importlib.import_module("pytest").main(["-q", "-p", "no:cacheprovider", *stop, *files], plugins=[plugin])
    if map_file is not None:
        tests = {test: {"seconds": plugin.seconds[test], "calls": calls} for test, calls in plugin.calls.items()}
        map_file.write_text(json.dumps(tests))
    return int(status)


def record_program(file: str) -> None:
    """In a program that a test starts: write its calls to `file` when it ends."""
    builtins._called = CALLS.add  # type: ignore[attr-defined]
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rsplit(" ", 1)[0]  # pytest sets it: "tests/a.py::test_b (call)"

    def write() -> None:
        with open(file, "a") as programs:
            print(json.dumps([test, sorted(CALLS)]), file=programs)

    atexit.register(write)


def make_site(copy: Path, programs: Path) -> Path:
    """A folder for PYTHONPATH, from which every program runs record_program at its start."""
    site = copy.with_suffix(".site")
    site.mkdir(exist_ok=True)
    tools = str(Path(__file__).parent)
    code = (
        f"import sys; sys.path.append({tools!r}); import mutation_runs; mutation_runs.record_program({str(programs)!r})"
    )
    (site / "sitecustomize.py").write_text(code)
    return site


def update_map(work: Path) -> Map:
    """The map of all tests that pass. Files of tests that are new or have changed are run."""
    folder, copy = work / "map", work / "copy-map"
    folder.mkdir(exist_ok=True)
    for name in make_copy(copy):
        (copy / name).write_bytes(with_calls(name, (copy / name).read_bytes()))
    whole: Map = {}
    for path in sorted((copy / "tests").rglob("test_*.py")):
        kept = folder / f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}.json"
        if not kept.exists():
            print(f"map: {path.relative_to(copy)}", flush=True)
            kept.write_text(json.dumps(map_tests(copy, path.relative_to(copy).as_posix())))
        whole |= json.loads(kept.read_text())
    return whole


def map_tests(copy: Path, name: str) -> Map:
    """The map of the tests of one file."""
    map_file = copy.with_suffix(".found")
    programs, failed = Path(f"{map_file}.programs"), copy.with_suffix(".failed")
    for path in (map_file, programs):
        path.unlink(missing_ok=True)
    run_tests(copy, [name], None, 1800, map_file)
    tests: Map = json.loads(map_file.read_text()) if map_file.exists() else {}
    for line in programs.read_text().splitlines() if programs.exists() else []:
        test, calls = json.loads(line)
        if test in tests:
            tests[test]["calls"] = sorted({*tests[test]["calls"], *calls})
    for test in failed.read_text().splitlines() if failed.exists() else []:
        print(f"map: fails unchanged, left out: {test}", flush=True)
        tests.pop(test, None)
    return tests
