"""The .bin files of llama2.c in their three versions, written by code of its own, and stories260K."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.hub.llama2c import read_llama2c
from llm.hub.safetensors_files import read_safetensors_folder
from llm.hub.weights import unpermute
from tests.llm.hub_files import LLAMA2C, damaged, in_int8, llama2c_bytes, llama2c_weights, sentence

versions = pytest.mark.parametrize("version", [0, 1, 2])


@versions
@pytest.mark.parametrize("shared", [True, False])
def test_the_weights_of_every_version_are_read(tmp_path: Path, version: int, shared: bool) -> None:
    weights = llama2c_weights(shared)
    (tmp_path / "model.bin").write_bytes(llama2c_bytes(weights, version))
    got = read_llama2c(tmp_path / "model.bin")
    assert (got.version, got.sizes, got.shared_classifier) == (version, LLAMA2C, shared)
    assert got.tensors.keys() == weights.keys()
    for name, array in weights.items():
        if version == 2 and array.ndim == 2:
            steps = np.abs(array.reshape(-1, 4)).max(axis=1).repeat(4).reshape(array.shape) / 127
            assert (np.abs(got.tensors[name].widen() - array) <= 0.5001 * steps).all()  # half a step, and its rounding
        else:
            np.testing.assert_array_equal(got.tensors[name].widen(), array, strict=True)


@versions
@given(data=st.data())
def test_whatever_happens_to_a_file_it_is_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, version: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "model.bin"
    path.write_bytes(data.draw(damaged(llama2c_bytes(llama2c_weights(shared=False), version))))
    sentence(lambda: [stored.widen() for stored in read_llama2c(path).tensors.values()], path)


@versions
@pytest.mark.parametrize("field", range(7))
@pytest.mark.parametrize("value", [0, 3, 7, 2**31 - 1, -(2**31), -1])
def test_a_size_that_does_not_fit_is_refused(tmp_path: Path, version: int, field: int, value: int) -> None:
    data = bytearray(llama2c_bytes(llama2c_weights(shared=True), version))
    struct.pack_into("<i", data, (8 if version else 0) + 4 * field, value)
    (tmp_path / "model.bin").write_bytes(data)
    text = sentence(lambda: read_llama2c(tmp_path / "model.bin"), tmp_path / "model.bin")
    # Only the context is free where there are no tables of that length in the file.
    assert bool(text) == (version == 0 or field < 6 or value < 1)


def test_files_of_other_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    for content, named in (
        (b"", "too few"),
        (b"\x80\x02" * 500, "not a model"),
        (struct.pack("<Ii", 0x616B3432, 3).ljust(300, b"\0"), "version 3"),
        (llama2c_bytes(llama2c_weights(shared=True), 2)[:-1], "bytes"),
    ):
        path.write_bytes(content)
        assert named in sentence(lambda: read_llama2c(path), path)


def test_wrong_flags_groups_and_scales_of_version_2_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    good = llama2c_bytes(llama2c_weights(shared=True), 2)
    first_scale = 256 + 4 * 5 * 8 + 11 * 8  # after the header, five norms, and the numbers of the embedding
    for place, form, value, named in (
        (36, "<B", 2, "0 or 1"), (37, "<i", 0, "groups"), (37, "<i", -4, "groups"), (37, "<i", 3, "groups"),
        (first_scale, "<f", -1.0, "tok_embeddings"), (first_scale, "<f", np.nan, "tok_embeddings"),
        (first_scale, "<f", np.inf, "tok_embeddings"),
    ):  # fmt: skip
        data = bytearray(good)
        struct.pack_into(form, data, place, value)
        path.write_bytes(data)
        assert named in sentence(lambda: read_llama2c(path), path)


def test_the_early_layout_of_version_2_is_not_mistaken_for_the_later_one(tmp_path: Path) -> None:
    """For some days, export.py wrote all scales after all numbers; the file has the same length and version."""
    weights = llama2c_weights(shared=True)
    good = llama2c_bytes(weights, 2)
    norms = sum(array.nbytes for array in weights.values() if array.ndim == 1)
    order = [name for name in read_order(tmp_path, good) if weights[name].ndim == 2]
    numbers, scales = zip(*(in_int8(weights[name], 4) for name in order))
    (tmp_path / "model.bin").write_bytes(good[: 256 + norms] + b"".join(numbers) + b"".join(scales))
    assert "export it again" in sentence(lambda: read_llama2c(tmp_path / "model.bin"), tmp_path / "model.bin")


def read_order(tmp_path: Path, content: bytes) -> list[str]:
    (tmp_path / "model.bin").write_bytes(content)
    return list(read_llama2c(tmp_path / "model.bin").tensors)


@pytest.mark.shared
def test_stories260k_has_the_weights_of_its_hugging_face_folder(shared_data: Path) -> None:
    ours = read_llama2c(shared_data / "stories260K" / "stories260K.bin")
    theirs = read_safetensors_folder(shared_data / "stories260K" / "hf")
    names = {"attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj", "feed_forward.w2": "mlp.down_proj"}
    for layer in range(ours.sizes["n_layers"]):
        for name, theirs_name in names.items():
            array = ours.tensors[f"layers.{layer}.{name}.weight"].widen()
            heads = {"attention.wq": ours.sizes["n_heads"], "attention.wk": ours.sizes["n_kv_heads"]}.get(name)
            expected = theirs[f"model.layers.{layer}.{theirs_name}.weight"].widen()
            np.testing.assert_array_equal(unpermute(array, heads) if heads else array, expected, strict=True)
    np.testing.assert_array_equal(ours.tensors["norm.weight"].widen(), theirs["model.norm.weight"].widen(), strict=True)
