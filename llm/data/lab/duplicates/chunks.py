"""The documents of a corpus, cut into chunks: files in which each line is a document."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llm.data.documents import Document
from llm.data.lab.batches import batches
from tokenizer.formats.atomic import write_file

CHARACTERS, DOCUMENTS = 8 << 20, 20_000  # the most in a chunk; a longer document is a chunk of its own


@dataclass(frozen=True)
class Chunk:
    """A file of documents. Its name has a hash of its content."""

    path: Path
    first: int  # the number of its first document in the corpus
    count: int

    @property
    def name(self) -> str:
        return self.path.name


def write_chunks(documents: Iterable[Document], folder: Path) -> Iterator[Chunk]:
    """Write the documents into the folder. The chunks together hold them in order."""
    first = 0
    for batch in batches(documents, lambda document: len(document.text), CHARACTERS, DOCUMENTS):
        yield write_chunk(batch, folder, first)
        first += len(batch)


def write_chunk(documents: list[Document], folder: Path, first: int) -> Chunk:
    content = b"".join(map(line_of, documents))
    path = folder / f"documents-{hashlib.blake2b(content, digest_size=12).hexdigest()}"
    if not path.exists():
        write_file(path, content)
    return Chunk(path, first, len(documents))


def line_of(document: Document) -> bytes:
    row = [document.text, document.source, dict(document.fields)]
    return json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass") + b"\n"


def read_chunk(path: Path) -> Iterator[Document]:
    with open(path, "rb") as file:
        for line in file:
            yield Document(*json.loads(line.decode("utf-8", "surrogatepass")))
