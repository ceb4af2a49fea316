"""What in a file cannot be read as a document: a problem has a name, by which it is counted, and a place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llm.data.errors import DataError

NAMES = {
    "empty": "there is no text in it",
    "binary": "zero bytes: not text, or UTF-16",
    "not_utf8": "bytes that are not UTF-8",
    "broken_row": "a line that is not JSON, or a row that is not CSV",
    "no_text": "a row without a text, a table without a column of texts, or a page without prose",
    "too_long": "a document longer than the limit",
    "damaged": "a compressed file or a Parquet file that breaks off, or is wrong inside",
    "unreadable": "a file that may not be read, or is gone",
}


@dataclass(frozen=True)
class Problem:
    """What would be one document, or one file of documents, if it could be read."""

    name: str  # one of NAMES
    place: str  # such as "web/part-3.jsonl.gz, line 12"
    message: str  # what was found, and what was expected

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


OnProblem = Callable[[Problem], object]


def refuse(problem: Problem) -> None:
    """Raise DataError, which says that `clean` can leave it out, or find its text."""
    find = "name the field of its text" if problem.name == "no_text" else "correct it, or leave it out"
    option = " --field NAME" if problem.name == "no_text" else ""
    raise DataError(f"{problem}; {find} with: python -m llm.data clean{option}")


def too_long(place: str, longest: int) -> Problem:
    return Problem(
        "too_long", place, f"the document is longer than {longest:,} bytes; cut it, or allow more with --longest"
    )


def empty(place: str) -> Problem:
    return Problem("empty", place, "there is no text in it")
