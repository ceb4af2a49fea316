"""How many threads matrix products use: by the size of the model, by what else the cores do, and as the user asks."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from llm.inference.text import with_fitting_threads, write_sample
from llm.parallel import runtime
from llm.parallel.blas import SMALL_MODEL, blas_threads, fitting_blas_threads, steady_blas_threads
from llm.parallel.runtime import set_blas_threads
from llm.training.command import parse, start
from tests.llm.trainings import arguments, own_cache

LARGE = 10 * SMALL_MODEL


def now() -> set[int]:
    """The threads of the BLAS that comes with NumPy. Other tests may have loaded that of SciPy too."""
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return {library["num_threads"] for library in blas if "numpy" in library["filepath"]}


NEEDS_THREADS = pytest.mark.skipif(not now() or os.cpu_count() == 1, reason="NumPy has no BLAS with threads here")


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 8 cores, of which nobody uses any."""
    for name in runtime.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(runtime, "available_cores", lambda: 8)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 9.0, 9.0), raising=False)


def test_a_small_model_gets_one_thread_and_a_large_one_the_idle_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [blas_threads(None, n) for n in (1, SMALL_MODEL - 1, SMALL_MODEL, LARGE)] == [1, 1, 8, 8]
    for load, threads in ((2.0, 6), (7.9, 1), (8.0, 1), (50.0, 1)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert (blas_threads(None, LARGE), blas_threads(None, 1)) == (threads, 1)
        assert (steady_blas_threads(None, LARGE), steady_blas_threads(None, 1)) == (8, 1), "in training"
    monkeypatch.delattr(os, "getloadavg")
    assert blas_threads(None, LARGE) == 8


@given(requested=st.integers(1, 99), parameters=st.integers(1, 1 << 40))
def test_what_the_user_asks_for_is_used_for_every_size(requested: int, parameters: int) -> None:
    assert blas_threads(requested, parameters) == steady_blas_threads(requested, parameters) == requested
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", str(requested))
        assert blas_threads(None, parameters) == requested


@NEEDS_THREADS
def test_a_small_model_has_one_thread_inside_the_block_and_as_many_as_before_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = max(now())
    set_blas_threads(2)
    try:
        with fitting_blas_threads(1), fitting_blas_threads(1):
            assert now() == {1}
        assert now() == {2}
        with pytest.raises(KeyError), fitting_blas_threads(1):
            raise KeyError
        with fitting_blas_threads(LARGE):
            assert now() == {2}
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with fitting_blas_threads(1):
            assert now() == {2}, "the user's choice"
    finally:
        set_blas_threads(before)


@NEEDS_THREADS
def test_text_is_generated_with_fitting_threads_and_what_the_caller_does_in_between_is_not_limited() -> None:
    before, model = max(now()), SimpleNamespace(num_parameters=lambda: 1)
    set_blas_threads(2)
    try:
        pieces = with_fitting_threads(model, (str(max(now())) for _ in range(3)))  # type: ignore[arg-type]
        assert [(piece, max(now())) for piece in pieces] == 3 * [("1", 2)]
    finally:
        set_blas_threads(before)


@NEEDS_THREADS
@pytest.mark.parametrize("threads", [1, 2])
def test_a_sample_in_training_uses_the_threads_that_the_user_asks_for(tmp_path: Path, threads: int) -> None:
    seen: list[str] = []
    before = max(now())
    options = arguments(tmp_path / "run", "--steps", "1", "--threads", str(threads))
    try:
        with own_cache(tmp_path) as patch:
            threads_now = lambda ids, tokenizer, **options: (str(max(now())) for _ in [0])
            patch.setattr("llm.inference.text.decode_until_stop", threads_now)
            start(*parse(options), lambda *each: seen.append(write_sample(*each)) or "")  # type: ignore[func-returns-value]
    finally:
        set_blas_threads(before)
    assert seen == [str(threads)]
