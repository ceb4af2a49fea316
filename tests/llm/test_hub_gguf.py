"""GGUF files: those of the package gguf are read as by it, ours are read by it, and lies are refused by name."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.hub.errors import HubError
from llm.hub.gguf_files import MOST_HEADER, MOST_TENSORS, MOST_VALUES, read_gguf
from llm.hub.gguf_writing import write_gguf
from llm.hub.kinds import KINDS
from llm.hub.stored import Stored
from tests.llm.hub_files import damaged, gguf_bytes, gguf_text, sentence, write_gguf_with_library

UINT8, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 0, 4, 5, 6, 7, 8, 9, 10
F32, Q8_0, IQ2_XXS = 0, 8, 16


def array(code: int, count: int, values: bytes) -> bytes:
    return struct.pack("<IQ", code, count) + values


def refusal(tmp_path: Path, content: bytes, megabytes: int = 8) -> str:
    """What is said about a file with that content."""
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    return sentence(lambda: [stored.widen() for stored in read_gguf(path).tensors.values()], path, megabytes)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_file_of_the_package_is_read(tmp_path: Path) -> None:
    arrays = write_gguf_with_library(tmp_path / "model.gguf")
    got = read_gguf(tmp_path / "model.gguf")
    assert got.metadata == {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.rope.freq_base": 1e5,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.tokens": ["a", "é", "<|end|>", ""],
        "tokenizer.ggml.token_type": [1, 1, 3, -1],
    }
    assert [type(value) for value in got.metadata.values()] == [str, int, float, bool, list, list]
    assert {name: (stored.kind, stored.shape) for name, stored in got.tensors.items()} == {
        "a": ("Q8_0", (3, 32)), "b": ("F32", (5,)), "c": ("F16", (2, 3, 64)),
    }  # fmt: skip
    np.testing.assert_array_equal(got.tensors["b"].widen(), arrays["b"].astype(np.float32))
    np.testing.assert_array_equal(got.tensors["c"].widen(), arrays["c"].astype(np.float16).astype(np.float32))
    assert np.abs(got.tensors["a"].widen() - arrays["a"]).max() < np.abs(arrays["a"]).max() / 250


@pytest.mark.parametrize("version", [2, 3])
def test_metadata_of_every_type_become_plain_values(tmp_path: Path, version: int) -> None:
    forms = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    pairs, expected = [], {}
    for code, form in forms.items():
        value = {"?": True, "f": 0.5, "d": -0.1}.get(form, 200 if form.isupper() else -100)
        pairs += [(f"one{code}", code, struct.pack("<" + form, value))]
        pairs += [(f"many{code}", ARRAY, array(code, 2, struct.pack(f"<2{form}", value, 0)))]
        expected |= {f"one{code}": value, f"many{code}": [value, 0]}
    nested = array(ARRAY, 2, array(STRING, 2, gguf_text("x") + gguf_text("")) + array(UINT8, 1, b"\7"))
    pairs += [("texts", ARRAY, nested), ("empty", ARRAY, array(INT32, 0, b"")), ("é", STRING, gguf_text("ü\n\0"))]
    expected |= {"texts": [["x", ""], [7]], "empty": [], "é": "ü\n\0"}
    (tmp_path / "model.gguf").write_bytes(gguf_bytes(pairs, version=version))
    got = read_gguf(tmp_path / "model.gguf")
    assert got.metadata == expected
    assert [*map(type, got.metadata.values())] == [*map(type, expected.values())]
    assert got.tensors == {}


@pytest.mark.parametrize("alignment", [1, 8, 32, 256])
def test_tensors_begin_at_multiples_of_the_alignment(tmp_path: Path, alignment: int) -> None:
    pairs = [("general.alignment", UINT32, struct.pack("<I", alignment))]
    second = -(-12 // alignment) * alignment
    numbers = np.arange(3, dtype="<f4").tobytes().ljust(second, b"\0") + np.arange(6, dtype="<f4").tobytes()
    tensors = [("later", [3, 2], F32, second), ("first", [3], F32, 0)]  # in any order; sizes from the last axis on
    (tmp_path / "model.gguf").write_bytes(gguf_bytes(pairs, tensors, numbers, alignment=alignment))
    got = read_gguf(tmp_path / "model.gguf").tensors
    np.testing.assert_array_equal(got["first"].widen(), [0, 1, 2])
    np.testing.assert_array_equal(got["later"].widen(), [[0, 1, 2], [3, 4, 5]])


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_huge_array_is_refused_before_it_is_read(tmp_path: Path) -> None:
    for count, code in ((10**8, UINT8), (10**8, BOOL), (10**8, STRING), (2**64 - 1, UINT8), (10**8, ARRAY)):
        path = tmp_path / "model.gguf"
        with path.open("wb") as file:  # 95 MB that take no room on the disk
            file.write(gguf_bytes([("numbers", ARRAY, array(code, count, b""))], alignment=1))
            file.truncate(95 << 20)
        text = sentence(lambda path=path: read_gguf(path), path, megabytes=1)  # type: ignore[misc]
        assert "'numbers'" in text and f"{count:,}" in text


def test_many_arrays_are_no_way_around_the_bounds(tmp_path: Path) -> None:
    half = MOST_VALUES // 2 + 1
    pairs = [(name, ARRAY, array(UINT8, half, bytes(half))) for name in ("one", "two")]
    assert "'two'" in refusal(tmp_path, gguf_bytes(pairs), megabytes=32)
    text = gguf_text(b"x" * (MOST_HEADER // 2))
    assert "before its tensors" in refusal(tmp_path, gguf_bytes([("a", STRING, text), ("b", STRING, text)]), 96)
    deep = array(UINT8, 0, b"")
    for _ in range(6):
        deep = array(ARRAY, 1, deep)
    assert "deep" in refusal(tmp_path, gguf_bytes([("a", ARRAY, deep)]))


one = [("w", [4], F32, 0)]


@pytest.mark.parametrize(("content", "named"), [
    (b"", "GGUF"), (b"GGU", "GGUF"), (b"\x80\x04pickle", "GGUF"), (b"GGUF", "version"), (b"GGUF\3\0\0\0", "cut off"),
    (b"GGUF\0\0\0\3" + bytes(16), "big-endian"), (b"GGUF\0\0\0\2" + bytes(16), "big-endian"),
    (gguf_bytes(version=1), "version 1"), (gguf_bytes(version=4), "version 4"),
    (gguf_bytes(counts=(MOST_TENSORS + 1, 0)), "tensors"), (gguf_bytes(counts=(2**64 - 1, 0)), "tensors"),
    (gguf_bytes(counts=(0, 2**64 - 1)), "metadata"), (gguf_bytes(counts=(0, 3)), "cut off"),
    (gguf_bytes(counts=(MOST_TENSORS, 0)), "cut off"),
    (gguf_bytes([("a", UINT8, b"1"), ("a", UINT8, b"1")]), "'a' twice"), (gguf_bytes([("a", 13, b"1")]), "type 13"),
    (gguf_bytes([("a", ARRAY, array(13, 1, b"1"))]), "type 13"), (gguf_bytes([("a", BOOL, b"\2")]), "'a'"),
    (gguf_bytes([("a", ARRAY, array(BOOL, 3, b"\0\1\2"))]), "'a'"),
    (gguf_bytes([("a", STRING, gguf_text(b"\xff"))]), "UTF"),
    (gguf_bytes([(b"\xff", STRING, gguf_text("a"))]), "UTF"), (gguf_bytes([("a", STRING, b"\xff" * 8)]), "'a'"),
    (gguf_bytes([("a" * 10**5, 13, b"")]), "aaa"),
    (gguf_bytes([("split.count", UINT32, b"\3\0\0\0")]), "one of 3 parts"),
    (gguf_bytes([("general.alignment", UINT32, b"\0\0\0\0")]), "alignment"),
    (gguf_bytes([("general.alignment", UINT32, b"\3\0\0\0")]), "alignment"),
    (gguf_bytes([("general.alignment", STRING, gguf_text("8"))]), "alignment"),
    (gguf_bytes([("general.alignment", UINT64, struct.pack("<Q", 2**63))], one, bytes(16)), "'w'"),
    (gguf_bytes([], one, bytes(15)), "'w'"), (gguf_bytes([], one), "'w'"),
    (gguf_bytes([], one * 2, bytes(16)), "twice"),
    (gguf_bytes([], [("w", [], F32, 0)]), "axes"), (gguf_bytes([], [("w", [1] * 5, F32, 0)], bytes(4)), "axes"),
    (gguf_bytes([], [("w", [0], F32, 0)]), "shape"),
    (gguf_bytes([], [("w", [2**62, 2**62], F32, 0)], bytes(16)), "'w'"),
    (gguf_bytes([], [("w", [2**64 - 1], F32, 0)], bytes(16)), "'w'"),
    (gguf_bytes([], [("w", [33], Q8_0, 0)], bytes(99)), "'w'"),
    (gguf_bytes([], [("w", [1], F32, 2**64 - 32)], bytes(16)), "'w'"),
    (gguf_bytes([], [("w", [1], F32, 4)], bytes(16)), "32"),
    (gguf_bytes([], [("w", [9], F32, 0), ("v", [1], F32, 32)], bytes(64)), "'v'"),
    (gguf_bytes([], [("w", [1], F32, 0), ("v", [1], F32, 0)], bytes(64)), "within 'w'"),
    (gguf_bytes([], [("w", [256], IQ2_XXS, 0)], bytes(99)), "IQ2_XXS"),
    (gguf_bytes([], [("w", [1], 99, 0)], bytes(4)), "99"),
    (gguf_bytes([], [(b"\xff", [1], F32, 0)], bytes(4)), "UTF"),
], ids=lambda value: repr(value)[:50])  # fmt: skip
def test_a_file_that_lies_is_refused_by_name(tmp_path: Path, content: bytes, named: str) -> None:
    assert named in refusal(tmp_path, content)


@pytest.mark.control
def test_the_files_that_these_tests_damage_are_read(tmp_path: Path) -> None:
    assert (
        refusal(tmp_path, gguf_bytes([("a", BOOL, b"\1"), ("split.count", UINT32, b"\1\0\0\0")], one, bytes(16))) == ""
    )
    write_gguf_with_library(tmp_path / "good.gguf")
    assert refusal(tmp_path, (tmp_path / "good.gguf").read_bytes()) == ""


def test_a_big_endian_file_of_the_package_is_refused(tmp_path: Path) -> None:
    write_gguf_with_library(tmp_path / "big.gguf", gguf.GGUFEndian.BIG)
    assert "big-endian" in refusal(tmp_path, (tmp_path / "big.gguf").read_bytes())


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    write_gguf_with_library(tmp_path / "good.gguf")
    content = (tmp_path / "good.gguf").read_bytes()
    for length in (*range(0, 600, 7), len(content) - 1000, len(content) - 1):
        assert refusal(tmp_path, content[:length]), length


@given(data=st.data())
def test_whatever_happens_to_a_file_it_is_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    write_gguf_with_library(folder / "good.gguf")
    refusal(folder, data.draw(damaged((folder / "good.gguf").read_bytes())), megabytes=16)


def test_a_sentence_that_ends_with_a_long_value_has_no_full_stop(tmp_path: Path) -> None:
    content = gguf_bytes([(b"\xff" + bytes(200), 8, b"")], counts=(0, 1))
    assert "is not valid UTF-8: b'\\xff" in refusal(tmp_path, content)


def test_without_the_package_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(gguf_bytes([], one, bytes(16)))
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(HubError, match="pip install"):
        read_gguf(tmp_path / "model.gguf")


# --- writing ----------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=6)
integers = st.integers(-(2**63), 2**64 - 1)
float32s = st.floats(width=32, allow_nan=False)
values = st.one_of(
    texts, st.booleans(), integers, float32s, st.lists(texts, min_size=1, max_size=4),
    st.lists(st.booleans(), min_size=1, max_size=4), st.lists(float32s, min_size=1, max_size=4),
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=4),
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4),
)  # fmt: skip


@given(
    metadata=st.dictionaries(texts, values, max_size=5),
    tensors=st.dictionaries(
        st.text("ab.", min_size=1, max_size=5),
        st.tuples(st.sampled_from(["F32", "F16", "BF16", "Q8_0", "F64", "I32"]), st.integers(1, 3), st.integers(0, 2)),
        max_size=4,
    ),
    alignment=st.sampled_from([None, 8, 64]),
)
def test_what_is_written_is_read_again_by_us_and_by_the_package(
    tmp_path_factory: pytest.TempPathFactory, metadata: dict[str, Any], tensors: dict[str, Any], alignment: int | None
) -> None:
    path = tmp_path_factory.mktemp("written") / "model.gguf"
    reserved = ("general.alignment", "general.architecture", "split.count", "GGUF.version")
    metadata = {"general.architecture": "llama"} | {k: v for k, v in metadata.items() if k not in reserved}
    metadata |= {"general.alignment": alignment} if alignment else {}
    arrays = {name: numbers((2,) * axes + (32 * rows,), kind) for name, (kind, rows, axes) in tensors.items()}
    write_gguf(path, metadata, arrays, {name: kind for name, (kind, _, _) in tensors.items() if kind != "I32"})
    got, theirs = read_gguf(path), gguf.GGUFReader(path)
    assert got.metadata == metadata
    assert {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")} == metadata
    assert got.tensors.keys() == arrays.keys() == {tensor.name for tensor in theirs.tensors}
    for tensor in theirs.tensors:
        stored, kind = got.tensors[tensor.name], tensors[tensor.name][0]
        assert stored.kind == kind == tensor.tensor_type.name
        assert stored.shape == arrays[tensor.name].shape == tuple(tensor.shape[::-1].tolist())
        np.testing.assert_array_equal(tensor.data.view(np.uint8), stored.raw.view(np.uint8))
        if kind in ("F32", "F64", "I32"):
            np.testing.assert_array_equal(stored.raw, arrays[tensor.name])


def numbers(shape: tuple[int, ...], kind: str) -> np.ndarray:
    return (100 * np.random.default_rng(len(shape)).normal(size=shape)).astype(
        {"I32": "i4", "F64": "f8"}.get(kind, "f4")
    )


@pytest.mark.parametrize("kind", [name for name in gguf.GGMLQuantizationType.__members__ if name in KINDS])
def test_a_stored_tensor_is_written_as_it_is(tmp_path: Path, kind: str) -> None:
    raw_shape = KINDS[kind].raw_shape((2, 3, 256))
    raw = np.random.default_rng(0).integers(
        0, 256, (*raw_shape[:-1], raw_shape[-1] * KINDS[kind].dtype.itemsize), np.uint8
    )
    stored = Stored(raw.view(KINDS[kind].dtype), kind)
    write_gguf(
        tmp_path / "model.gguf", {"general.architecture": "llama"}, {"w": stored, "v": stored[1][1:]}, {"w": "F32"}
    )
    got = read_gguf(tmp_path / "model.gguf").tensors
    assert (got["w"].kind, got["w"].shape, got["v"].shape) == (kind, (2, 3, 256), (2, 256))
    np.testing.assert_array_equal(got["w"].raw.view(np.uint8), raw)
    np.testing.assert_array_equal(got["v"].raw.view(np.uint8), raw[1, 1:])


def test_numbers_have_the_types_that_llama_cpp_expects(tmp_path: Path) -> None:
    values = {"a": 3, "b": [3, 4], "c": -3, "d": 2**32, "e": 2**63, "f": 0.5, "g": True}
    write_gguf(tmp_path / "model.gguf", {"general.architecture": "llama", **values}, {})
    types = {key: field.types[-1].name for key, field in gguf.GGUFReader(tmp_path / "model.gguf").fields.items()}
    assert [types[key] for key in values] == ["UINT32", "INT32", "INT32", "INT64", "UINT64", "FLOAT32", "BOOL"]
    got = read_gguf(tmp_path / "model.gguf").metadata
    assert {key: got[key] for key in values} == values


@pytest.mark.parametrize(("metadata", "tensors", "kinds", "named"), [
    ({"general.architecture": None}, {}, {}, "general.architecture"), ({"k": None}, {}, {}, "'k'"),
    ({"k": []}, {}, {}, "'k'"),
    ({"k": [1, "a"]}, {}, {}, "'k'"), ({"k": [1, True]}, {}, {}, "'k'"), ({"k": 2**64}, {}, {}, "'k'"),
    ({"k": [[1]]}, {}, {}, "'k'"),
    ({"k": [-1, 2**63]}, {}, {}, "'k'"), ({"k": "\ud800"}, {}, {}, "'k'"), ({"k": 1e300}, {}, {}, "'k'"),
    ({"k": np.zeros((2, 2))}, {}, {}, "'k'"), ({"k": {"a": 1}}, {}, {}, "'k'"),
    ({"general.alignment": 3}, {}, {}, "alignment"),
    ({}, {"w": np.zeros((2, 33))}, {"w": "Q8_0"}, "'w'"), ({}, {"w": np.full((2, 32), 1e6)}, {"w": "F16"}, "'w'"),
    ({}, {"w": np.zeros((2, 256))}, {"w": "Q4_K"}, "'w'"), ({}, {"w": np.zeros(2, complex)}, {}, "'w'"),
    ({}, {"w": np.zeros(2, np.uint8)}, {}, "'w'"), ({}, {"w": np.array(1.0)}, {}, "'w'"),
    ({}, {"w": np.zeros(2)}, {"w": "F1"}, "'w'"),
    ({}, {"w": np.zeros((1,) * 5)}, {}, "'w'"),
], ids=str)  # fmt: skip
def test_what_cannot_be_written_is_named_and_the_old_file_stays(
    tmp_path: Path, metadata: dict[str, Any], tensors: dict[str, Any], kinds: dict[str, str], named: str
) -> None:
    (tmp_path / "model.gguf").write_bytes(b"old")
    with pytest.raises(HubError, match=named):
        write_gguf(tmp_path / "model.gguf", {"general.architecture": "llama"} | metadata, tensors, kinds)
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
    assert (tmp_path / "model.gguf").read_bytes() == b"old"
