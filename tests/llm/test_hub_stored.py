"""Tensors as they are stored: widened rows, gathered rows and products equal those of the array that they stand for."""

from __future__ import annotations

import mmap
import re
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.hub import stored as stored_module
from llm.hub.kinds import KINDS
from llm.hub.mapped import map_file
from llm.hub.stored import Stacked, Stored, Weight, product
from llm.hub.weights import Reordered, unpermute
from tests.llm.hub_files import MEGABYTE

BLOCKS = [name for name, kind in KINDS.items() if kind.numbers > 1]
FLOATS = ["F64", "F32", "F16", "BF16"]
each_kind = pytest.mark.parametrize("kind", [*FLOATS, *BLOCKS])
seeds = st.integers(0, 2**32 - 1)


def random_stored(kind: str, rows: int, columns: int, seed: int) -> Stored:
    """Random bytes, as numbers of every size, but finite ones."""
    rng, k = np.random.default_rng(seed), KINDS[kind]
    if k.numbers == 1:
        return Stored.from_array(rng.normal(size=(rows, columns)) * 10.0 ** rng.integers(-6, 3), kind)
    raw = rng.integers(0, 256, (rows, columns, k.nbytes), np.uint8)
    for place in {"Q6_K": (208,), "Q8_0": (0,), "Q4_0": (0,), "Q5_0": (0,)}.get(kind, (0, 2)):  # scales: two bytes each
        scales = rng.normal(size=(rows, columns, 1)).astype(np.float16)
        raw[..., place : place + 2] = scales.view(np.uint8)
    return Stored(raw.reshape(rows, columns * k.nbytes), kind)


@st.composite
def stored_tensors(draw: st.DrawFn, kinds: tuple[str, ...] = (*FLOATS, *BLOCKS), columns: int | None = None) -> Stored:
    kind = draw(st.sampled_from(kinds))
    return random_stored(kind, draw(st.integers(1, 9)), columns or draw(st.integers(1, 3)), draw(seeds))


# --- widening ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*BLOCKS, "BF16", "F16"])
@given(rows=st.integers(1, 40), columns=st.integers(1, 3), seed=seeds)
def test_every_kind_gives_the_bits_of_the_package_gguf(kind: str, rows: int, columns: int, seed: int) -> None:
    stored = random_stored(kind, rows, columns, seed)
    expected = gguf.dequantize(stored.raw.view(np.uint8), gguf.GGMLQuantizationType[kind])
    np.testing.assert_array_equal(stored.widen(), expected.reshape(stored.shape), strict=True)


@pytest.mark.parametrize("step", [1, 1000])  # all at once, with infinities; parts that mostly have none
def test_every_float16_is_widened_as_by_numpy(step: int) -> None:
    numbers = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    for part in np.array_split(numbers, step):
        np.testing.assert_array_equal(Stored(part, "F16").widen(), part.astype(np.float32), strict=True)
        assert (np.signbit(Stored(part, "F16").widen()) == np.signbit(part)).all()


def test_every_bfloat16_is_the_upper_half_of_a_float32() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    np.testing.assert_array_equal(Stored(bits, "BF16").widen().view(np.uint32) >> 16, bits)
    assert not (Stored(bits, "BF16").widen().view(np.uint32) & 0xFFFF).any()


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.numbers == 1 and name != "BF16"])
@given(seed=seeds)
def test_numbers_that_stand_alone_are_converted_as_by_numpy(kind: str, seed: int) -> None:
    array = (np.random.default_rng(seed).normal(size=(2, 3)) * 100).astype(KINDS[kind].dtype)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(Stored.from_array(array).widen(dtype), array.astype(dtype), strict=True)
    assert (Stored.from_array(array).kind, Stored.from_array(array).nbytes) == (kind, array.nbytes)


