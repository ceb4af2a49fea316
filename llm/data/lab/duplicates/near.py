"""Duplicates in a corpus: for each document the first one of its cluster.

    sign        for each chunk: a key of each document, its signature, and the keys of the bands
    pairs       for each band: documents with the same key (groups.py)
    clusters    union-find over all pairs (union_find.py)

All but the last stage are tasks that may run anywhere (stages.py). In memory are one chunk in each process, or the keys
of one part of a band, and 24 bytes for each document of the corpus. The result depends on the documents and their order
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from llm.data.lab.duplicates.chunks import Chunk, read_chunk
from llm.data.lab.duplicates.groups import Keys, equal_pairs
from llm.data.lab.duplicates.minhash import band_keys, signatures, similarity
from llm.data.lab.duplicates.plan import Plan
from llm.data.lab.duplicates.shingles import shingle_blocks
from llm.data.lab.duplicates.stages import load_array, name_of, save_array
from llm.data.lab.duplicates.textbook import text_hash
from llm.data.lab.duplicates.union_find import UnionFind
from llm.data.lab.workers import Run


@dataclass(frozen=True)
class Search:
    """What is looked for: equal texts, and near duplicates by a plan, whose similarity is verified if one is given."""

    exact: bool = True
    near: Plan | None = Plan()
    verify: float | None = None


class Signed:
    """What is known about the documents of the chunks, in files."""

    def __init__(self, chunks: Sequence[Chunk], files: Sequence[Path], search: Search):
        self.chunks, self.files, self.search = chunks, files, search
        self.firsts = np.array([chunk.first for chunk in chunks])

    @property
    def keys(self) -> list[Keys]:
        return [
            Keys(file.with_suffix(".keys"), chunk.first, chunk.count) for file, chunk in zip(self.files, self.chunks)
        ]

    def equal(self, a: int, b: int) -> bool:
        """Whether two documents of a cluster are the same text."""
        (one, i), (other, j) = self._place(a), self._place(b)
        return self.search.exact and bool(opened(one, ".keys")[0, i] == opened(other, ".keys")[0, j])

    def similarity(self, a: int, b: int) -> float:
        """The Jaccard similarity of two documents: the true one if it is to be verified, else an estimate."""
        if self.search.verify is not None:
            return jaccard(self.shingles(a), self.shingles(b))
        (one, i), (other, j) = self._place(a), self._place(b)
        return float(similarity(opened(one, ".signatures")[i], opened(other, ".signatures")[j]))

    def alike(self, a: int, b: int) -> bool:
        """Whether a pair that was found is one of duplicates."""
        return self.search.verify is None or self.similarity(a, b) >= self.search.verify

    def shingles(self, document: int) -> np.ndarray:
        """The different shingles of a document, sorted."""
        file, i = self._place(document)
        begin, end = opened(file, ".ends")[i : i + 2]
        return opened(file, ".shingles")[begin:end]

    def _place(self, document: int) -> tuple[Path, int]:
        chunk = int(np.searchsorted(self.firsts, document, "right")) - 1
        return self.files[chunk], document - self.chunks[chunk].first


def first_of_clusters(chunks: Sequence[Chunk], search: Search, folder: Path, run: Run) -> tuple[np.ndarray, Signed]:
    """For each document the number of the first one of its cluster (N,), and what the search has found out."""
    total = sum(chunk.count for chunk in chunks)
    if not search.exact and not search.near:
        return np.arange(total), Signed(chunks, [], search)
    files = list(run(sign, ((chunk.path, search, folder) for chunk in chunks)))
    signed = Signed(chunks, files, search)
    clusters = UnionFind(total)
    columns = search.exact + (search.near.bands if search.near else 0)
    for pairs in equal_pairs(signed.keys, columns, folder, run):
        join_verified(clusters, pairs, signed) if search.verify is not None else clusters.join(*pairs)
    return clusters.roots(), signed


def sign(chunk: Path, search: Search, folder: Path) -> Path:
    """A task: keys (columns, n), signatures (n, H) and, to verify, the shingles of the documents of a chunk."""
    path = folder / name_of("signed", chunk.name, search)
    if path.with_suffix(".keys").exists():  # it is written last
        return path
    texts = [document.text for document in read_chunk(chunk)]
    keys = [np.array([[text_hash(text) for text in texts]], np.uint64)] if search.exact else []
    if search.near:
        found = signatures(texts, search.near)
        save_array(path.with_suffix(".signatures"), found)
        keys.append(band_keys(found, search.near))
        if search.verify is not None:
            sets = shingle_sets(texts, search.near.words)
            save_array(path.with_suffix(".ends"), np.cumsum([0, *map(len, sets)]))
            save_array(path.with_suffix(".shingles"), np.concatenate(sets))
    save_array(path.with_suffix(".keys"), np.concatenate(keys))
    return path


@lru_cache(maxsize=256)  # files that are open: most systems allow 1,024
def opened(file: Path, kind: str) -> np.ndarray:
    return load_array(file.with_suffix(kind))


def shingle_sets(texts: Sequence[str], size: int) -> list[np.ndarray]:
    """The different shingles of each text, sorted."""
    parts: list[list[np.ndarray]] = [[] for _ in texts]
    for first, shingles, counts in shingle_blocks(texts, size):
        for i, part in enumerate(np.split(shingles, np.cumsum(counts)[:-1]), first):
            parts[i].append(part)
    return [np.unique(np.concatenate(part)) for part in parts]


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """The similarity of two sets, each of different numbers."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def join_verified(clusters: UnionFind, pairs: np.ndarray, signed: Signed) -> None:
    """Join the documents of each group with the same key whose similarity is large enough, whichever two they are."""
    begins = np.flatnonzero(np.diff(pairs[0], prepend=-1))
    for first, others in zip(pairs[0, begins], np.split(pairs[1], begins[1:])):
        members = {int(first): [int(first)]}  # root -> documents of this group in its cluster
        for document in others.tolist():
            members = join_one(clusters, members, document, signed)


def join_one(clusters: UnionFind, members: dict[int, list[int]], document: int, signed: Signed) -> dict[int, list[int]]:
    """Join a document with each of the clusters in which it has a duplicate."""
    alike, others = [document], {}
    for root, documents in members.items():
        same = clusters.find_one(root) == clusters.find_one(document)
        if same or any(signed.alike(document, each) for each in documents):
            clusters.join(np.array([root]), np.array([document]))
            alike = documents + alike
        else:
            others[root] = documents
    return others | {clusters.find_one(document): alike}
