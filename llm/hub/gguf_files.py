"""A GGUF file: the format of llama.cpp, with the configuration, the tokenizer and the weights in one file.

    "GGUF", version, number of tensors, number of pairs
    pairs (key, type, value): the metadata. A value is a number, a text, or an array of values of one type
    for each tensor: name, sizes, type, offset
    the numbers of the tensors, each at a multiple of the alignment

The reader of the package `gguf` makes several NumPy arrays for each text of the vocabulary, which takes seconds and
hundreds of bytes for each, and trusts what the file says about sizes. So the beginning of the file is read by hand:
each size is compared with what is left of the file before it is used. The names and numbers of the types are those of
the package. The layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from llm.hub.errors import HubError, shown
from llm.hub.kinds import KINDS, import_gguf
from llm.hub.mapped import map_file
from llm.hub.stored import Stored

VERSIONS = (2, 3)  # they differ only in that 3 may be big-endian
# Bounds, many times what is found in published files: a vocabulary of 262,144 with its merges has 1.3 million values.
MOST_HEADER = 1 << 26  # bytes before the tensors
MOST_VALUES = 1 << 21  # in all arrays of the metadata together
MOST_TENSORS = 1 << 17
DEEPEST = 4  # arrays in arrays
MOST_AXES = 4  # in llama.cpp
ALIGNMENT = 32  # unless the metadata has another one

BOOL, STRING, ARRAY = 7, 8, 9
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", BOOL: "<B", 10: "<Q", 11: "<q", 12: "<d"}


@dataclass(frozen=True)
class GGUFFile:
    """The content of a file."""

    metadata: dict[str, Any]  # plain Python values: numbers, texts, lists
    tensors: dict[str, Stored]  # shapes in NumPy's order: (rows, columns)


def read_gguf(path: Path) -> GGUFFile:
    """The file at `path`. HubError when it is cut off, contradicts itself, or holds what is not supported."""
    data = map_file(path)
    header = _Header(path, data)
    tensor_count, pair_count = header.begin()
    metadata = header.metadata(pair_count)
    if metadata.get("split.count", 1) != 1:
        raise HubError(f"{path} is one of {shown(metadata['split.count'])} parts; join them: llama-gguf-split --merge")
    infos = header.tensors(tensor_count)
    alignment = check_alignment(metadata.get("general.alignment", ALIGNMENT), path)
    start = -(-header.position // alignment) * alignment  # rounded up
    _check_places(path, infos, alignment, len(data) - start)
    tensors = {
        info.name: Stored.from_bytes(data[start + info.offset : start + info.end], info.kind, info.shape)
        for info in infos
    }
    return GGUFFile(metadata, tensors)


def check_alignment(value: Any, where: object) -> int:
    if type(value) is not int or value < 1 or value & (value - 1):
        raise HubError(f"{where}: the alignment is {shown(value)}, and must be a power of two")
    return value


@dataclass(frozen=True)
class _Info:
    name: str
    kind: str
    shape: tuple[int, ...]
    offset: int  # from the first byte after the header
    nbytes: int

    @property
    def end(self) -> int:
        return self.offset + self.nbytes


def _check_places(path: Path, infos: list[_Info], alignment: int, length: int) -> None:
    end, before = 0, ""
    for info in sorted(infos, key=lambda info: (info.offset, info.nbytes)):
        name = shown(info.name)
        if info.offset % alignment:
            raise HubError(f"{path}: {name} begins at byte {info.offset:,}, not at a multiple of {alignment}")
        if info.offset < end:
            raise HubError(f"{path}: {name} begins at byte {info.offset:,}, within {before}, which ends at {end:,}")
        end, before = info.end, name
        if end > length:
            raise HubError(f"{path} was cut off: {name} ends at byte {end:,} of {max(0, length):,}; download it again")


class _Header:
    """Reads the beginning of a file from its first byte on. All methods raise HubError."""

    def __init__(self, path: Path, data: np.ndarray):
        self.path, self.position = path, 0
        self._data = data[:MOST_HEADER].data
        self._is_cut = len(data) <= MOST_HEADER  # where it ends, the file ends too
        self._values_left = MOST_VALUES

    # --- in the order of the file -------------------------------------------------------------------------------------

    def begin(self) -> tuple[int, int]:
        """Number of tensors, number of pairs of metadata."""
        if bytes(self._data[:4]) != b"GGUF":
            raise HubError(f"{self.path} is not a GGUF file: it does not begin with the letters GGUF")
        self.position = 4
        version = self._number("<I", "the version")
        if not version & 0xFFFF:  # 3 with its bytes in the other order is 3 << 24
            raise HubError(f"{self.path} is big-endian; convert it: gguf-convert-endian FILE little")
        if version not in VERSIONS:
            raise HubError(f"{self.path} is of GGUF version {version}; {VERSIONS[0]} and {VERSIONS[1]} are read")
        tensor_count, pair_count = (self._number("<Q", "the numbers of tensors and of metadata") for _ in range(2))
        if tensor_count > MOST_TENSORS:
            raise HubError(f"{self.path} declares {tensor_count:,} tensors; at most {MOST_TENSORS:,} are read")
        self._reserve(pair_count, "the metadata")
        return tensor_count, pair_count

    def metadata(self, count: int) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        for _ in range(count):
            key = self._text("a key of the metadata")
            if key in pairs:
                raise HubError(f"{self.path} has the key {shown(key)} twice")
            pairs[key] = self._value(self._number("<I", f"the type of {shown(key)}"), shown(key), DEEPEST)
        return pairs

    def tensors(self, count: int) -> list[_Info]:
        infos: dict[str, _Info] = {}
        kinds = {item.value: item.name for item in import_gguf().GGMLQuantizationType}
        for _ in range(count):
            info = self._tensor(kinds)
            if info.name in infos:
                raise HubError(f"{self.path} has the tensor {shown(info.name)} twice")
            infos[info.name] = info
        return list(infos.values())

    def _tensor(self, kinds: dict[int, str]) -> _Info:
        name = self._text("the name of a tensor")
        what = f"the sizes of {shown(name)}"
        axes = self._number("<I", what)
        if not 1 <= axes <= MOST_AXES:
            raise HubError(f"{self.path}: {shown(name)} has {axes:,} axes; 1 to {MOST_AXES} are possible")
        # llama.cpp counts axes from the one whose numbers lie side by side; NumPy names that one last.
        shape = tuple(self._number("<Q", what) for _ in range(axes))[::-1]
        code = self._number("<I", what)
        kind, offset = KINDS.get(kinds.get(code, "")), self._number("<Q", what)
        if kind is None:
            readable = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K"
            raise HubError(f"{self.path}: {shown(name)} is of type {kinds.get(code, code)}; {readable} are read")
        if 0 in shape or shape[-1] % kind.numbers:
            raise HubError(f"{self.path}: {shown(name)} of type {kind.name} cannot have the shape {shape}")
        return _Info(name, kind.name, shape, offset, prod(shape) // kind.numbers * kind.nbytes)

    # --- values -------------------------------------------------------------------------------------------------------

    def _value(self, code: int, what: str, depth: int) -> Any:
        if code == STRING:
            return self._text(what)
        if code == ARRAY:
            return self._array(what, depth)
        if code not in NUMBERS:
            raise HubError(f"{self.path}: {what} is of the unknown type {code}")
        number = self._number(NUMBERS[code], what)
        return self._bools([number], what)[0] if code == BOOL else number

    def _array(self, what: str, depth: int) -> list[Any]:
        code, count = self._number("<I", what), self._number("<Q", what)
        self._reserve(count, what)
        if code in NUMBERS:
            dtype = np.dtype(NUMBERS[code])
            values = np.frombuffer(self._take(count * dtype.itemsize, what), dtype).tolist()
            return self._bools(values, what) if code == BOOL else values
        if not depth:
            raise HubError(f"{self.path}: {what} has arrays in arrays, more than {DEEPEST} deep")
        return [self._value(code, what, depth - 1) for _ in range(count)]

    def _bools(self, values: list[int], what: str) -> list[bool]:
        if not {0, 1}.issuperset(values):
            raise HubError(f"{self.path}: {what} holds {max(values)} where only 0 (false) and 1 (true) are possible")
        return [value == 1 for value in values]

    def _text(self, what: str) -> str:
        data = self._take(self._number("<Q", what), what)
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError:
            raise HubError(f"{self.path}: {what} is not valid UTF-8: {shown(bytes(data[:40]))}") from None

    def _number(self, form: str, what: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form), what))[0]

    def _take(self, nbytes: int, what: str) -> memoryview:
        start, self.position = self.position, self.position + nbytes
        if self.position > len(self._data):
            if self._is_cut:
                raise HubError(f"{self.path} was cut off: it ends within {what}, which needs {nbytes:,} bytes there")
            raise HubError(f"{self.path} has more than {MOST_HEADER:,} bytes before its tensors, up to {what}")
        return self._data[start : self.position]

    def _reserve(self, count: int, what: str) -> None:
        """Count the values that will be made, before they are."""
        self._values_left -= count
        if self._values_left < 0:
            raise HubError(f"{self.path}: {what} declares {count:,} values; all together, {MOST_VALUES:,} are read")
