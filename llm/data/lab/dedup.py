"""The command `python -m llm.data dedup`: documents that repeat others are dropped, and name the one that is kept.

    python -m llm.data dedup raw/ --out unique/
    python -m llm.data dedup raw/ --out unique/ --lines unique --processes 8
    mpiexec -n 64 python -m mpi4py.futures -m llm.data dedup raw/ --out unique/ --mpi       on several machines

Of each cluster the first document in order is kept. A document may be less like it than the threshold, where a chain of
duplicates leads from one to the other; `similarity` says how alike they are. What the stages leave is in the
folder `.stages` of --out until the end; a job that was killed goes on with it. It is somewhat larger than the texts.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tqdm import tqdm

from llm.console import escaped, say
from llm.data.documents import Document
from llm.data.lab.account import Account, size_of
from llm.data.lab.duplicates.chunks import Chunk, read_chunk, write_chunks
from llm.data.lab.duplicates.exact import Policy, Unit, without_repeated
from llm.data.lab.duplicates.near import Search, Signed, first_of_clusters
from llm.data.lab.duplicates.plan import Plan
from llm.data.lab.duplicates.stages import with_bars
from llm.data.lab.folder import LabFolder, account_of, is_done, open_folder, written
from llm.data.lab.inputs import MEGABYTE, bytes_of, fingerprint, input_files, is_size
from llm.data.lab.verdict import Verdict
from llm.data.lab.workers import Run, workers
from llm.data.reading import read_documents
from llm.data.rows import LONGEST
from llm.parallel.runtime import keep_freed_memory
from llm.runs.parsing import DEFAULT_IN_TEXT

STAGES = ".stages"


@dataclass(frozen=True)
class Dedup:
    """Drop documents that repeat others, exactly or nearly. The first one in order is kept."""

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IN ...")] = ()
    """Files, folders, patterns, or "-" for standard input, as for clean."""
    out: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """The folder that is written. If the work was killed, the same command goes on with it."""
    exact: bool = True
    """Drop documents whose text is the same as that of another one."""
    near: bool = True
    """Drop near duplicates: MinHash with LSH."""
    plan: Annotated[Plan, tyro.conf.arg(name="")] = Plan()
    verify: float | None = None
    """Compare the documents that MinHash finds, and drop those that have at least this Jaccard similarity. none: drop
    all that it finds."""
    lines: Policy = "all"
    """Which lines stay. all: all of them. first: a line stays where it occurs first, as do blank lines (CCNet,
    datatrove). unique: only lines that occur once in the whole corpus stay (CS336). This is done before all else."""
    paragraphs: Policy = "all"
    """The same for paragraphs, which blank lines separate."""
    field: str = "text"
    """The field of a row that holds its text."""
    longest: float = LONGEST / MEGABYTE
    """Megabytes of the longest document; a longer one is a problem that is counted."""
    shard: float = 256
    """Megabytes of a file that is written. Then the next one begins."""
    processes: int = 1
    """How many processes work. It does not change what is written."""
    mpi: bool = False
    """Use the processes of MPI: mpiexec -n 8 python -m mpi4py.futures -m llm.data ... The folder must be on a disk that
    all machines share.
    """

    def __post_init__(self) -> None:
        if not self.inputs or not self.out:
            raise ValueError("give the documents and the folder to write: dedup IN ... --out FOLDER")
        if not (is_size(self.longest) and is_size(self.shard) and self.processes > 0):
            raise ValueError("longest=, shard= and processes= must be more than 0, and finite")
        if not self.exact and not self.near and self.lines == self.paragraphs == "all":
            raise ValueError("there is nothing to look for: give --exact, --near, --lines or --paragraphs")
        if self.verify is not None and not 0 < self.verify <= 1:
            raise ValueError(f"verify={self.verify} is not a similarity: it must be above 0, and at most 1")
        if self.verify is not None and not self.near:
            raise ValueError("verify= compares near duplicates, but --no-near does not look for them")

    def start(self) -> None:
        keep_freed_memory()
        print(escaped(str(dedup(self)), sys.stdout))
        say(written(str(self.out)))

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the output."""
        return {name: value for name, value in asdict(self).items() if name not in ("out", "processes", "mpi")}

    @property
    def search(self) -> Search:
        return Search(self.exact, self.plan if self.near else None, self.verify)


