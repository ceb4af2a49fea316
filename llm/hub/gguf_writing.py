"""Writes a GGUF file, through the writer of the package `gguf`. gguf_files.py explains the format and reads it."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from llm.hub.errors import HubError, shown
from llm.hub.gguf_files import MOST_AXES, check_alignment
from llm.hub.kinds import KINDS, Kind, import_gguf, kind_of_dtype
from llm.hub.stored import Stored
from tokenizer.formats.atomic import new_file

ARCHITECTURE, ALIGNMENT_KEY = "general.architecture", "general.alignment"


def write_gguf(
    path: Path,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Stored | np.ndarray],
    kinds: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the file at `path`, whole or not at all.

    metadata: numbers, texts and lists by key; "general.architecture" is needed. An int becomes UINT32 if it can, one of
    a list INT32, a float FLOAT32: what llama.cpp expects.
    kinds: how arrays are rounded, by name of the tensor: "F32", "F16", "BF16", "Q8_0" ...; an array that is not named
    keeps its dtype, and a `Stored` always stays as it is.
    One tensor after the other is rounded and written, so little memory is needed. HubError for what cannot be written.
    """
    gguf = import_gguf()
    if not isinstance(metadata.get(ARCHITECTURE), str):
        raise HubError(
            f"a GGUF file needs a text {ARCHITECTURE!r}, such as 'llama', not {metadata.get(ARCHITECTURE)!r}"
        )
    with new_file(path) as partial:
        writer = gguf.GGUFWriter(partial, metadata[ARCHITECTURE])
        try:
            _add_metadata(gguf, writer, metadata)
            for name, tensor in tensors.items():
                _add_info(gguf, writer, name, tensor, kinds.get(name))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for name, tensor in tensors.items():
                writer.write_tensor_data(_raw(name, tensor, kinds.get(name)))
        finally:
            writer.close()


def _add_metadata(gguf: Any, writer: Any, metadata: Mapping[str, Any]) -> None:
    writer.data_alignment = check_alignment(metadata.get(ALIGNMENT_KEY, writer.data_alignment), "the new file")
    for key, value in metadata.items():
        if key == ARCHITECTURE:  # the writer has added it
            continue
        try:
            _add_value(gguf.GGUFValueType, writer, key, value)
        except (ValueError, TypeError) as error:  # a text with half of a surrogate pair, for example
            raise HubError(f"the metadata {key!r} cannot be written to a GGUF file: {error}") from None


def _add_value(types: Any, writer: Any, key: str, value: Any) -> None:
    if isinstance(value, (list, tuple)):
        writer.add_key_value(key, _checked(list(value)), types.ARRAY, types[_type(list(value), whole="INT32")])
    else:
        writer.add_key_value(key, _checked([value])[0], types[_type([value], whole="UINT32")])


def _type(values: list[Any], whole: str) -> str:
    """The type for Python values of one type. `whole`: for integers, if they fit."""
    types = {type(value) for value in values}
    if types == {int}:
        return _integer_type(min(values), max(values), whole)
    names = [name for kind, name in ((str, "STRING"), (bool, "BOOL"), (float, "FLOAT32")) if types == {kind}]
    if not names:
        raise ValueError(f"values of one type are needed, and at least one, not {shown(values)}")
    return names[0]


def _integer_type(least: int, most: int, preferred: str) -> str:
    bounds = {"INT32": (-(2**31), 2**31), "UINT32": (0, 2**32), "INT64": (-(2**63), 2**63), "UINT64": (0, 2**64)}
    for name in (preferred, *bounds):
        if bounds[name][0] <= least and most < bounds[name][1]:
            return name
    raise ValueError("an integer needs more than 64 bits")


def _checked(values: list[Any]) -> list[Any]:
    for value in values:
        if isinstance(value, str):
            value.encode()  # UnicodeEncodeError, before anything is written
        if isinstance(value, float) and float(np.finfo(np.float32).max) < abs(value) < float("inf"):
            raise ValueError(f"{value} is too large for FLOAT32")
    return values


def _kind_of(tensor: Stored | np.ndarray, kind: str | None) -> Kind:
    name = tensor.kind if isinstance(tensor, Stored) else kind or kind_of_dtype(tensor.dtype)
    if name not in KINDS:
        raise ValueError(f"there is no kind {name!r}")
    return KINDS[name]


def _add_info(gguf: Any, writer: Any, name: str, tensor: Stored | np.ndarray, kind: str | None) -> None:
    try:
        form = _kind_of(tensor, kind)
        raw_shape = form.raw_shape(tensor.shape)
    except ValueError as error:
        raise HubError(f"{name!r} cannot be stored: {error}") from None
    if form.name not in gguf.GGMLQuantizationType.__members__ or not 1 <= len(raw_shape) <= MOST_AXES:
        raise HubError(f"GGUF has no place for {name!r}: {form.name} of shape {tensor.shape}")
    nbytes = prod(raw_shape) * form.dtype.itemsize
    # For uint8 the writer takes the shape in bytes, for all other dtypes the shape of the tensor.
    dtype = np.dtype(np.uint8 if form.numbers > 1 else np.uint16)
    writer.add_tensor_info(name, raw_shape, dtype, nbytes, gguf.GGMLQuantizationType[form.name])


def _raw(name: str, tensor: Stored | np.ndarray, kind: str | None) -> np.ndarray:
    if isinstance(tensor, Stored):
        return np.ascontiguousarray(tensor.raw)
    try:
        return np.ascontiguousarray(Stored.from_array(tensor, kind).raw)
    except ValueError as error:
        raise HubError(f"{name!r} cannot be stored: {error}") from None
