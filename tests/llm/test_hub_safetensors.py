"""Folders with safetensors files: what others write is read as it is, and whatever does not fit together is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from llm.hub.errors import HubError
from llm.hub.safetensors_files import INDEX, MODEL, read_safetensors, read_safetensors_folder, refuse_foreign
from tests.llm.hub_files import damaged, entry, safetensors_bytes, sentence

DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@given(
    shapes=st.dictionaries(st.text(max_size=5), st.lists(st.integers(0, 4), min_size=1, max_size=4), max_size=5),
    dtype=st.sampled_from(DTYPES),
)
def test_what_the_library_writes_is_read_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, list[int]], dtype: str
) -> None:
    path = tmp_path_factory.mktemp("library") / MODEL
    rng = np.random.default_rng(0)
    arrays = {
        name: (rng.normal(size=shape) * 10).astype(dtype) for name, shape in shapes.items() if name != "__metadata__"
    }
    save_file(arrays, path, metadata={"format": "pt"})
    got = read_safetensors(path)
    assert got.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(got[name].raw, array, strict=True)


def test_bfloat16_is_read_from_a_header_of_any_length(tmp_path: Path) -> None:
    array = np.array([[1.5, -2.0], [0.0, 3.0]], np.float32)
    for spaces in range(4):  # then the numbers begin at any byte, also at odd ones
        header = json.dumps({"w": entry("BF16", [2, 2], 0, 8)}).encode() + b" " * spaces
        (tmp_path / MODEL).write_bytes(safetensors_bytes(header, (array.view(np.uint32) >> 16).astype("<u2").tobytes()))
        stored = read_safetensors_folder(tmp_path)["w"]
        np.testing.assert_array_equal(stored.widen(), array, strict=True)
        assert (stored.kind, stored.nbytes) == ("BF16", 8)


# --- shards -----------------------------------------------------------------------------------------------------------


def write_shards(folder: Path) -> dict[str, np.ndarray]:
    """Two shards with an index, as transformers writes them."""
    folder.mkdir(exist_ok=True)
    arrays = {name: np.full((2, number), number, np.float32) for number, name in enumerate("abcd")}
    save_file({"b": arrays["b"], "c": arrays["c"]}, folder / FIRST)
    save_file({"a": arrays["a"], "d": arrays["d"]}, folder / SECOND)
    write_index(folder, {"a": SECOND, "b": FIRST, "c": FIRST, "d": SECOND})
    return arrays


def write_index(folder: Path, weight_map: Any) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 48}, "weight_map": weight_map}))


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    arrays = write_shards(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"something else of which the index does not speak")
    got = read_safetensors_folder(tmp_path)
    assert list(got) == list("abcd")
    for name, array in arrays.items():
        np.testing.assert_array_equal(got[name].widen(), array, strict=True)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_a_folder_of_links_as_in_the_cache_of_hugging_face_is_read(tmp_path: Path) -> None:
    arrays = write_shards(tmp_path / "original")
    (tmp_path / "blobs").mkdir()
    snapshot = tmp_path / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    for number, path in enumerate((tmp_path / "original").iterdir()):
        shutil.move(path, tmp_path / "blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert read_safetensors_folder(snapshot).keys() == arrays.keys()
    (snapshot / SECOND).resolve().unlink()
    assert f"lacks {SECOND}" in sentence(lambda: read_safetensors_folder(snapshot), snapshot)


def without_shard(folder: Path) -> None:
    (folder / SECOND).unlink()


def with_a_third_shard(folder: Path) -> None:
    shutil.copy(folder / SECOND, folder / "model-00003-of-00003.safetensors")


def with_an_unsharded_model(folder: Path) -> None:
    save_file({"a": np.zeros(3)}, folder / MODEL)


def without_index(folder: Path) -> None:
    (folder / INDEX).unlink()


def with_a_model_and_shards_but_no_index(folder: Path) -> None:
    without_index(folder)
    with_an_unsharded_model(folder)


def with_a_tensor_in_two_shards(folder: Path) -> None:
    save_file({"a": np.zeros(3), "b": np.zeros(1), "c": np.zeros(1)}, folder / FIRST)


def with_one_tensor_less_in_a_shard(folder: Path) -> None:
    save_file({"c": np.zeros(1)}, folder / FIRST)


def with_one_tensor_less_in_the_index(folder: Path) -> None:
    write_index(folder, {"a": SECOND, "b": FIRST, "c": FIRST})


def with_a_tensor_in_the_wrong_shard(folder: Path) -> None:
    write_index(folder, {"a": FIRST, "b": FIRST, "c": FIRST, "d": SECOND})


def with_a_name_twice_in_the_index(folder: Path) -> None:
    (folder / INDEX).write_text('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}')


def with_a_list_as_the_map(folder: Path) -> None:
    write_index(folder, ["a"])


def with_an_empty_map(folder: Path) -> None:
    write_index(folder, {})


def with_a_shard_cut_off(folder: Path) -> None:
    (folder / SECOND).write_bytes((folder / SECOND).read_bytes()[:-1])


@pytest.mark.parametrize(("change", "named"), [
    (without_shard, f"lacks {SECOND}"), (with_a_third_shard, "model-00003-of-00003"), (with_an_unsharded_model, MODEL),
    (without_index, INDEX), (with_a_model_and_shards_but_no_index, INDEX), (with_a_tensor_in_two_shards, "'a'"),
    (with_one_tensor_less_in_a_shard, "'b'"), (with_one_tensor_less_in_the_index, "'d'"),
    (with_a_tensor_in_the_wrong_shard, "'a'"), (with_a_name_twice_in_the_index, "'a'"),
    (with_a_list_as_the_map, "weight_map"), (with_an_empty_map, "weight_map"), (with_a_shard_cut_off, SECOND),
], ids=lambda value: getattr(value, "__name__", ""))  # fmt: skip
def test_shards_that_do_not_fit_their_index_are_named(
    tmp_path: Path, change: Callable[[Path], None], named: str
) -> None:
    write_shards(tmp_path)
    change(tmp_path)
    assert named in sentence(lambda: read_safetensors_folder(tmp_path), tmp_path)


@pytest.mark.parametrize("name", [
    "../outside.safetensors", "/tmp/outside.safetensors", "a/../../outside.safetensors", "a\\..\\outside.safetensors",
    "C:outside.safetensors", "..", "", ".", "outside.safetensors\0", "model.bin", 3, None, ["x.safetensors"],
])  # fmt: skip
def test_an_index_cannot_lead_outside_its_folder(tmp_path: Path, name: Any) -> None:
    write_shards(tmp_path / "inside")
    save_file({"a": np.zeros(3)}, tmp_path / "outside.safetensors")
    write_index(tmp_path / "inside", {"a": name, "b": FIRST, "c": FIRST, "d": SECOND})
    assert "beside it" in sentence(lambda: read_safetensors_folder(tmp_path / "inside"), tmp_path / "inside" / INDEX)


# --- one file ---------------------------------------------------------------------------------------------------------

good = entry("F32", [2], 0, 8)


@pytest.mark.parametrize("header", [
    {"w": entry("F32", [2], 0, 4)}, {"w": entry("F32", [3], 0, 8)}, {"w": entry("F32", [2], 4, 12)},
    {"w": entry("F32", [2], 8, 0)}, {"w": entry("F32", [-2], 0, 8)}, {"w": entry("F32", [2.0], 0, 8)},
    {"w": entry("F32", [True, 2], 0, 8)}, {"w": entry("F32", ["2"], 0, 8)}, {"w": entry("F32", [2], None, 8)},
    {"w": entry("F32", [2], 0, 10**30)}, {"w": entry("F32", [10**30], 0, 8)}, {"w": entry("F32", [2**62, 4], 0, 8)},
    {"w": entry("F32", [1] * 80 + [2], 0, 8)}, {"w": entry("F32", [0, 2**63], 0, 0), "v": good},
    {"w": entry("F8_E4M3", [8], 0, 8)}, {"w": entry("Q8_0", [8], 0, 8)}, {"w": {**good, "dtype": 4}},
    {"w": {**good, "more": 1}}, {"w": {"dtype": "F32", "shape": [2]}}, {"w": []}, {"w": None}, [], None, 3, "text",
    {"v": good, "w": good}, {"v": entry("F32", [1], 0, 4), "w": entry("F32", [1], 2, 6), "x": entry("F16", [1], 6, 8)},
    {}, {"w": entry("F32", [1], 0, 4)}, {"w": entry("F32", [1], 4, 8)}, {"w": entry("F32", [4], 0, 16)},
    {"w": good, "__metadata__": 3}, {"w": good, "__metadata__": {"format": 3}}, {"w" * 100_000: []},
    b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "w": {"dtype": "F32"}}', b"{", b"[" * 100_000,
    b"9" * 100_000, b"\xff\xfe", b"{}" + b"\0" * 9,
], ids=lambda header: str(header)[:60])  # fmt: skip
def test_a_header_that_contradicts_itself_or_the_file_is_refused(tmp_path: Path, header: Any) -> None:
    (tmp_path / MODEL).write_bytes(safetensors_bytes(header, bytes(8)))
    assert sentence(lambda: read_safetensors(tmp_path / MODEL), tmp_path / MODEL)


@pytest.mark.parametrize(
    "content", [b"", b"1234567", (2**63).to_bytes(8, "little") + b"{}", (3).to_bytes(8, "little") + b"{}"]
)
def test_a_file_without_a_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MODEL).write_bytes(content)
    assert sentence(lambda: read_safetensors(tmp_path / MODEL), tmp_path / MODEL)


@pytest.mark.control
def test_the_file_that_these_tests_damage_is_read(tmp_path: Path) -> None:
    (tmp_path / MODEL).write_bytes(safetensors_bytes({"w": good, "__metadata__": {"format": "pt"}}, bytes(8)))
    assert sentence(lambda: read_safetensors(tmp_path / MODEL), tmp_path / MODEL) == ""


def test_a_large_file_is_mapped_and_not_read(tmp_path: Path) -> None:
    size = 300 << 20
    with (tmp_path / MODEL).open("wb") as file:  # takes no room on the disk
        file.write(safetensors_bytes({"w": entry("BF16", [size // 2048, 1024], 0, size)}))
        file.truncate(file.tell() + size)
    assert sentence(lambda: read_safetensors(tmp_path / MODEL)["w"][5:9].widen(), tmp_path / MODEL, megabytes=1) == ""


def test_a_header_of_gigabytes_is_not_parsed(tmp_path: Path) -> None:
    with (tmp_path / MODEL).open("wb") as file:
        file.write((1 << 30).to_bytes(8, "little"))
        file.truncate(2 << 30)
    assert "header" in sentence(lambda: read_safetensors(tmp_path / MODEL), tmp_path / MODEL, megabytes=1)
    (tmp_path / MODEL).rename(tmp_path / INDEX)
    assert "index" in sentence(lambda: read_safetensors_folder(tmp_path), tmp_path / INDEX, megabytes=1)


@given(data=st.data())
def test_whatever_happens_to_a_file_it_is_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / MODEL
    header = {"v": entry("F32", [2, 3], 0, 24), "w": entry("BF16", [4], 24, 32), "x": entry("I64", [], 32, 40)}
    path.write_bytes(data.draw(damaged(safetensors_bytes(header, bytes(range(40))))))
    sentence(lambda: [stored.widen() for stored in read_safetensors(path).values()], path)


# --- other formats ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model.bin.index.json", "x.pt", "consolidated.00.pth", "tf_model.h5"]
)
def test_pickles_are_refused_with_the_way_to_convert_them(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    text = sentence(lambda: read_safetensors_folder(tmp_path), tmp_path)
    assert name in text and "save_pretrained" in text
    with pytest.raises(HubError, match="save_pretrained"):
        refuse_foreign([tmp_path / name])


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    refuse_foreign(tmp_path.iterdir())
    assert MODEL in sentence(lambda: read_safetensors_folder(tmp_path), tmp_path)
    assert "not a folder" in sentence(lambda: read_safetensors_folder(tmp_path / "none"), tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MODEL)
    assert "pipe" in sentence(lambda: read_safetensors_folder(tmp_path), tmp_path / MODEL)
    (tmp_path / MODEL).unlink()
    (tmp_path / MODEL).mkdir()
    assert sentence(lambda: read_safetensors_folder(tmp_path), tmp_path / MODEL)
    assert sentence(lambda: read_safetensors(tmp_path / "none"), tmp_path / "none")


@pytest.mark.shared
def test_real_folders_are_read_as_by_the_library(shared_data: Path) -> None:
    folders = [*sorted((shared_data / "hf_fixtures").iterdir()), shared_data / "stories260K" / "hf"]
    for folder in folders:
        expected = load_file(folder / MODEL)
        got = read_safetensors_folder(folder)
        assert got.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(got[name].raw, array, strict=True)
