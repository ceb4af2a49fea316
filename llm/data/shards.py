"""Tokens on disk: a folder of numbered binary files that reads like one long array.

    00000.bin, 00001.bin, ...   token ids one after another, little-endian, nothing else
    meta.json                   their type, number and checksums, what they were made from, and a checksum of all this

The files are mapped into memory, not loaded: the operating system reads the parts that are used, and drops them when
memory is short. So there may be far more tokens than memory. nanoGPT's `train.bin` is one such file.
"""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate, count
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np

from llm.data.corpus import Progress
from llm.data.errors import DataError
from llm.runs.files import open_regular, read_json, write_json

META = "meta.json"
DTYPES = ("uint16", "uint32")
SHARD_TOKENS = 1 << 28  # 512 MB of uint16. All files are open at once, so there must not be many
GROUP_CHARACTERS = 1 << 24  # of text that are tokenized together: enough work for several processes
CHECKSUM_BYTES = 1 << 22  # read at a time to compute a checksum


class TextTokenizer(Protocol):
    """What this module needs of a tokenizer. Those of the package `tokenizer` have it."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def end_of_text(self) -> int | None: ...

    def encode_batch_array(
        self, texts: Sequence[str], *, disallowed_special: Collection[str], processes: int | None
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def save(self, path: Path) -> None: ...


class ShardWriter:
    """Tokenizes text into shards in an existing folder. Call `finish` at the end."""

    def __init__(
        self,
        folder: Path,
        tokenizer: TextTokenizer,
        shard_tokens: int = SHARD_TOKENS,
        group_characters: int = GROUP_CHARACTERS,
    ):
        self.folder, self.tokenizer, self.shard_tokens = folder, tokenizer, shard_tokens
        self.group_characters = group_characters
        self.dtype = np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")
        self.documents = self.bytes = 0
        self._in_document = False
        self._shards: list[dict[str, Any]] = []
        # Chunks wait until there are enough of them: tokenized together, they take less time than one by one.
        self._chunks: list[str] = []
        self._waiting_characters = 0
        self._document_ends: list[int] = []  # 3 means: a document ends after the third waiting chunk

    def add_text(self, text: str) -> None:
        """Append a chunk of a document."""
        if text:
            self._chunks.append(text)
            self._waiting_characters += len(text)
            self.bytes += len(text.encode())
            self._in_document = True
            if self._waiting_characters >= self.group_characters:
                self._tokenize()

    def end_document(self) -> None:
        """Put an end-of-text token after the document, if it had any text and the tokenizer has such a token."""
        if self._in_document:
            self._document_ends.append(len(self._chunks))
            self.documents += 1
            self._in_document = False

    def _tokenize(self) -> None:
        """Tokenize the waiting chunks, and append their tokens to the shards."""
        chunks, ends, end_of_text = self._chunks, self._document_ends, self.tokenizer.end_of_text
        self._chunks, self._waiting_characters, self._document_ends = [], 0, []
        ids, lengths = self.tokenizer.encode_batch_array(chunks, disallowed_special=(), processes=None)
        tokens = ids.astype(self.dtype)
        if end_of_text is not None:
            tokens_before = np.concatenate([[0], np.cumsum(lengths)])  # the tokens of the first 0, 1, 2 ... chunks
            tokens = np.insert(tokens, tokens_before[ends], end_of_text)
        self._append(tokens)

    def finish(self, **facts: str) -> None:
        """Tokenize what waits, and write meta.json; `facts` are stored in it for people to read."""
        self._tokenize()
        meta = {
            "dtype": self.dtype.name,
            "vocab_size": self.tokenizer.vocab_size,
            "tokens": sum(shard["tokens"] for shard in self._shards),
            "bytes": self.bytes,
            "documents": self.documents,
            **facts,
            "shards": self._shards,
        }
        write_json(self.folder / META, meta)

    def _append(self, tokens: np.ndarray) -> None:
        while len(tokens):
            if not self._shards or self._shards[-1]["tokens"] == self.shard_tokens:
                self._shards.append({"file": f"{len(self._shards):05}.bin", "tokens": 0, "crc32": 0})
            shard = self._shards[-1]
            fitting, tokens = np.split(tokens, [self.shard_tokens - shard["tokens"]])
            content = fitting.tobytes()
            with open(self.folder / shard["file"], "ab") as file:
                file.write(content)
            shard["tokens"] += len(fitting)
            shard["crc32"] = zlib.crc32(content, shard["crc32"])


class TokenShards:
    """A folder written by ShardWriter, as one read-only sequence. `len`, indices and slices work as for an array.

    A slice within one shard is a view of the file; one that crosses a border is a copy. Opening reads everything
    once to compare checksums. Raises DataError, naming the file, when something is missing or damaged.
    """

    def __init__(self, folder: Path, progress: Progress | None = None):
        self.folder = folder
        meta = _read_meta(folder / META)
        self.dtype = np.dtype(meta["dtype"])
        self.vocab_size: int = meta["vocab_size"]
        self.bytes: int = meta["bytes"]
        self.documents: int = meta["documents"]
        self.checksum = "-".join(f"{shard['crc32']:08x}" for shard in meta["shards"])  # of all tokens
        self._starts = [0, *accumulate(shard["tokens"] for shard in meta["shards"])]
        self._shards: list[np.ndarray] = []
        for shard, start in zip(meta["shards"], self._starts):
            path = folder / shard["file"]
            for checked in _check_shard(path, shard["tokens"] * self.dtype.itemsize, shard["crc32"]):
                if progress:
                    progress(f"checking {folder.name} tokens", start + checked // self.dtype.itemsize, self._starts[-1])
            # A plain array over the mapping: the slicing of np.memmap itself is several times slower.
            self._shards.append(np.asarray(np.memmap(path, dtype=self.dtype, mode="r")))

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> np.ndarray: ...

    def __getitem__(self, index: int | slice) -> int | np.ndarray:
        indices = range(len(self))[index]  # Python's own rules for negative, missing and too large bounds
        if isinstance(indices, int):
            return int(self._read(indices, indices + 1)[0])
        if not indices:
            return np.empty(0, dtype=self.dtype)
        return self._read(min(indices[0], indices[-1]), max(indices[0], indices[-1]) + 1)[:: indices.step]

    def _read(self, start: int, stop: int) -> np.ndarray:
        """The tokens from `start` to `stop`, at least one."""
        first = bisect_right(self._starts, start) - 1
        last = bisect_right(self._starts, stop - 1) - 1
        parts = [
            self._shards[shard][max(0, start - self._starts[shard]) : stop - self._starts[shard]]
            for shard in range(first, last + 1)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = read_json(path)
    except ValueError as error:
        raise DataError(f"{path} cannot be read, so the token folder is damaged: {error}") from None
    if not meta.keys() >= {"dtype", "vocab_size", "bytes", "documents", "tokens", "shards"}:
        raise DataError(f"{path} is not the description of a token folder")
    counts = ("vocab_size", "bytes", "documents", "tokens")
    if meta["dtype"] not in DTYPES or not all(_is_count(meta[name]) for name in counts):
        raise DataError(f"{path} is not the description of a token folder: its numbers or its dtype are impossible")
    if not isinstance(meta["shards"], list) or not all(map(_is_shard, meta["shards"], count())):
        raise DataError(f"{path} is not the description of a token folder: its list of shards is damaged")
    if sum(shard["tokens"] for shard in meta["shards"]) != meta["tokens"]:
        raise DataError(f"{path} is damaged: its shards do not add up to {meta['tokens']:,} tokens")
    return meta


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_shard(shard: Any, number: int) -> bool:
    """Whether this can be the entry of shard `number` in meta.json."""
    return (
        isinstance(shard, dict)
        and shard.get("file") == f"{number:05}.bin"  # another name, such as ../../x, could lead out of the folder
        and all(_is_count(shard.get(name)) for name in ("tokens", "crc32"))
    )


def _check_shard(path: Path, size: int, checksum: int) -> Iterator[int]:
    """Compare size and checksum of a file; yields the number of bytes read so far. Raises DataError if one is wrong."""
    found = 0
    try:
        # Read, not mapped: the pages of a mapping would count as memory of this process.
        with open_regular(path) as file:
            length = os.fstat(file.fileno()).st_size
            if length != size:
                raise DataError(f"{path} is damaged: it has {length:,} bytes instead of {size:,}")
            buffer = memoryview(bytearray(CHECKSUM_BYTES))
            while read := file.readinto(buffer):
                found = zlib.crc32(buffer[:read], found)
                yield file.tell()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    if found != checksum:
        raise DataError(f"{path} is damaged: its checksum is wrong, so its content has changed since it was written")
