"""The command `python -m llm.data contamination`: test sets that are in a training text.

python -m llm.data contamination corpus/ --test hellaswag.jsonl gsm8k.jsonl
python -m llm.data contamination corpus/ --test hellaswag.jsonl --out clean/      the corpus without what has them
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from llm.console import escaped, say
from llm.data.documents import Document
from llm.data.errors import DataError
from llm.data.lab.account import Account
from llm.data.lab.batches import batches
from llm.data.lab.duplicates.overlap import Overlap, Runs, overlaps, runs_by_size, texts_in
from llm.data.lab.folder import LabFolder, open_folder, written
from llm.data.lab.inputs import MEGABYTE, fingerprint, input_files
from llm.data.lab.problem_count import ProblemCount
from llm.data.lab.verdict import Verdict
from llm.data.problems import Problem
from llm.data.reading import read_documents
from llm.data.records import read_records
from llm.data.streams import suffix_of
from llm.runs.files import prepare_file, write_json
from llm.runs.parsing import DEFAULT_IN_TEXT

TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")  # ends of names, before .gz and .zst
BATCH = 1 << 22  # characters of documents that are searched together
SHARD = 256 * MEGABYTE
SHOWN_WORDS = 40  # of an overlap


@dataclass(frozen=True)
class Contamination:
    """Find test sets in training text: runs of words that both have, without capitals and punctuation."""

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IN ...")] = ()
    """The training text: files, folders, patterns, or "-" for standard input, as for clean."""
    test: tuple[str, ...] = ()
    """Files of test sets. Each row or document is an item, and all texts in a row are looked for."""
    words: int = 13
    """How many words in a row make an overlap."""
    shortest: int = 8
    """A text of a test that has fewer than --words is looked for as a whole, if it has at least so many."""
    out: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """A folder for the documents without overlaps (kept) and those with them (dropped). Default: nothing is written."""
    json: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """A file for all overlaps. Default: none."""
    show: int = 20
    """How many overlaps are printed."""
    field: str = "text"
    """The field of a row of the training text that holds its text."""

    def __post_init__(self) -> None:
        if not self.inputs or not self.test:
            raise ValueError("give the training text and the tests: contamination IN ... --test FILE ...")
        if not 1 <= self.shortest <= self.words:
            raise ValueError(f"shortest={self.shortest} must be at least 1, and at most words={self.words}")

    def start(self) -> None:
        if self.json:
            prepare_file(Path(self.json))
        found = Found(TestSet(self.test, self.words, self.shortest))
        account = self._search(found)
        if self.json:
            write_json(Path(self.json), found.to_json())
        lines = [*found.lines(self.show), "", str(account), *found.summary()]
        print(escaped("\n".join(lines), sys.stdout))
        say(
            written(self.out) if self.out else "nothing was written: --out FOLDER is for the documents without overlaps"
        )

    def _search(self, found: Found) -> Account:
        """Look for the tests in all documents."""
        files = input_files(self.inputs, Path(self.out or os.devnull))
        recipe = {**asdict(self), "input files": fingerprint([*files, *self.test])}
        with open_folder(self.out, recipe, SHARD) if self.out else nullcontext() as folder:
            account = folder.account if folder else Account()
            for documents in batches(self.documents(account, folder), lambda document: len(document.text), BATCH):
                search(documents, found, account, folder)
            if folder:
                folder.finish("contamination", asdict(self))
        return account

    def documents(self, account: Account, folder: LabFolder | None) -> Iterator[Document]:
        told = ProblemCount()

        def tell(problem: Problem) -> None:
            account.problem(problem)
            told(problem)

        found = read_documents(self.inputs, folder.problem if folder else tell, field=self.field)
        return iter(tqdm(found, "reading", unit="", leave=False, disable=None))


def search(documents: list[Document], found: Found, account: Account, folder: LabFolder | None) -> None:
    """Look for the tests in some documents. Those with overlaps are dropped."""
    by_document: dict[int, list[Overlap]] = {}
    for overlap in overlaps([document.text for document in documents], found.test.runs):
        by_document.setdefault(overlap.document, []).append(overlap)
    for number, document in enumerate(documents):
        alike = found.add(document, by_document.get(number, []))
        verdict = Verdict(not alike, "contaminated", sum(each["runs"] for each in alike), 1)
        if folder:
            folder.document(document, [verdict], overlaps=alike)
        else:
            account.document(document.text, [verdict])


class TestSet:
    """The items of the files of tests."""

    __test__ = False  # for pytest, which would take it for a class of tests

    def __init__(self, files: tuple[str, ...], words: int, shortest: int):
        self.sources: list[str] = []  # of each item
        self.files: dict[str, range] = {}  # the items of each file
        texts, items = [], []
        for file in files:
            begin = len(self.sources)
            for source, found in items_of(file):
                texts += found
                items += [len(self.sources)] * len(found)
                self.sources.append(source)
            self.files[file] = range(begin, len(self.sources))
        self.runs: list[Runs] = runs_by_size(texts, items, words, shortest)
        self.searched = {item for runs in self.runs for item in runs.items.tolist()}
        if not self.searched:
            raise DataError(f"no text of the tests has {shortest} words; give a smaller --shortest")


def items_of(file: str) -> Iterator[tuple[str, list[str]]]:
    """(source, texts) for each item of a file."""
    if suffix_of(file) in TABLES:
        for place, row in read_records(file):
            yield str(place), list(texts_in(row))
    else:
        for document in read_documents([file]):
            yield document.source, [document.text]


class Found:
    """All overlaps."""

    def __init__(self, test: TestSet):
        self.test = test
        self.items: set[int] = set()
        self.overlaps: list[dict[str, Any]] = []

    def add(self, document: Document, overlaps: Iterable[Overlap]) -> list[dict[str, Any]]:
        """The overlaps of a document, as they are written."""
        overlaps = list(overlaps)
        self.items.update(each.item for each in overlaps)
        rows = [{"test": self.test.sources[each.item], "runs": each.runs, "words": each.words} for each in overlaps]
        self.overlaps += [{"training": document.source, **row} for row in rows]
        return rows

    def counts(self) -> dict[str, dict[str, int]]:
        """For each file of tests: its items, those that were found, and those that are too short to be looked for."""
        return {
            file: {
                "items": len(items),
                "found": len(self.items.intersection(items)),
                "too_short": len(set(items) - self.test.searched),
            }
            for file, items in self.test.files.items()
        }

    def to_json(self) -> dict[str, Any]:
        return {"tests": self.counts(), "overlaps": self.overlaps}

    def lines(self, most: int) -> Iterator[str]:
        for each in self.overlaps[:most]:
            yield f"{each['training']} has {each['test']}: {shortened(each['words'])}"
        if len(self.overlaps) > most:
            yield f"... and {len(self.overlaps) - most:,} more (--json FILE writes all of them)"

    def summary(self) -> Iterator[str]:
        for file, count in self.counts().items():
            yield (
                f"{file}: {count['found']:,} of {count['items']:,} items are in the training text; "
                f"{count['too_short']:,} are too short to be looked for"
            )


def shortened(words: str) -> str:
    """The first words of an overlap, which may be a whole book."""
    shown, rest = words.split()[:SHOWN_WORDS], words.split()[SHOWN_WORDS:]
    return " ".join(shown) + (f" ... ({len(shown) + len(rest):,} words)" if rest else "")
