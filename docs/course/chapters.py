"""The chapters: NN-name.md is the text, NN-name.toml the exercise, experiments/NN_name.py the experiment.

The experiment draws the figure of the chapter, which stands beside it: experiments/NN_name.svg.
"""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import tomllib
from dataclasses import dataclass
from pathlib import Path

COURSE = Path(__file__).parent
ROOT = COURSE.parents[1]


class CourseError(Exception):
    """One sentence for the reader."""


@dataclass(frozen=True)
class Exercise:
    """A small mutation of the source: in `file`, `before` occurs once, and `after` takes its place."""

    file: str
    before: str
    after: str
    tests: list[str]  # fail then, and no others of their files; without [...], a test stands for all of its cases
    hints: list[str]  # three, from a question to nearly the answer

    def mutated(self, text: str) -> str:
        if text.count(self.before) != 1:
            raise CourseError(
                f"{self.file} does not contain the lines that this exercise changes; undo your changes to it, or, if "
                f"the source has moved on, edit the exercise"
            )
        return text.replace(self.before, self.after)


@dataclass(frozen=True)
class Chapter:
    number: int
    name: str  # such as 01-derivative
    title: str
    exercise: Exercise

    @property
    def page(self) -> Path:
        return COURSE / f"{self.name}.md"

    @property
    def experiment(self) -> Path:
        return COURSE / "experiments" / f"{self.name.replace('-', '_')}.py"

    @property
    def picture(self) -> Path:
        return self.experiment.with_suffix(".svg")

    def figure(self) -> str:
        """The picture, drawn anew: the experiment runs, and its `figure()` draws what it found."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                return runpy.run_path(str(self.experiment))["figure"]()
        except Exception as error:  # a reader may have changed it
            raise CourseError(
                f"the experiment of chapter {self.number} does not draw its picture ({error!r}); undo what was changed "
                f"in {self.experiment}"
            ) from error


def chapters() -> list[Chapter]:
    found = []
    for path in sorted(COURSE.glob("[0-9][0-9]-*.toml")):
        data = tomllib.loads(path.read_text("utf-8"))
        found.append(Chapter(int(path.name[:2]), path.stem, data["title"], Exercise(**data["exercise"])))
    return found


def chapter(number: str) -> Chapter:
    """The chapter with this number, as a reader types it: 5, 05."""
    known = {c.number: c for c in chapters()}
    if not re.fullmatch(r"[0-9]{1,3}", number) or int(number) not in known:
        raise CourseError(f"there is no chapter {number!r}; give a number from {min(known)} to {max(known)}")
    return known[int(number)]
