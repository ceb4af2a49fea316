"""Small files of each format for tests, written with other code than that which reads them; and ways to damage them."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from hypothesis import strategies as st

from llm.hub.errors import HubError

MEGABYTE, SECONDS = 1 << 20, 10


def safetensors_bytes(header: Any, numbers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def entry(dtype: str, shape: list[Any], start: Any, stop: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def write_gguf_with_library(path: Path, endian: gguf.GGUFEndian = gguf.GGUFEndian.LITTLE) -> dict[str, np.ndarray]:
    """A GGUF file as the package gguf writes it: metadata of several types, tensors in F32, F16 and Q8_0."""
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(3, 32)), "b": rng.normal(size=(5,)), "c": rng.normal(size=(2, 3, 64))}
    writer = gguf.GGUFWriter(path, "llama", endianess=endian)
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("llama.rope.freq_base", 1e5)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    writer.add_array("tokenizer.ggml.tokens", ["a", "é", "<|end|>", ""])
    writer.add_array("tokenizer.ggml.token_type", [1, 1, 3, -1])
    q8 = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("a", gguf.quantize(arrays["a"].astype(np.float32), q8), raw_dtype=q8)
    writer.add_tensor("b", arrays["b"].astype(np.float32))
    writer.add_tensor("c", arrays["c"].astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return arrays


def gguf_text(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def gguf_bytes(
    pairs: list[tuple[Any, int, bytes]] = [],  # noqa: B006  never changed
    tensors: list[tuple[Any, list[int], int, int]] = [],  # noqa: B006
    numbers: bytes = b"",
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
) -> bytes:
    """A GGUF file from pairs (key, type, value) and tensors (name, sizes as in the file, type, offset)."""
    tensor_count, pair_count = counts or (len(tensors), len(pairs))
    data = b"GGUF" + struct.pack("<IQQ", version, tensor_count, pair_count)
    for key, code, value in pairs:
        data += gguf_text(key) + struct.pack("<I", code) + value
    for name, sizes, code, offset in tensors:
        data += gguf_text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, code, offset)
    return data + bytes(-len(data) % alignment) + numbers


LLAMA2C = {"dim": 8, "hidden_dim": 12, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "vocab_size": 11, "max_seq_len": 5}


def llama2c_weights(shared: bool, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    dim, hidden, kv_dim, vocabulary = 8, 12, 4, 11
    shapes: dict[str, tuple[int, ...]] = {"tok_embeddings.weight": (vocabulary, dim), "norm.weight": (dim,)}
    for layer in range(2):
        shapes |= {f"layers.{layer}.{name}.weight": shape for name, shape in {
            "attention_norm": (dim,), "ffn_norm": (dim,), "attention.wq": (dim, dim), "attention.wk": (kv_dim, dim),
            "attention.wv": (kv_dim, dim), "attention.wo": (dim, dim), "feed_forward.w1": (hidden, dim),
            "feed_forward.w2": (dim, hidden), "feed_forward.w3": (hidden, dim),
        }.items()}  # fmt: skip
    if not shared:
        shapes["output.weight"] = (vocabulary, dim)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def llama2c_bytes(weights: dict[str, np.ndarray], version: int, group: int = 4) -> bytes:
    """The file that llama2.c's export.py writes, in its three versions."""
    shared = "output.weight" not in weights

    def layers(name: str) -> list[np.ndarray]:
        return [weights[f"layers.{layer}.{name}.weight"] for layer in range(2)]

    attention = [layers(f"attention.w{letter}") for letter in "qkvo"]
    mlp = [layers(f"feed_forward.w{number}") for number in "123"]
    output = [] if shared else [[weights["output.weight"]]]
    embedding, norm = [weights["tok_embeddings.weight"]], [weights["norm.weight"]]
    sizes = list(LLAMA2C.values())
    if version == 0:
        sizes[5] *= 1 if shared else -1
        tables = [[np.ones((5, 2), np.float32)] * 2]
        groups = [embedding, layers("attention_norm"), *attention, layers("ffn_norm"), *mlp, norm, *tables, *output]
        return struct.pack("<7i", *sizes) + b"".join(array.tobytes() for arrays in groups for array in arrays)
    header = struct.pack("<Ii7iB", 0x616B3432, version, *sizes, shared) + (struct.pack("<i", group) * (version == 2))
    norms = b"".join(
        array.tobytes() for arrays in (layers("attention_norm"), layers("ffn_norm"), norm) for array in arrays
    )
    matrices = [array for arrays in (embedding, *attention, *mlp, *output) for array in arrays]
    form = (lambda array: array.tobytes()) if version == 1 else (lambda array: b"".join(in_int8(array, group)))
    return header.ljust(256, b"\0") + norms + b"".join(map(form, matrices))


def in_int8(array: np.ndarray, group: int) -> tuple[bytes, bytes]:
    """Numbers in 8 bits, and scales, as llama2.c stores them."""
    groups = array.reshape(-1, group)
    scale = np.abs(groups).max(axis=1) / np.float32(127)
    return np.round(groups / scale[:, None]).astype(np.int8).tobytes(), scale.tobytes()


# --- damage -----------------------------------------------------------------------------------------------------------


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """The file with changed bytes, extreme sizes, repeated parts, cut off, or lengthened; mostly near its beginning."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.one_of(st.integers(0, min(400, len(data)) - 1), st.integers(0, len(data) - 1)))
        number = draw(st.sampled_from([0, 1, 2, 31, 255, 2**16, 2**31 - 1, 2**32 - 1, 10**8, 2**62, 2**63, 2**64 - 1]))
        kind = draw(st.sampled_from(["byte", "int32", "int64", "repeat"]))
        if kind == "byte":
            data[place] = draw(st.integers(0, 255))
        elif kind == "repeat":
            data[place:place] = data[place : place + draw(st.integers(1, 64))]
        else:
            new = struct.pack("<Q", number)[: 4 if kind == "int32" else 8]
            data[place : place + len(new)] = new
    length = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    return bytes(data[:length]) + bytes(draw(st.sampled_from([0, 0, 0, 1, 4096])))


def sentence(read: Callable[[], Any], path: Path, megabytes: int = 8) -> str:
    """The message of HubError, which must be one sentence that names the file; "" if there is none.

    Fails if reading takes much memory or time.
    """
    tracemalloc.start()
    start = time.monotonic()
    try:
        read()
        return ""
    except HubError as error:
        text = str(error)
        assert str(path) in text and "\n" not in text and not text.endswith(".") and len(text) < 700, text
        return text
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < megabytes * MEGABYTE, f"{peak / MEGABYTE:.0f} MB"
        assert time.monotonic() - start < SECONDS
