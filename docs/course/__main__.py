"""python -m docs.course list | show N | break N | check N | hint N | build"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from docs.course import book, excerpts, exercise, plain
from docs.course.chapters import COURSE, ROOT, CourseError, chapter, chapters


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except CourseError as error:
        print(error, file=sys.stderr)
    except BrokenPipeError:  # `show 1 | head`
        sys.stderr.close()
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
    return 1


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m docs.course", description="A course through the source.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = lambda name, run, words: commands.add_parser(name, help=words, description=words)
    made = {name: add(name, run, words) for name, (run, words) in COMMANDS.items()}
    for name, command in made.items():
        command.set_defaults(run=COMMANDS[name][0])
        if name not in ("list", "build"):
            command.add_argument("number", metavar="N", help="the number of the chapter")
        if name in ("break", "check", "hint"):
            command.add_argument(
                "--into", type=Path, metavar="FOLDER", help="the copy; without it, course-work/NN-name"
            )
    made["break"].add_argument("--again", action="store_true", help="begin anew; an older copy gets another name")
    made["build"].add_argument("-o", "--out", type=Path, default=COURSE / "book.html", help="the book")
    return parser


def show_list(options: argparse.Namespace) -> None:
    width = max(len(c.title) for c in chapters())
    for c in chapters():
        print(f"{c.number:2}  {c.title:{width}}  {exercise.progress(c)}".rstrip())


def show(options: argparse.Namespace) -> None:
    width = min(100, shutil.get_terminal_size((80, 24)).columns)
    print(plain.page(chapter(options.number).page.read_text("utf-8"), width), end="")


def break_(options: argparse.Namespace) -> int:
    c, into = chapter(options.number), options.into
    outcome = exercise.break_(c, into, again=options.again)
    folder = exercise._short(exercise.folder_of(c, into))
    if outcome.passed:
        raise CourseError("the tests did not notice the fault this time; run check again")
    print(f"{c.number}. {c.title}: something in {c.exercise.file} is broken now. What its tests say:\n")
    print(exercise.failure(outcome))
    for test in outcome.failed[1:]:
        print(f"this fails too: {test}")
    print(f"\nRepair   {folder}/{c.exercise.file}\nthen     {exercise.command('check', c, into)}")
    print(f"stuck?   {exercise.command('hint', c, into)}")
    return 0


def check(options: argparse.Namespace) -> int:
    c = chapter(options.number)
    outcome = exercise.check(c, options.into)
    if outcome.passed:
        print(f"green: chapter {c.number} is repaired. Compare your change with the original, {c.exercise.file}")
        return 0
    print(exercise.failure(outcome))
    if any("::" in test for test in outcome.failed):
        print(f"\nnot yet: {len(outcome.failed)} failed; {exercise.command('hint', c, options.into)} helps")
    else:
        print("\nnot yet: the tests could not run; first repair what is shown above, such as a syntax error")
    return 1


def hint(options: argparse.Namespace) -> None:
    print(exercise.hint(chapter(options.number), options.into))


def build(options: argparse.Namespace) -> None:
    for c in chapters():
        print(f"{c.number:2}  {c.title}", flush=True)
        c.page.write_text(excerpts.with_excerpts(c.page.read_text("utf-8"), ROOT), "utf-8")
        c.picture.write_text(c.figure(), "utf-8")
    options.out.write_text(book.book(options.out.resolve()), "utf-8")
    print(f"{len(chapters())} chapters in {options.out}")


COMMANDS = {
    "list": (show_list, "all chapters"),
    "show": (show, "read a chapter in the terminal"),
    "break": (break_, "make a copy of the source, and break something in it"),
    "check": (check, "is the copy repaired?"),
    "hint": (hint, "the next of three hints; after that, where the solution is"),
    "build": (build, "renew excerpts and pictures, and make the book"),
}

if __name__ == "__main__":
    raise SystemExit(main())
