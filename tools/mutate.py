"""Does a test fail when the source is wrong? Change one place at random, run the tests, list what none of them noticed.

    python tools/mutate.py --count 20 --seed 1            python tools/mutate.py --report

Never touches the checkout: all happens in a copy, in the folder `--work`, which also holds a map (which test calls
which functions; the first run makes it) and a journal, from which a run that was stopped continues. A change meets
first the tests that call the changed function and little else, then all that call it. A test that fails, hangs or
takes too much memory has caught it. Works where there is fork: Linux, macOS.
"""

from __future__ import annotations

import argparse
import atexit
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
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from itertools import count, islice
from pathlib import Path
from types import FrameType
from typing import Any

from mutations import Change, Changes, draw_changes

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("minigrad/", "tokenizer/", "llm/")
MEMORY = 6 << 30  # bytes of data that one process may hold
FIRST_STAGE = 15.0  # seconds that the tests of the first stage took when the map was made
SECONDS = count(1_000_000_000)  # times for files that are written here: never the same twice
Map = dict[str, dict[str, Any]]  # test: {"seconds": what it took, "calls": ["file function", ...]}


# ---- the copy, and a process in it that runs tests -------------------------------------------------------------------


def make_copy(copy: Path) -> list[str]:
    """The files of the checkout, not those that git ignores, copied. Returns the names of its source files."""
    shutil.rmtree(copy, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    sources = [name for name in names if name.startswith(PACKAGES) and name.endswith(".py")]
    return sources + ["train.py", "generate.py"]


class Plugin:
    """In the process that runs tests: take the chosen tests alone, in their order; note the first that fails."""

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
        CALLS.clear()  # of imports

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.calls[nodeid] = sorted(CALLS)


def run_tests(copy: Path, files: Iterable[str], tests: list[str] | None, seconds: float, found: Path | None) -> str:
    """Runs tests in a child process. Returns what failed ("" if nothing). `found`: where to write a map of them."""
    failed = copy.with_suffix(".failed")
    failed.unlink(missing_ok=True)
    child = os.fork()  # quicker than a new process: NumPy and PyTorch are loaded already
    if child == 0:
        status = 3
        with contextlib.suppress(BaseException):
            status = child_runs_tests(copy, files, Plugin(tests, failed), found)
        os._exit(status)
    deadline = time.monotonic() + seconds
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # with all processes that it started
    if done == (0, 0):
        os.waitpid(child, 0)
        return "the time limit"
    names = failed.read_text().split("\n")[0] if failed.exists() else ""
    status = os.waitstatus_to_exitcode(done[1])
    return names or ("" if status == 0 else f"the end of the process with status {status}")


def child_runs_tests(copy: Path, files: Iterable[str], plugin: Plugin, found: Path | None) -> int:
    os.setsid()
    os.chdir(copy)
    sys.path[0] = str(copy)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    output = os.open(copy.with_suffix(".output"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    from hypothesis import Phase, settings

    # No example is kept, or the next change would meet it too; none is shrunk, which takes long.
    phases = [Phase.explicit, Phase.generate]
    examples = 20 if found is None else 3
    settings.register_profile("mutate", max_examples=examples, deadline=None, database=None, phases=phases)
    recording = {} if found is None else {"PYTHONPATH": str(make_site(copy)), "MUTATE_CALLS": str(found)}
    os.environ |= {"HYPOTHESIS_PROFILE": "mutate"} | recording
    if found is not None:
        record_calls(copy)
    stop = ["-x"] if found is None else []
    status = importlib.import_module("pytest").main(["-q", "-p", "no:cacheprovider", *stop, *files], plugins=[plugin])
    if found is not None:
        tests = {test: {"seconds": plugin.seconds[test], "calls": calls} for test, calls in plugin.calls.items()}
        found.write_text(json.dumps(tests))
    return int(status)


# ---- the map: which test calls which functions -----------------------------------------------------------------------

CALLS: set[str] = set()


def record_calls(root: Path) -> None:
    """From now on, note in CALLS each function of the packages that is called: "file function"."""
    prefixes = tuple(f"{root}/{name}" for name in (*PACKAGES, "train.py", "generate.py"))
    skip = len(str(root)) + 1

    def trace(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if code.co_filename.startswith(prefixes):
            CALLS.add(f"{code.co_filename[skip:]} {code.co_qualname}")

    threading.settrace(trace)
    sys.settrace(trace)


def make_site(copy: Path) -> Path:
    """A folder for PYTHONPATH: programs that a test starts record their calls too, and leave them in a file."""
    site = copy.with_suffix(".site")
    site.mkdir(exist_ok=True)
    tools = str(Path(__file__).parent)
    code = f"import sys; sys.path.append({tools!r}); import mutate; mutate.record_program({str(copy)!r})"
    (site / "sitecustomize.py").write_text(code)
    return site


def record_program(copy: str) -> None:
    record_calls(Path(copy))
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rsplit(" ", 1)[0]  # pytest sets it: "tests/a.py::test_b (call)"

    def write() -> None:
        with open(os.environ["MUTATE_CALLS"] + ".programs", "a") as file:
            print(json.dumps([test, sorted(CALLS)]), file=file)

    atexit.register(write)


def update_map(copy: Path, work: Path) -> Map:
    """The map of all tests that pass; files of tests that are new or have changed are run now."""
    folder = work / "map"
    folder.mkdir(exist_ok=True)
    whole: Map = {}
    for path in sorted((copy / "tests").rglob("test_*.py")):
        name = path.relative_to(copy).as_posix()
        found = folder / f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}.json"
        if not found.exists():
            print(f"map: {name}", flush=True)
            fresh = found.with_suffix(".new")
            fresh.with_name(fresh.name + ".programs").unlink(missing_ok=True)
            run_tests(copy, [name], None, 1800, fresh)
            tests = json.loads(fresh.read_text()) if fresh.exists() else {}
            programs = Path(f"{fresh}.programs")
            for line in programs.read_text().splitlines() if programs.exists() else []:
                test, calls = json.loads(line)
                if test in tests:
                    tests[test]["calls"] = sorted({*tests[test]["calls"], *calls})
            broken = copy.with_suffix(".failed")
            for test in broken.read_text().splitlines() if broken.exists() else []:
                print(f"map: fails unchanged, left out: {test}", flush=True)
                tests.pop(test, None)
            found.write_text(json.dumps(tests))
        whole |= json.loads(found.read_text())
    return whole


# ---- one change against the tests ------------------------------------------------------------------------------------


def stages(change: Change, tests: Map) -> list[list[str]]:
    """The tests that call the changed function (or any of its file): the most special for it first, then the rest."""
    function = f"{change.file} {change.function}"
    calling = [test for test, run in tests.items() if function in run["calls"]]
    if not calling or not change.function:
        calling = [test for test, run in tests.items() if any(c.startswith(change.file + " ") for c in run["calls"])]
    calling.sort(key=lambda test: len(tests[test]["calls"]) * (tests[test]["seconds"] + 0.05))
    first, seconds = list[str](), 0.0
    for test in calling:
        seconds += tests[test]["seconds"] + (0 if any(same_file(test, t) for t in first) else 1)
        if seconds < FIRST_STAGE or not first:
            first.append(test)
    return [first, [test for test in calling if test not in set(first)]]


def same_file(one: str, other: str) -> bool:
    return one.split("::")[0] == other.split("::")[0]


def try_change(change: Change, copy: Path, tests: Map) -> str:
    """What caught the change, or "" if nothing did."""
    path = copy / change.file
    source = path.read_bytes()
    write(path, change.apply(source))
    try:
        for stage in stages(change, tests):
            seconds = 60 + 6 * sum(tests[test]["seconds"] for test in stage)
            files = dict.fromkeys(test.split("::")[0] for test in stage)
            if stage and (caught := run_tests(copy, files, stage, seconds, None)):
                return caught
        return ""
    finally:
        write(path, source)


def write(path: Path, source: bytes) -> None:
    path.write_bytes(source)
    second = next(SECONDS)  # Python takes old bytecode for new where size and time, in seconds, are the same
    os.utime(path, (second, second))


def read_journal(path: Path) -> dict[str, dict[str, Any]]:
    """The records by the change that they are about; a later one replaces an earlier one."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {record["change"]: record for record in map(json.loads, lines)}


def note(path: Path, **record: Any) -> None:
    with path.open("a") as file:
        print(json.dumps(record), file=file, flush=True)


def report(journal: dict[str, dict[str, Any]]) -> str:
    """For each package and file the share caught, without what matters to nobody; then what survived."""
    matters = [record for record in journal.values() if record["result"] != "harmless"]
    groups = Counter[str](), Counter[str]()
    for record in matters:
        for group in ("all", record["file"].split("/")[0], record["file"]):
            groups[0][group] += record["result"] == "caught"
            groups[1][group] += 1
    lines = [f"{groups[0][g]:4} of {n:4} caught  {groups[0][g] / n:7.1%}  {g}" for g, n in sorted(groups[1].items())]
    survived = [f"survived: {r['change']}" for r in matters if r["result"] != "caught"]
    return "\n".join(lines + [f"{len(journal) - len(matters)} more matter to nobody"] + survived)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "minigrad-mutations", help="folder")
    parser.add_argument("--seed", type=int, default=0, help="which changes")
    parser.add_argument("--count", type=int, default=20, help="how many changes")
    parser.add_argument("--only", default="", help="change only files whose name begins so: llm/, minigrad/ops/shape")
    parser.add_argument("--part", default="1/1", help="1/2 and 2/2: two processes share the changes and the journal")
    parser.add_argument("--again", action="store_true", help="try those that survived once more, with today's tests")
    parser.add_argument("--report", action="store_true", help="print what the journal says, and end")
    parser.add_argument("--harmless", metavar="CHANGE", help="note that this survivor matters to nobody, and end")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / "journal.jsonl"
    journal = read_journal(path)
    if options.harmless:
        return note(path, **journal[options.harmless] | {"result": "harmless"})
    if options.report:
        return print(report(journal))
    part, parts = map(int, options.part.split("/"))
    copy = options.work / f"copy-{part}"
    sources = [name for name in make_copy(copy) if name.startswith(options.only)]
    if options.again:
        survived = {record["change"] for record in journal.values() if record["result"] == "survived"}
        found = [change for name in sources for change in Changes(name, (copy / name).read_bytes()).found]
        changes = [c for c in found if c.describe((copy / c.file).read_bytes()) in survived]
    else:
        changes = list(islice(draw_changes(copy, sources, options.seed), options.count))
    with contextlib.suppress(ImportError):
        for module in ("numpy", "pytest", "hypothesis", "torch"):
            importlib.import_module(module)
    tests = update_map(copy, options.work)
    for change in changes[part - 1 :: parts]:
        text = change.describe((copy / change.file).read_bytes())
        if options.again or text not in journal:
            start = time.monotonic()
            caught = try_change(change, copy, tests)
            result, seconds = "caught" if caught else "survived", round(time.monotonic() - start, 1)
            note(path, change=text, file=change.file, result=result, by=caught, seconds=seconds)
            print(f"{result:8} {seconds:6} s  {text}  {caught}", flush=True)


if __name__ == "__main__":
    main()
