"""The tensors of a Hugging Face folder: model.safetensors, or several such files (shards) with their index.

A safetensors file is: 8 bytes with the length of the header; the header, JSON with the kind, the shape and the place of
each tensor; the numbers. The library `safetensors` copies the numbers into arrays, but not bfloat16, which NumPy does
not have. Here they stay in the file, which is mapped to memory, so the header is read by hand. It comes from a
stranger: all that it says is checked before it is used. HubError names the tensor or the file that is not as it says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llm.hub.errors import HubError, shown
from llm.hub.kinds import KINDS
from llm.hub.mapped import map_file
from llm.hub.stored import Stored

MODEL, INDEX = "model.safetensors", "model.safetensors.index.json"
LARGEST_HEADER = 1 << 24  # bytes of JSON. A header has about 120 for each tensor
MOST_BYTES = 1 << 48  # of a file. Sizes of axes have the same bound: beyond it, NumPy's own sizes overflow
MOST_AXES = 8  # of a tensor; weights have 1 to 3, and NumPy allows 64
# Files of other formats. Loading a pickle runs any code that its author put in.
FOREIGN = ("*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
CONVERT = (
    "convert it where you trust its origin: with transformers, "
    "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)"
)


def read_safetensors_folder(folder: Path) -> dict[str, Stored]:
    """All tensors of the folder by name."""
    if not folder.is_dir():
        raise HubError(f"{folder} is not a folder; give one that holds a model")
    has_model, has_index = ((folder / name).exists() for name in (MODEL, INDEX))
    if has_index:
        return _read_shards(folder, also_a_model=has_model)
    for shard in _shards_in(folder):
        raise HubError(f"{folder} has {shard} but no {INDEX}, which says what belongs to the model; add it")
    if has_model:
        return read_safetensors(folder / MODEL)
    refuse_foreign(path for pattern in FOREIGN for path in sorted(folder.glob(pattern)))
    raise HubError(f"{folder} has no {MODEL} and no {INDEX}; give a folder that holds a model")


def refuse_foreign(paths: Iterable[Path]) -> None:
    """HubError with the way to convert, if a file of another format, such as a pickle of PyTorch, is among them."""
    for path in paths:
        if any(path.match(pattern) for pattern in FOREIGN):
            raise HubError(f"{path.name} in {path.parent} is not read, only safetensors; {CONVERT}")


# --- shards -----------------------------------------------------------------------------------------------------------


def _read_shards(folder: Path, *, also_a_model: bool) -> dict[str, Stored]:
    shard_of = _read_index(folder / INDEX)
    names = sorted(set(shard_of.values()))
    # Files that a careless copy has left could be mistaken for the model by other programs, so which one is meant?
    present = {*_shards_in(folder), *([MODEL] if also_a_model else [])}
    for surplus in sorted(present - set(names)):
        raise HubError(f"{folder} has {surplus}, which {INDEX} does not name; remove one of the two")
    tensors: dict[str, Stored] = {}
    for shard in names:
        if not (folder / shard).exists():
            raise HubError(f"{folder} lacks {shard}, which {INDEX} names; download it again")
        found = read_safetensors(folder / shard)
        _compare(folder / shard, found.keys(), {name for name, where in shard_of.items() if where == shard})
        tensors |= found
    return {name: tensors[name] for name in shard_of}


def _shards_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("model-*-of-*.safetensors"))


def _compare(shard: Path, found: Iterable[str], expected: set[str]) -> None:
    for name in sorted(expected - set(found)):
        raise HubError(f"{shard} lacks the tensor {shown(name)}, which {INDEX} promises; download both again")
    for name in sorted(set(found) - expected):
        raise HubError(
            f"{shard} has the tensor {shown(name)}, which {INDEX} does not look for there; download both again"
        )


def _read_index(path: Path) -> dict[str, str]:
    """Which file has which tensor. (The total_size is not compared: nothing depends on it.)"""
    data = map_file(path)
    if len(data) > LARGEST_HEADER:
        raise HubError(f"{path} has {len(data):,} bytes, too many for an index")
    index = _parse_json(path, data)
    shard_of = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shard_of, dict) or not shard_of:
        raise HubError(f"{path} has no weight_map, which says the file of each tensor")
    for shard in shard_of.values():
        # A name of a file in the folder, never a path. The file itself may be a link to elsewhere: whoever put it into
        # the folder did so, not the author of the index, and the cache of Hugging Face consists of such links.
        if not isinstance(shard, str) or not shard.endswith(".safetensors") or set(shard) & set("/\\:\0"):
            raise HubError(f"{path} names {shown(shard)}, which is not the name of a safetensors file beside it")
    return shard_of


# --- one file ---------------------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """One tensor of a file: its numbers are the bytes from `start` to `stop`, counted from the end of the header."""

    kind: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_safetensors(path: Path) -> dict[str, Stored]:
    """All tensors of one file by name, in the order of the header."""
    data = map_file(path)
    header, numbers = _split(path, data)
    entries = _parse_json(path, header)
    if not isinstance(entries, dict):
        raise HubError(f"{path}: the header holds a {type(entries).__name__}, not an object")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise HubError(f"{path}: its __metadata__ is not an object of texts")
    places = {name: _place(path, name, entry) for name, entry in entries.items()}
    _check_places(path, places, len(numbers))
    return {name: Stored.from_bytes(numbers[p.start : p.stop], p.kind, p.shape) for name, p in places.items()}


def _split(path: Path, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The header, and the numbers after it."""
    if len(data) < 8:
        raise HubError(f"{path} has {len(data)} bytes, so it is not a safetensors file; download it again")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if not 2 <= length <= len(data) - 8:
        raise HubError(
            f"{path} says that its header has {length:,} bytes, but {len(data) - 8:,} follow; it was cut off"
        )
    if length > LARGEST_HEADER:
        raise HubError(f"{path} has a header of {length:,} bytes; the largest one that is read has {LARGEST_HEADER:,}")
    return data[8 : 8 + length], data[8 + length :]