def dedup(options: Dedup) -> Account:
    """Do the work of the command, or what is left of it. Returns the account."""
    out = Path(options.out or "").expanduser()
    stages = out / STAGES
    if is_done(out):
        shutil.rmtree(stages, ignore_errors=True)  # if it was killed here
        return account_of(out, options.recipe)
    recipe = {**options.recipe, "input files": fingerprint(input_files(options.inputs, out))}
    with (
        open_folder(out, recipe, bytes_of(options.shard)) as folder,
        workers(options.processes, mpi=options.mpi) as run,
    ):
        stages.mkdir(exist_ok=True)
        divide(options, folder, stages, with_bars(run))
        detection = [(round(s, 2), round(options.plan.detection(s), 4)) for s in np.linspace(0, 1, 21)]
        more = {"detection": detection} if options.near else {}
        folder.finish("dedup", options.recipe, **more)
    shutil.rmtree(stages)
    return folder.account


def divide(options: Dedup, folder: LabFolder, stages: Path, run: Run) -> None:
    """Write the documents that are kept, and those that are dropped."""
    chunks = list(write_chunks(documents(options, folder), stages))
    bytes_in = folder.account.bytes["in"]
    chunks = take_out_parts(chunks, options, stages, run, folder)
    first, signed = first_of_clusters(chunks, options.search, stages, run)
    Divided(first, signed, options).write(chunks, folder)
    folder.account.bytes["in"] = bytes_in  # of the texts as they were read


def documents(options: Dedup, folder: LabFolder) -> Iterator[Document]:
    """The documents of all files. What cannot be read is written and counted."""
    found = read_documents(options.inputs, folder.problem, field=options.field, longest=bytes_of(options.longest))
    for document in tqdm(found, "reading", unit="", leave=False, disable=None):
        folder.account.bytes["in"] += size_of(document.text)
        yield document


def take_out_parts(chunks: list[Chunk], options: Dedup, stages: Path, run: Run, folder: LabFolder) -> list[Chunk]:
    """The chunks without repeated lines and paragraphs. Documents with nothing left are dropped as they were."""
    units: tuple[tuple[Unit, Policy], ...] = (("lines", options.lines), ("paragraphs", options.paragraphs))
    for unit, policy in units:
        if policy == "all":
            continue
        edited = without_repeated(chunks, unit, policy, stages, run)
        nothing_left = Verdict(False, f"repeated_{unit}", 0, 1)  # of its parts none is left, one is wanted
        folder.account.edits[f"repeated_{unit}"] += sum(each.parts for each in edited)
        for document in (document for each in edited for document in read_chunk(each.emptied)):
            folder.document(document, [nothing_left])
        firsts = accumulate((each.count for each in edited), initial=0)
        chunks = [Chunk(each.path, first, each.count) for each, first in zip(edited, firsts)]
    return chunks


class Divided:
    """The documents of a corpus: kept, or dropped with the source of the first one of their cluster."""

    def __init__(self, first: np.ndarray, signed: Signed, options: Dedup):
        self.first, self.signed = first, signed
        self.threshold = round(options.plan.threshold, 4) if options.verify is None else options.verify
        self.waiting = np.bincount(first, minlength=len(first))  # how many documents of a cluster are still to come
        self.sources: dict[int, str] = {}  # of the first documents of such clusters

    def write(self, chunks: Sequence[Chunk], folder: LabFolder) -> None:
        for chunk in tqdm(chunks, "writing", unit="", leave=False, disable=None):
            for number, document in enumerate(read_chunk(chunk.path), chunk.first):
                self.write_one(number, document, folder)

    def write_one(self, number: int, document: Document, folder: LabFolder) -> None:
        first = int(self.first[number])
        if first == number:
            self.sources[number] = document.source
            folder.document(document)
        else:
            verdict = self.verdict(first, number)
            folder.document(document, [verdict], duplicate_of=self.sources[first], similarity=verdict.number)
        self.waiting[first] -= 1
        if not self.waiting[first]:
            del self.sources[first]

    def verdict(self, first: int, number: int) -> Verdict:
        if self.signed.equal(first, number):
            return Verdict(False, "exact_duplicate", 1.0, 1.0)
        return Verdict(False, "near_duplicate", round(self.signed.similarity(first, number), 4), self.threshold)
