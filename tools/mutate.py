"""Does a test fail when the source is wrong? Change one place at random, run the tests, list what none of them noticed.

    python tools/mutate.py --count 20 --seed 1            python tools/mutate.py --report

The checkout is never changed: the work is done in a copy, in the folder `--work`. This folder also has a map (which
files of tests call which functions; the first run makes it) and a journal, from which a run that was stopped continues.
For each change, the files of tests run that call the changed function: first those that are fast and call little else.
A test that fails, hangs or takes too much memory has caught the change.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import Any

from mutations import Change, all_changes

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("minigrad/", "tokenizer/", "llm/", "train.py", "generate.py")
Map = dict[str, dict[str, Any]]  # file of tests: {"seconds": ..., "calls": ["file function"], "fails": tests}


def make_copy(copy: Path) -> list[str]:
    """Copy the checkout, without what git ignores. Returns the names of the source files."""
    shutil.rmtree(copy, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    sources = [name for name in names if name.startswith(SOURCES) and name.endswith(".py")]
    for name in sources:  # without comments, as the changed files will be
        (copy / name).write_text(ast.unparse(ast.parse((copy / name).read_text("utf-8"))), "utf-8")
    return sources


def run_tests(work: Path, options: list[str], seconds: float, calls: str = "") -> list[str]:
    """Run pytest in the copy. Returns the tests that fail, or how it ended. Writes functions called to file `calls`."""
    added = {"PYTHONPATH": f"{ROOT}/tools/mutation_site", "MUTATE_COPY": f"{work}/copy/", "MUTATE_CALLS": calls}
    added |= {"HYPOTHESIS_PROFILE": "mutate", "PYTHONDONTWRITEBYTECODE": "1"}  # bytecode could be of another change
    where: Any = {"cwd": work / "copy", "env": os.environ | added}
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *options]
    with (work / "output").open("wb") as out:
        process = subprocess.Popen(command, **where, stdout=out, stderr=out, start_new_session=True)
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return ["the time limit"]
    finally:  # also on Ctrl-C
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with all processes that the tests started
        process.wait()
    output = (work / "output").read_text("utf-8", "replace")
    ended = [] if status in (0, 5) else [f"status {status}"]  # of pytest: 0 all pass, 5 there are none
    return re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE) or ended


def update_map(work: Path, beginnings: tuple[str, ...]) -> Map:
    """The map of the files of tests with such a beginning. Those that are new or have changed are run.

    Tests that fail unchanged are noted as such.
    """
    whole, calls = Map(), work / "calls"
    for path in sorted((work / "copy" / "tests").rglob("test_*.py")):
        name = path.relative_to(work / "copy").as_posix()
        if not name.startswith(beginnings):
            continue
        kept = work / "map" / f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}.json"
        if not kept.exists():
            calls.write_text("")
            start = time.monotonic()
            run: dict[str, Any] = {"fails": run_tests(work, [name], 1800, str(calls))}
            run |= {"seconds": time.monotonic() - start, "calls": sorted({*calls.read_text().splitlines()})}
            kept.write_text(json.dumps(run))
            print(
                f"map: {name}",
                *(f"fails unchanged, left out: {test}" for test in run["fails"]),
                sep="\n     ",
                flush=True,
            )
        whole[name] = json.loads(kept.read_text())
    return whole


def choose_tests(change: Change, tests: Map, seconds: float) -> list[str]:
    """The files of tests to run, which take about so many seconds."""
    # for a change that is in no function, those that call a function of its file, or of its folder
    starts = f"{change.file} {change.function}$", f"{change.file} ", f"{change.file.rpartition('/')[0]}/"
    calling = ([name for name in tests if any(f"{c}$".startswith(s) for c in tests[name]["calls"])] for s in starts)
    found = sorted(next(filter(None, calling), []), key=lambda name: tests[name]["seconds"] * len(tests[name]["calls"]))
    before = accumulate((tests[name]["seconds"] for name in found), initial=0)
    return [name for name, time_before in zip(found, before) if time_before < seconds]


def try_change(work: Path, change: Change, source: str, tests: Map, seconds: float) -> str:
    """What catches the change, which makes `source` of its file; "" if nothing does."""
    path = work / "copy" / change.file
    unchanged = path.read_text("utf-8")
    for name in choose_tests(change, tests, seconds):
        options = ["-x", name, *(f"--deselect={test}" for test in tests[name]["fails"])]
        path.write_text(source, "utf-8")
        caught = run_tests(work, options, limit := 60 + 6 * tests[name]["seconds"])
        path.write_text(unchanged, "utf-8")
        if caught and "::" not in caught[0] and (found := run_tests(work, options, limit)):  # no test has failed
            sys.exit(f"mutate: {name}: {caught[0]}, and without the change {found[0]}: see {work / 'output'}")
        if caught:
            return f"{name} {caught[0]}"
    return ""


def wilson_interval(caught: int, tried: int, z: float = 1.96) -> tuple[float, float]:
    """The 95% interval of a share (Wilson, 1927): it is right for few changes, and for shares near 1, too."""
    middle, width = caught + z**2 / 2, z * math.sqrt(caught * (tried - caught) / tried + z**2 / 4)
    return (middle - width) / (tried + z**2), (middle + width) / (tried + z**2)


def report(journal: dict[str, dict[str, str]]) -> str:
    """For each package and file, the share of changes that were caught, without harmless ones; then the survivors."""
    records = [record for record in journal.values() if record["result"] != "harmless"]
    tried, caught = Counter[str](), Counter[str]()
    for record in records:
        file = record["change"].split()[0]
        for group in ("all", file.split("/")[0], file):
            tried[group] += 1
            caught[group] += record["result"] == "caught"
    lines = []
    for group, n in sorted(tried.items()):
        low, high = wilson_interval(caught[group], n)
        lines.append(f"{caught[group]:4} of {n:4} caught {caught[group] / n:7.1%} ({low:.1%} to {high:.1%})  {group}")
    survived = [f"survived: {record['change']}" for record in records if record["result"] == "survived"]
    return "\n".join([*lines, f"{len(journal) - len(records)} more are harmless", *survived])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(tempfile.gettempdir()) / "minigrad-mutations"
    parser.add_argument("--work", type=Path, default=folder, help="the folder of the copy, the map and the journal")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other changes")
    parser.add_argument("--count", type=int, default=20, help="how many changes are drawn")
    some: dict[str, Any] = {"nargs": "+", "metavar": "BEGINNING", "default": [""]}
    parser.add_argument("--only", **some, help="change only files with such a beginning: llm/ minigrad/ops/shape")
    parser.add_argument("--tests", **some, help="run only files of tests with such a beginning: tests/llm/test_model")
    parser.add_argument("--seconds", type=float, default=60, help="the tests for a change take about so long")
    parser.add_argument("--again", action="store_true", help="try again what has survived, with the tests of today")
    parser.add_argument("--report", action="store_true", help="only print a summary of the journal")
    parser.add_argument("--harmless", metavar="CHANGE", help="only note that this survivor is harmless")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the process of the tests is ended too
    work = options.work.resolve()
    (work / "map").mkdir(parents=True, exist_ok=True)
    path = work / "journal.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    journal = {record["change"]: record for record in map(json.loads, lines)}  # the last record of each change

    def note(result: str, change: str, by: str) -> None:
        with path.open("a") as file:
            print(json.dumps({"result": result, "change": change, "by": by}), file=file)
        print(f"{result}: {change}  {by}", flush=True)

    if options.report:
        print(report(journal))
    elif options.harmless in journal:
        note("harmless", options.harmless, "")
    elif options.harmless:
        parser.error("--harmless needs the text of a change, as --report prints it after 'survived: '")
    else:
        sources = [name for name in make_copy(work / "copy") if name.startswith(tuple(options.only))]
        tests = update_map(work, tuple(options.tests))
        changes = [change for name in sources for change in all_changes(work / "copy", name)]
        random.Random(options.seed).shuffle(changes)
        for change in changes[: None if options.again else options.count]:
            source, text = change.apply()
            if journal.get(text, {}).get("result") == ("survived" if options.again else None):
                caught = try_change(work, change, source, tests, options.seconds)
                note("caught" if caught else "survived", text, caught)


if __name__ == "__main__":
    main()
