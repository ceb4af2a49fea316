"""The documents of a source, copied to the disk, so that any of them can be read: for mix.py."""

from __future__ import annotations

import json
import os
import sys
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from llm.data.documents import Document
from llm.data.errors import DataError
from llm.data.lab.account import size_of
from llm.data.lab.folder import encode_row, row_of
from llm.data.lab.problem_count import ProblemCount
from llm.data.reading import read_documents

BUFFER = 1 << 20
FIRST = 1 << 16  # places that are in memory before they are written


class Source:
    """The rows of documents in one file, and where each of them begins in another, until `close`."""

    def __init__(self, name: str, field: str, path: Path):
        """Reads all documents. `path`: the file of the rows; that of their places is beside it."""
        self.name, self.documents, self.bytes, self.problems = name, 0, 0, ProblemCount()
        self._paths = (path, path.with_name(path.name + "-places"))
        found = read_documents([name], self.problems, field=field)
        self._copy(tqdm(found, desc=name, unit="", disable=None, file=sys.stderr))
        self.problems.tell()
        if not self.documents:
            raise DataError(f"{name} has no documents; leave it out, or give another source")
        self._rows = os.open(path, os.O_RDONLY)
        self._places = np.memmap(self._paths[1], np.int64, "r")

    def _copy(self, documents: Iterable[Document]) -> None:
        begins, begin = array("q"), 0
        with open(self._paths[0], "wb", BUFFER) as rows, open(self._paths[1], "wb") as places:
            for document in documents:
                begins.append(begin)
                begin += rows.write(encode_row(row_of(document)))
                self.documents += 1
                self.bytes += size_of(document.text)
                if len(begins) == FIRST:
                    begins.tofile(places)
                    del begins[:]
            begins.append(begin)  # the end of the last one
            begins.tofile(places)

    def row(self, number: int) -> dict[str, Any]:
        """The row of document `number` = 0, 1, ..."""
        begin, end = self._places[number : number + 2].tolist()
        return json.loads(os.pread(self._rows, end - begin, begin))

    def close(self) -> None:
        os.close(self._rows)
        del self._places
        for path in self._paths:
            path.unlink()
