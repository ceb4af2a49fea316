"""The bytes of a file, whatever it was compressed with: gzip and Zstandard are known by their first bytes."""

from __future__ import annotations

import gzip
import io
import os
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from llm.data.errors import DataError

STANDARD_INPUT = "-"
GZIP, ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # how files begin. Neither can begin a text in UTF-8
SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")  # a frame of Zstandard without text, such as an index (RFC 8878)
PARQUET = b"PAR1"
COMPRESSED = (".gz", ".zst", ".zstd")  # ends of names
# Zstandard may turn 4 bytes into 128 KB. So 1 KB at a time takes at most 32 MB of memory.
ZSTANDARD_BYTES = 1 << 10


def open_stream(path: str | Path) -> io.BufferedReader:
    """The bytes of a file, a pipe, or "-" for standard input, decompressed.

    Reading raises one of `damages()` if what was compressed is broken, or ends too early.
    """
    raw = open(path, "rb") if str(path) != STANDARD_INPUT else _standard_input()  # noqa: SIM115  it is returned
    head = raw.peek(len(ZSTANDARD))
    if head.startswith(GZIP):
        return _Decompressed(gzip.GzipFile(fileobj=raw), raw)
    if head.startswith(ZSTANDARD) or SKIPPABLE.match(head):
        return _Decompressed(Zstandard(raw), raw)
    return raw


def _standard_input() -> io.BufferedReader:
    if sys.stdin is None or sys.stdin.closed:  # None: closed, as by the shell's <&-
        raise DataError("standard input is closed, or was read before; give a file, or send the text through a pipe")
    buffer = sys.stdin.buffer
    return buffer if isinstance(buffer, io.BufferedReader) else io.BufferedReader(cast(Any, buffer))


def suffix_of(path: str | Path) -> str:
    """What says the form of a text: ".jsonl" of "part-3.JSONL.gz"."""
    name = os.path.basename(path).lower()
    for compressed in COMPRESSED:
        name = name.removesuffix(compressed)
    return os.path.splitext(name)[1]


class _Decompressed(io.BufferedReader):
    """A buffer over a decompressed stream, which closes the compressed file with it."""

    def __init__(self, stream: Any, compressed: io.BufferedReader):
        super().__init__(stream)
        self._compressed = compressed

    def close(self) -> None:
        super().close()
        self._compressed.close()


class Zstandard(io.RawIOBase):
    """What is inside of a Zstandard file, which may have several frames.

    `stream_reader` of the package would not tell that a file breaks off.
    """

    def __init__(self, compressed: io.BufferedReader):
        try:
            import zstandard
        except ImportError as error:
            raise missing(error) from None
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._compressed = compressed
        self._frame: Any = None  # None between two frames
        self._waiting = memoryview(b"")  # what is decompressed, and was not asked for yet

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting:
            if not (block := self._compressed.read(ZSTANDARD_BYTES)):
                if self._frame is not None:
                    raise EOFError("it ends in the middle of a frame")
                return 0
            self._waiting = memoryview(b"".join(self._decompress(block)))
        size = min(len(buffer), len(self._waiting))
        buffer[:size], self._waiting = self._waiting[:size], self._waiting[size:]
        return size

    def _decompress(self, block: bytes) -> Iterator[bytes]:
        while block:
            frame = self._frame = self._frame or self._new_frame()
            yield frame.decompress(block)
            block = frame.unused_data  # the beginning of the next frame
            if frame.eof:
                self._frame = None


def missing(error: ImportError) -> DataError:
    """What to do without an optional package."""
    return DataError(
        f"this form of text needs {error.name}; install it in the folder of this project: pip install -e '.[data]'"
    )


def damages() -> tuple[type[Exception], ...]:
    """What is raised where a compressed file is broken."""
    zstandard = sys.modules.get("zstandard")  # not imported: then no such file was opened
    return (EOFError, zlib.error, gzip.BadGzipFile, *([zstandard.ZstdError] if zstandard else []))
