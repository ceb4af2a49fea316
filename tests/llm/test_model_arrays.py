"""Short memory while weights are read ends with a MemoryError, and generate.py with a sentence."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from llm.model import arrays
from llm.model.arrays import load_arrays

SCRIPT = Path(__file__).parents[2] / "generate.py"


class PanicException(BaseException):  # the name of what the Rust library raises, which no package exports
    pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file({"a": np.arange(3.0)}, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_arrays_are_those_in_the_file(path: Path) -> None:
    np.testing.assert_array_equal(load_arrays(path)["a"], np.arange(3.0))


@pytest.mark.parametrize("raised", [PanicException("PyObject pointer is null"), MemoryError()])
def test_a_panic_is_a_memory_error(path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> None:
    def fail(path: Path) -> None:
        raise raised

    monkeypatch.setattr(arrays, "load_file", fail)
    with pytest.raises(MemoryError):
        load_arrays(path)


def test_other_interruptions_pass(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(arrays, "load_file", fail)
    with pytest.raises(KeyboardInterrupt):
        load_arrays(path)


def test_memory_is_asked_for_before_the_file_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "ROOM", 1 << 60)
    monkeypatch.setattr(arrays, "load_file", lambda path: pytest.fail("it was read"))
    with pytest.raises(MemoryError):
        load_arrays(path)


def test_generate_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr("llm.inference.command.start", fail)
    monkeypatch.setattr("llm.parallel.runtime.keep_freed_memory", lambda: None)
    monkeypatch.setattr(sys, "argv", ["generate.py", "--prompt", "x"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert str(ended.value).startswith("generate.py: not enough memory (Unable to allocate 9 GiB); end other programs")