def _place(path: Path, name: str, entry: Any) -> _Place:
    """What an entry of the header says."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise HubError(f"{path}: the entry of {shown(name)} is not a dtype, a shape and data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in KINDS or KINDS[kind].numbers > 1:
        raise HubError(
            f"{path}: {shown(name)} is of the kind {shown(kind)}, which is not supported; convert it to BF16"
        )
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2 or len(shape) > MOST_AXES:
        raise HubError(f"{path}: {shown(name)} has the shape {shown(shape)} and the data_offsets {shown(offsets)}")
    start, stop = offsets
    if stop - start != prod(shape) * KINDS[kind].nbytes:
        raise HubError(f"{path}: {shown(name)} of shape {shown(shape)} in {kind} cannot have {stop - start:,} bytes")
    return _Place(kind, tuple(shape), start, stop)


def _are_sizes(values: Any) -> bool:
    # type() and not isinstance(): JSON's true is an int for Python.
    return isinstance(values, list) and all(type(value) is int and 0 <= value < MOST_BYTES for value in values)


def _check_places(path: Path, places: dict[str, _Place], length: int) -> None:
    """One tensor begins where the one before it ends, and the last one ends with the file, as the format demands."""
    end, before = 0, "the header"
    for name in sorted(places, key=lambda name: (places[name].start, places[name].stop)):
        if places[name].start != end:
            start = places[name].start
            raise HubError(f"{path}: {shown(name)} begins at byte {start:,}, but {before} ends at byte {end:,}")
        end, before = places[name].stop, shown(name)
    if end != length:
        raise HubError(f"{path} has {length:,} bytes of numbers, and its header describes {end:,}; download it again")


def _parse_json(path: Path, data: np.ndarray) -> Any:
    try:
        return json.loads(data.tobytes().decode(), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise HubError(f"{path} has no valid JSON where its header is expected: {error}") from None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"{shown(name)} is there twice")
        result[name] = value
    return result