@each_kind
@given(
    rows=st.integers(1, 9), columns=st.integers(1, 3), seed=seeds, block=st.sampled_from([1, 100, 1000]), data=st.data()
)
def test_rows_and_parts_of_any_size_equal_the_whole(
    kind: str, rows: int, columns: int, seed: int, block: int, data: st.DataObject
) -> None:
    stored = random_stored(kind, rows, columns, seed)
    whole = stored.widen(np.float64)
    start, stop = data.draw(st.integers(-rows, rows)), data.draw(st.integers(-rows, rows))
    ids = data.draw(st.lists(st.integers(-rows, rows - 1), max_size=5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_module, "BLOCK", block)
        equal(stored.widen(np.float64), whole)
        equal(stored.widen().astype(np.float64), whole.astype(np.float32).astype(np.float64))
        equal(stored[start:stop].widen(np.float64), whole[start:stop])
        equal(stored[rows - 1 :][0:1].widen(np.float64), whole[-1:])
        equal(stored.take(np.array(ids, int), np.float64), whole[ids])
        equal(stored.take(np.array([ids], int)), whole[[ids]].astype(np.float32))
        equal(stored.reordered(np.arange(rows)[::-1]).widen(np.float64), whole[::-1])


@given(stored=stored_tensors(), order=st.sampled_from("CF"), dtype=st.sampled_from([np.float32, np.float64]))
def test_an_array_that_is_given_is_filled_whatever_its_order_of_axes(stored: Stored, order: Any, dtype: Any) -> None:
    out = np.full(stored.shape, np.nan, dtype, order=order)
    assert stored.widen(out=out) is out
    equal(out, stored.widen(dtype))
    with pytest.raises(ValueError, match="shape"):
        stored.widen(out=np.empty((*stored.shape, 1)))


@pytest.mark.parametrize("kind", ["F32", "BF16", "Q8_0"])
def test_tensors_may_have_one_axis_or_three(kind: str) -> None:
    matrix = random_stored(kind, 6, 2, 0)
    cube = Stored(matrix.raw.reshape(2, 3, -1), kind)
    equal(cube.widen(), matrix.widen().reshape(2, 3, -1))
    equal(cube[1].widen(), cube.widen()[1])
    equal(cube.take(np.array([1, 0])), cube.widen()[[1, 0]])
    equal(matrix[2].widen(), matrix.widen()[2])
    assert Stored.from_array(np.array(2.5)).widen().item() == 2.5


def test_wrong_uses_are_refused() -> None:
    with pytest.raises(IndexError):
        random_stored("Q8_0", 3, 1, 0).take(np.array([3]))
    with pytest.raises(IndexError, match="cannot be cut"):
        random_stored("Q8_0", 3, 1, 0)[0][:1]
    with pytest.raises(ValueError, match="needs uint8"):
        Stored(np.zeros((2, 33), np.uint8), "Q8_0")
    with pytest.raises(ValueError, match="needs float16"):
        Stored(np.zeros(2), "F16")
    with pytest.raises(ValueError, match="multiple of 32"):
        Stored.from_array(np.zeros((2, 33)), "Q8_0")
    with pytest.raises(ValueError, match="complex"):
        Stored.from_array(np.zeros(2, complex))
    with pytest.raises(ValueError, match="not written"):
        Stored.from_array(np.zeros((2, 256)), "Q4_K")


# --- rounding ---------------------------------------------------------------------------------------------------------


@given(seed=seeds, scale=st.sampled_from([1e-40, 1e-6, 1.0, 1e30]))
def test_rounding_to_bfloat16_finds_the_nearest(seed: int, scale: float) -> None:
    array = (np.random.default_rng(seed).normal(size=50) * scale).astype(np.float32)
    got = Stored.from_array(array, "BF16").raw
    expected = gguf.quantize(array, gguf.GGMLQuantizationType.BF16).view(np.uint16)
    np.testing.assert_array_equal(got, expected)
    for neighbour in (got - 1, got + 1):
        distance = np.abs(Stored(neighbour.astype(np.uint16), "BF16").widen(np.float64) - array)
        error = np.abs(Stored(got, "BF16").widen(np.float64) - array)
        assert ((error <= distance) | np.isnan(distance)).all()  # the bits before 0 are those of a NaN


def test_rounding_keeps_what_is_special() -> None:
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)
    for kind in ("F64", "F32", "F16", "BF16"):
        again = Stored.from_array(special, kind).widen()
        np.testing.assert_array_equal(again, special)
        np.testing.assert_array_equal(np.signbit(again[2:]), np.signbit(special[2:]))
    ties = np.array([0x3F808000, 0x3F818000], np.uint32).view(np.float32)  # halfway between two: to the even one
    np.testing.assert_array_equal(Stored.from_array(ties, "BF16").raw, [0x3F80, 0x3F82])
    with pytest.raises(ValueError, match="65504"):
        Stored.from_array(np.array([1e6]), "F16")


@pytest.mark.parametrize(("kind", "steps"), [("Q8_0", 127), ("Q4_0", 8), ("Q4_1", 15), ("Q5_0", 16), ("Q5_1", 31)])
@given(seed=seeds)
def test_rounding_to_blocks_is_wrong_by_one_step_at_most(kind: str, steps: int, seed: int) -> None:
    array = np.random.default_rng(seed).normal(size=(4, 64))
    blocks = array.reshape(4, 2, 32)
    extent = np.ptp(blocks, axis=2) if kind.endswith("1") and kind != "Q8_0" else np.abs(blocks).max(axis=2)
    error = np.abs(Stored.from_array(array, kind).widen(np.float64).reshape(4, 2, 32) - blocks).max(axis=2)
    # Half a step, but the largest number of a kind with a sign may have no step of its own (-8 to 7): then one. 1%: the
    # scale is rounded to float16.
    assert (error <= 1.01 * extent / steps).all()


# --- several tensors as one, and products -----------------------------------------------------------------------------


