"""The .bin files of llama2.c (https://github.com/karpathy/llama2.c, export.py): Llama models as plain numbers.

    version 0   7 integers of 32 bits (FIELDS), and all weights in float32. If vocab_size is negative, the output has
                weights of its own. Before those stand two tables of cosines and sines, which nobody needs
    version 1   "ak42" as an integer, 1, FIELDS, a byte: 1 if the output has the weights of the embedding; zeros up to
                byte 256; all weights in float32, norms first
    version 2   as 1, with the length of a group after the byte; norms in float32; then each matrix: its numbers in 8
                bits, and a scale in float32 for each group

A projection (out, in) has its rows as PyTorch has them. Rows of queries and keys are interleaved (weights.py).
The file says nothing of RMSNorm's epsilon (1e-5) and RoPE's base (10000): llama2.c has no others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from llm.hub.errors import HubError
from llm.hub.mapped import map_file
from llm.hub.stored import Stored
from llm.hub.weights import Part, Same, interleaved_qkv, stack
from llm.model.config import GPTConfig

FIELDS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")
MAGIC = 0x616B3432  # "ak42"
HEADER = 256  # bytes, in version 1 and 2
MOST_LAYERS = 1 << 12  # many times those of any Llama: names are made for each


@dataclass(frozen=True)
class Llama2C:
    """The content of a file."""

    version: int
    sizes: dict[str, int]  # by FIELDS
    shared_classifier: bool  # then there is no "output.weight": it is that of "tok_embeddings.weight"
    tensors: dict[str, Stored]  # by the names in llama2.c's model.py: "layers.0.attention.wq.weight" ...


Shapes = list[tuple[str, tuple[int, ...]]]


def read_llama2c(path: Path) -> Llama2C:
    """The file at `path`. HubError when the sizes in its header do not agree with each other, or with its length."""
    data = map_file(path)
    if len(data) < HEADER:
        raise HubError(f"{path} has {len(data)} bytes, too few for a model of llama2.c")
    magic, version = struct.unpack("<Ii", data[:8].tobytes())
    version = version if magic == MAGIC else 0
    if not 0 <= version <= 2:
        raise HubError(f"{path} is of version {version} of llama2.c's format; 0, 1 and 2 are read")
    return _read_legacy(path, data) if version == 0 else _read_new(path, data, version)


def _read_legacy(path: Path, data: np.ndarray) -> Llama2C:
    values = struct.unpack("<7i", data[:28].tobytes())
    shared = values[5] > 0
    sizes = _checked_sizes(path, (*values[:5], abs(values[5]), values[6]))
    shapes = _legacy_shapes(sizes, shared)
    _check_length(path, len(data), 28 + 4 * sum(prod(shape) for _, shape in shapes))
    tensors = {name: stored for name, stored in _float32(data[28:], shapes) if not name.startswith("freqs_")}
    return Llama2C(0, sizes, shared, tensors)


def _read_new(path: Path, data: np.ndarray, version: int) -> Llama2C:
    sizes = _checked_sizes(path, struct.unpack("<7i", data[8:36].tobytes()))
    shared, group = struct.unpack("<Bi", data[36:41].tobytes())
    if shared > 1:
        raise HubError(f"{path} has {shared} where 0 or 1 says whether input and output share their weights")
    norms, matrices = _norm_shapes(sizes), _matrix_shapes(sizes, bool(shared))
    norm_bytes = 4 * sum(prod(shape) for _, shape in norms)
    count = sum(prod(shape) for _, shape in matrices)
    if version == 2 and (group < 1 or any(prod(shape) % group for _, shape in matrices)):
        raise HubError(f"{path} has groups of {group:,} numbers, which do not divide its matrices")
    matrix_bytes = 4 * count if version == 1 else count + 4 * (count // group)
    _check_length(path, len(data), HEADER + norm_bytes + matrix_bytes)
    tensors = dict(_float32(data[HEADER:], norms))
    rest = data[HEADER + norm_bytes :]
    tensors |= _float32(rest, matrices) if version == 1 else _int8(path, rest, matrices, group)
    return Llama2C(version, sizes, bool(shared), tensors)


# --- sizes ------------------------------------------------------------------------------------------------------------


def _checked_sizes(path: Path, values: tuple[int, ...]) -> dict[str, int]:
    sizes = dict(zip(FIELDS, values))
    heads, kv_heads = sizes["n_heads"], sizes["n_kv_heads"]
    if min(values) < 1 or sizes["dim"] % (2 * heads) or heads % kv_heads or sizes["n_layers"] > MOST_LAYERS:
        text = ", ".join(f"{name} {value}" for name, value in sizes.items())
        raise HubError(f"{path} is not a model of llama2.c: its first numbers would mean {text}")
    return sizes


def _check_length(path: Path, length: int, expected: int) -> None:
    if length != expected:
        raise HubError(f"{path} has {length:,} bytes, and a model of its sizes {expected:,}; download it again")


# --- which tensors there are, in the order of the file ----------------------------------------------------------------


def _layers(sizes: dict[str, int], name: str, *shape: int) -> Shapes:
    return [(f"layers.{layer}.{name}.weight", shape) for layer in range(sizes["n_layers"])]


def _legacy_shapes(sizes: dict[str, int], shared: bool) -> Shapes:
    norms, matrices = dict(_norm_shapes(sizes)), dict(_matrix_shapes(sizes, shared))
    table = (sizes["max_seq_len"], sizes["dim"] // sizes["n_heads"] // 2)

    def each_layer(*names: str) -> Shapes:
        shapes = norms | matrices
        return [(key, shapes[key]) for name in names for key, _ in _layers(sizes, name)]

    return [
        ("tok_embeddings.weight", matrices["tok_embeddings.weight"]),
        *each_layer("attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo"),
        *each_layer("ffn_norm", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3"),
        ("norm.weight", norms["norm.weight"]),
        ("freqs_cos", table),
        ("freqs_sin", table),
        *([] if shared else [("output.weight", matrices["output.weight"])]),
    ]


def _norm_shapes(sizes: dict[str, int]) -> Shapes:
    dim = sizes["dim"]
    return [
        *_layers(sizes, "attention_norm", dim), *_layers(sizes, "ffn_norm", dim), ("norm.weight", (dim,)),
    ]  # fmt: skip


def _matrix_shapes(sizes: dict[str, int], shared: bool) -> Shapes:
    dim, hidden, vocabulary = sizes["dim"], sizes["hidden_dim"], sizes["vocab_size"]
    kv_dim = dim // sizes["n_heads"] * sizes["n_kv_heads"]
    return [
        ("tok_embeddings.weight", (vocabulary, dim)),
        *_layers(sizes, "attention.wq", dim, dim),
        *_layers(sizes, "attention.wk", kv_dim, dim),
        *_layers(sizes, "attention.wv", kv_dim, dim),
        *_layers(sizes, "attention.wo", dim, dim),
        *_layers(sizes, "feed_forward.w1", hidden, dim),
        *_layers(sizes, "feed_forward.w2", dim, hidden),
        *_layers(sizes, "feed_forward.w3", hidden, dim),
        *([] if shared else [("output.weight", (vocabulary, dim))]),
    ]


# --- numbers ----------------------------------------------------------------------------------------------------------


def _float32(data: np.ndarray, shapes: Shapes) -> Iterator[tuple[str, Stored]]:
    start = 0
    for name, shape in shapes:
        stop = start + 4 * prod(shape)
        yield name, Stored.from_bytes(data[start:stop], "F32", shape)
        start = stop


def _int8(path: Path, data: np.ndarray, shapes: Shapes, group: int) -> Iterator[tuple[str, Stored]]:
    """As float32 in memory: no kind of kinds.py has groups of this length with scales in float32."""
    start = 0
    for name, shape in shapes:
        middle = start + prod(shape)
        stop = middle + 4 * (prod(shape) // group)
        q = data[start:middle].view(np.int8).reshape(-1, group)
        scales = data[middle:stop].view("<f4")[:, None]
        # For some days, export.py wrote all scales at the end of the file, under the same number of version.
        if not (np.isfinite(scales) & (scales >= 0)).all():
            raise HubError(f"{path}: scales of {name} are negative or infinite; export it again with llama2.c of today")
        yield name, Stored((q * scales).reshape(shape), "F32")
        start = stop


# --- the model --------------------------------------------------------------------------------------------------------


def llama2c_config(file: Llama2C) -> GPTConfig:
    """The configuration of the model in the file, a Llama."""
    sizes = file.sizes
    return GPTConfig(
        vocab_size=sizes["vocab_size"],
        context=sizes["max_seq_len"],
        layers=sizes["n_layers"],
        heads=sizes["n_heads"],
        kv_heads=sizes["n_kv_heads"],
        dim=sizes["dim"],
        mlp_dim=sizes["hidden_dim"],
        positions="rope",
        norm="rmsnorm",
        norm_eps=1e-5,
        mlp="swiglu",
        bias=False,
        tied_head=file.shared_classifier,
    )


def llama2c_tensors(config: GPTConfig) -> dict[str, Part]:
    """Our names -> theirs."""
    parts: dict[str, Part] = {
        "embedding.weight": Same("tok_embeddings.weight"),
        "norm.weight": Same("norm.weight"),
        "head.weight": Same("output.weight"),
    }
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}", f"layers.{layer}"
        names = [f"{theirs}.attention.w{letter}.weight" for letter in "qkv"]
        qkv = interleaved_qkv(names, config.heads, config.key_heads, config.head_size)
        gate_up = stack([f"{theirs}.feed_forward.w1.weight", f"{theirs}.feed_forward.w3.weight"], [config.mlp_size] * 2)
        parts |= {
            f"{ours}.norm1.weight": Same(f"{theirs}.attention_norm.weight"),
            f"{ours}.attention.qkv.weight": qkv,
            f"{ours}.attention.out.weight": Same(f"{theirs}.attention.wo.weight"),
            f"{ours}.norm2.weight": Same(f"{theirs}.ffn_norm.weight"),
            f"{ours}.mlp.up.weight": gate_up,
            f"{ours}.mlp.down.weight": Same(f"{theirs}.feed_forward.w2.weight"),
        }
    return parts
