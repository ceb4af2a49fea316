"""Does a test fail when the source is wrong? Change one place at random, run the tests, list what none of them noticed.

    python tools/mutate.py --count 20 --seed 1            python tools/mutate.py --report

Never touches the checkout: all happens in a copy, in the folder `--work`, which also holds a map (which test calls
which functions; the first run makes it) and a journal, from which a run that was stopped continues. A change meets
first the tests that call the changed function and little else, then all that call it. A test that fails, hangs or
takes too much memory has caught it. Works where there is fork: Linux, macOS.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import tempfile
import time
from collections import Counter
from itertools import count, islice
from pathlib import Path
from typing import Any

from mutation_runs import PACKAGES, Map, make_copy, run_tests, update_map
from mutations import Change, Changes, draw_changes

FIRST, SECOND = 6.0, 25.0  # seconds that the tests of a stage took when the map was made; --again runs all of them
SECONDS = count(1_000_000_000)  # times for files that are written here: never the same twice


def stages(change: Change, copy: Path, tests: Map, *, every: bool) -> list[list[str]]:
    """The tests that call the changed function: the most special for it first, then the rest."""
    function = f"{change.file} {change.function}"
    calling = [test for test, run in tests.items() if function in run["calls"]]
    if not calling:  # a value of a module or a class: tests that call what the file, or one that imports it, defines
        module = change.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        near = [path for package in PACKAGES for path in (copy / package).rglob("*.py") if module in path.read_text()]
        prefixes = (f"{change.file} ", *(f"{path.relative_to(copy)} " for path in near))
        calling = [test for test, run in tests.items() if any(call.startswith(prefixes) for call in run["calls"])]
    calling.sort(key=lambda test: len(tests[test]["calls"]) * (tests[test]["seconds"] + 0.05))
    found: list[list[str]] = [[], [], []]
    seconds, files = 0.0, set[str]()
    for test in calling:
        file = test.split("::")[0]
        seconds += tests[test]["seconds"] + (file not in files)  # a second to load a file
        files.add(file)
        found[0 if seconds < FIRST else 1 if seconds < FIRST + SECOND else 2].append(test)
    return found if every else found[:2]


def try_change(change: Change, copy: Path, tests: Map, *, every: bool) -> str:
    """What caught the change, or "" if nothing did."""
    path = copy / change.file
    source = path.read_bytes()
    write(path, change.apply(source))
    try:
        for stage in stages(change, copy, tests, every=every):
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as after Ctrl-C, and end the tests
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / "journal.jsonl"
    journal = read_journal(path)
    if options.harmless:
        return note(path, **journal[options.harmless] | {"result": "harmless"})
    if options.report:
        return print(report(journal))
    with contextlib.suppress(ImportError):
        for module in ("numpy", "pytest", "hypothesis", "torch"):
            importlib.import_module(module)  # once, for all processes that run tests
    tests = update_map(options.work)
    part, parts = map(int, options.part.split("/"))
    copy = options.work / f"copy-{part}"
    sources = [name for name in make_copy(copy) if name.startswith(options.only)]
    if options.again:
        survived = {record["change"] for record in journal.values() if record["result"] == "survived"}
        found = [change for name in sources for change in Changes(name, (copy / name).read_bytes()).found]
        changes = [c for c in found if c.describe((copy / c.file).read_bytes()) in survived]
    else:
        changes = list(islice(draw_changes(copy, sources, options.seed), options.count))
    for change in changes[part - 1 :: parts]:
        text = change.describe((copy / change.file).read_bytes())
        if options.again or text not in journal:
            start = time.monotonic()
            caught = try_change(change, copy, tests, every=options.again)
            result, seconds = "caught" if caught else "survived", round(time.monotonic() - start, 1)
            note(path, change=text, file=change.file, result=result, by=caught, seconds=seconds)
            print(f"{result:8} {seconds:6} s  {text}  {caught}", flush=True)


if __name__ == "__main__":
    main()
