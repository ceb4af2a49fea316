"""Does a test fail when the source is wrong? Change one place at random, run the tests, list what none of them noticed.

    python tools/mutate.py --count 20 --seed 1            python tools/mutate.py --report

The checkout is never changed: the work is done in a copy, in the folder `--work`. This folder also has a map (which
test calls which functions; the first run makes it) and a journal, from which a run that was stopped continues. For each
change, the tests run that call the changed function: first those that call little else, then others. A test that fails,
hangs or takes too much memory has caught the change. The system must have fork, as Linux and macOS.
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

# The tests of the first and of the second stage take about so many seconds. Only --again runs the others too.
FIRST, SECOND = 6.0, 25.0
NEW_TIMES = count(1_000_000_000)  # for the files that are written here: no time is given twice


def stages(change: Change, copy: Path, tests: Map, *, every: bool) -> list[list[str]]:
    """The tests that call the changed function, in stages: first those that are fast and call few other functions."""
    function = f"{change.file} {change.function}"
    calling = [test for test, run in tests.items() if function in run["calls"]]
    if not calling:  # the change is not in a function: take the tests that call any function of the file or its users
        module = change.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        users = [path for package in PACKAGES for path in (copy / package).rglob("*.py") if module in path.read_text()]
        prefixes = (f"{change.file} ", *(f"{path.relative_to(copy)} " for path in users))
        calling = [test for test, run in tests.items() if any(call.startswith(prefixes) for call in run["calls"])]
    calling.sort(key=lambda test: len(tests[test]["calls"]) * (tests[test]["seconds"] + 0.05))
    found: list[list[str]] = [[], [], []]
    seconds, files = 0.0, set[str]()
    for test in calling:
        file = test.split("::")[0]
        seconds += tests[test]["seconds"] + (file not in files)  # a second to load a file
        files.add(file)
        found[(seconds >= FIRST) + (seconds >= FIRST + SECOND)].append(test)
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
    """Write a source file so that Python compiles it again."""
    path.write_bytes(source)
    time_of_file = next(NEW_TIMES)  # Python keeps the bytecode of a file whose size and time (in seconds) are the same
    os.utime(path, (time_of_file, time_of_file))


def read_journal(path: Path) -> dict[str, dict[str, Any]]:
    """The last record of each change."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {record["change"]: record for record in map(json.loads, lines)}


def note(path: Path, **record: Any) -> None:
    """Add a record to the journal."""
    with path.open("a") as file:
        print(json.dumps(record), file=file, flush=True)


def report(journal: dict[str, dict[str, Any]]) -> str:
    """For each package and file, the share of changes that were caught, without harmless ones; then the survivors."""
    records = [record for record in journal.values() if record["result"] != "harmless"]
    tried, caught = Counter[str](), Counter[str]()
    for record in records:
        for group in ("all", record["file"].split("/")[0], record["file"]):
            tried[group] += 1
            caught[group] += record["result"] == "caught"
    lines = [
        f"{caught[group]:4} of {n:4} caught  {caught[group] / n:7.1%}  {group}" for group, n in sorted(tried.items())
    ]
    survived = [f"survived: {record['change']}" for record in records if record["result"] != "caught"]
    return "\n".join([*lines, f"{len(journal) - len(records)} more are harmless", *survived])


def choose_changes(copy: Path, sources: list[str], options: argparse.Namespace, survived: set[str]) -> list[Change]:
    """Random changes to the files `sources`, or, with --again, those that have survived."""
    if not options.again:
        return list(islice(draw_changes(copy, sources, options.seed), options.count))
    content = {name: (copy / name).read_bytes() for name in sources}
    found = [change for name in sources for change in Changes(name, content[name]).found]
    return [change for change in found if change.describe(content[change.file]) in survived]


def run(options: argparse.Namespace, path: Path, journal: dict[str, dict[str, Any]]) -> None:
    """Try the changes that are not in the journal, or the survivors. Adds the results to the journal at `path`."""
    with contextlib.suppress(ImportError):
        for module in ("numpy", "pytest", "hypothesis", "torch"):
            importlib.import_module(module)  # once, for all processes that run tests
    tests = update_map(options.work)
    part, parts = options.part
    copy = options.work / f"copy-{part}"
    sources = [name for name in make_copy(copy) if name.startswith(options.only)]
    survived = {record["change"] for record in journal.values() if record["result"] == "survived"}
    for change in choose_changes(copy, sources, options, survived)[part - 1 :: parts]:
        text = change.describe((copy / change.file).read_bytes())
        if options.again or text not in journal:
            start = time.monotonic()
            caught = try_change(change, copy, tests, every=options.again)
            result, seconds = "caught" if caught else "survived", round(time.monotonic() - start, 1)
            note(path, change=text, file=change.file, result=result, by=caught, seconds=seconds)
            print(f"{result:8} {seconds:6} s  {text}  {caught}", flush=True)


def two_numbers(text: str) -> tuple[int, int]:
    """The type of --part: "2/3" gives (2, 3)."""
    part, _, parts = text.partition("/")
    if not part.isdecimal() or not parts.isdecimal() or not 1 <= int(part) <= int(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a part and that of all parts, such as 1/2")
    return int(part), int(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    work = Path(tempfile.gettempdir()) / "minigrad-mutations"
    parser.add_argument("--work", type=Path, default=work, help="the folder of the copies, the map and the journal")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other changes")
    parser.add_argument("--count", type=int, default=20, help="how many changes are drawn")
    parser.add_argument("--only", default="", help="change only files with this beginning: llm/, minigrad/ops/shape")
    parser.add_argument(
        "--part", type=two_numbers, default="1/1", metavar="K/N", help="1/2 and 2/2: two processes share the work"
    )
    parser.add_argument(
        "--again", action="store_true", help="try again the changes that have survived, with the tests of today"
    )
    parser.add_argument("--report", action="store_true", help="only print a summary of the journal")
    parser.add_argument("--harmless", metavar="CHANGE", help="only note that this survivor is harmless")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the process of the tests is ended too
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / "journal.jsonl"
    journal = read_journal(path)
    if options.harmless:
        if options.harmless not in journal:
            parser.error("--harmless needs the text of a change, as --report prints it after 'survived: '")
        note(path, **journal[options.harmless] | {"result": "harmless"})
    elif options.report:
        print(report(journal))
    else:
        run(options, path, journal)


if __name__ == "__main__":
    main()