@st.composite
def weights(draw: st.DrawFn) -> tuple[Weight, np.ndarray]:
    """A matrix, or several of any kinds with rows of 256 numbers one below another; and its float64 array."""
    parts = [draw(stored_tensors(("F64", "F32"), 256))]
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from([*FLOATS, *BLOCKS]))
        columns = 256 // KINDS[kind].numbers
        parts.append(random_stored(kind, draw(st.integers(0, 5)), columns, draw(seeds)))
    parts = draw(st.permutations(parts))
    array = np.concatenate([part.widen(np.float64) for part in parts])
    stacked = Stacked([Stacked(parts[:1]), *parts[1:]])
    return (parts[0] if len(parts) == 1 else stacked), array


@given(pair=weights(), data=st.data())
def test_stacked_tensors_are_as_one(pair: tuple[Weight, np.ndarray], data: st.DataObject) -> None:
    weight, array = pair
    rows = len(array)
    ids = np.array(data.draw(st.lists(st.integers(-rows, rows - 1), max_size=6)), int)
    assert weight.shape == array.shape
    equal(weight.widen(np.float64), array)
    out = np.empty_like(array)
    assert weight.widen(out=out) is out
    equal(out, array)
    equal(weight.take(ids.reshape(1, -1), np.float64), array[ids.reshape(1, -1)])
    with pytest.raises(IndexError):
        weight.take(np.array([rows]))


@given(
    pair=weights(),
    leading=st.sampled_from([(), (1,), (2, 3), (40,)]),
    block=st.sampled_from([1, 700, 1 << 17]),
    seed=seeds,
)
def test_a_product_equals_that_with_the_widened_matrix(
    pair: tuple[Weight, np.ndarray], leading: tuple[int, ...], block: int, seed: int
) -> None:
    (weight, array), rng = pair, np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_module, "BLOCK", block)
        for transposed, matrix in ((False, array.T), (True, array)):
            x = rng.normal(size=(*leading, matrix.shape[0]))
            got = product(x, weight, transposed=True) if transposed else product(x, weight)
            # Sums of up to 256 products in another order, each wrong by 2^-53 of its size.
            size = np.abs(x) @ np.abs(matrix)
            assert got.shape == size.shape and got.dtype == np.float64
            assert (np.abs(got - x @ matrix) <= 1e-13 * size).all()
            single = product(x.astype(np.float32), weight, transposed=transposed)
            assert single.dtype == np.float32
            assert (np.abs(single - x @ matrix) <= 1e-4 * size).all()  # as before, 256 * 2^-24, and x and W rounded


def test_only_rows_of_one_length_are_stacked() -> None:
    with pytest.raises(ValueError, match="one length"):
        Stacked([random_stored("F32", 2, 3, 0), random_stored("F32", 2, 4, 0)])


@pytest.mark.parametrize("kind", ["F32", "BF16", "F16", "Q8_0", "Q6_K"])
def test_a_product_never_widens_the_whole_matrix(kind: str) -> None:
    weight = random_stored(kind, 2048, 2048 // KINDS[kind].numbers, 0)  # 16 MB as float32
    x = np.ones((1, 2048), np.float32)
    tracemalloc.start()
    product(x, weight)
    product(x, weight, transposed=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * MEGABYTE


def equal(got: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(got, expected, strict=True)


# --- files in memory, order of rows -----------------------------------------------------------------------------------


def mapped_megabytes() -> float:
    """Of files, in the memory of this process."""
    return int(re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_released_memory_of_a_file_returns_to_the_system_and_is_read_again(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(4096, 1024)).astype(np.float32)  # 16 MB
    (tmp_path / "numbers").write_bytes(b"12345" + array.tobytes())
    stored = Stored.from_bytes(map_file(tmp_path / "numbers")[5:], "F32", array.shape)
    equal(stored.widen(), array)
    before = mapped_megabytes()
    for part in (stored[:2048], stored[2048:]):
        part.release()
    assert before - mapped_megabytes() > 15
    equal(stored.widen(), array)


def test_releasing_what_is_in_memory_does_nothing() -> None:
    stored = random_stored("Q8_0", 3, 1, 0)
    before = stored.widen()
    stored.release()
    equal(stored.widen(), before)
    assert hasattr(mmap, "MADV_DONTNEED") or sys.platform != "linux"


@given(heads=st.integers(1, 4), pairs=st.integers(1, 5), seed=seeds)
def test_rows_of_heads_are_put_in_order_and_back(heads: int, pairs: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(heads * pairs * 2, 3))
    ordered = unpermute(rows, heads)
    order = unpermute(np.arange(len(rows)), heads)
    equal(Reordered("q", tuple(order.tolist())).split(ordered)["q"], rows)  # as `save` writes them
    for head in range(heads):
        for pair in range(pairs):
            first = head * 2 * pairs + pair
            equal(ordered[[first, first + pairs]], rows[head * 2 * pairs + 2 * pair :][:2])
    equal(unpermute(rows[:, 0], heads), ordered[:, 0])
    stored = Stored.from_array(rows)
    equal(stored.reordered(order).widen(np.float64), ordered)
