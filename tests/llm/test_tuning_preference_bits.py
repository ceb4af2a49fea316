"""train.py --objective preference begun again with the same seed leaves the same bits.

Two things made them differ. safetensors writes two keys of metadata in any order. And BLAS adds in another order with
more threads, of which a large model got as many as there were idle cores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from threadpoolctl import threadpool_info

from llm.inference import classify
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel import blas, runtime
from llm.parallel.runtime import set_blas_threads
from llm.runs.errors import RunError
from llm.training import setup
from llm.training.command import parse, start
from llm.tuning import add_lora
from llm.tuning.chat.packing import Tokens
from llm.tuning.preferences.reference import Pair, checksum, empty, read_reference, reference_logps, write_reference
from llm.tuning.tasks import find_task
from tests.llm.runs import make_run
from tests.llm.trainings import without_pictures, write_sample
from tokenizer import END_OF_TEXT, Tokenizer

BYTES = Tokenizer.train(["good day, bad night"], vocab_size=262, special_tokens=[END_OF_TEXT])
FILES = ("model.safetensors", "optimizer.safetensors", "reference.safetensors")
AGAIN = 12  # of two contents that are as probable, one comes 12 times in a row once in 2,048 cases


def now() -> int:
    return max((library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"), default=1)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = now()
    yield
    set_blas_threads(before)


def drawn_pairs(seed: int, count: int, vocabulary: int) -> list[Pair]:
    rng = np.random.default_rng(seed)

    def text() -> Tokens:
        length = int(rng.integers(4, 60))
        return Tokens(rng.integers(0, vocabulary, length), np.arange(length) >= length // 2)

    return [(text(), text()) for _ in range(count)]


@given(seed=st.integers(0, 99), adapter=st.booleans())
@settings(max_examples=5, deadline=None)
def test_the_reference_has_the_same_bits_with_any_number_of_threads(seed: int, adapter: bool) -> None:
    # As wide as this, OpenBLAS divides the products (its Haswell kernels give other bits then).
    model = GPT(GPTConfig(vocab_size=2048, context=64, layers=1, heads=4, dim=256), rng=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classify, "BATCH_TOKENS", 300)  # several batches
        expected = reference_logps(model, drawn_pairs(seed, 30, 2048))
        if adapter:
            add_lora(model, 2)
            for _, p in model.named_parameters():
                if p.requires_grad:  # the adapter, whose second factor is 0 at first
                    p.data[...] = 0.1
        for threads in (1, 3, 2):
            set_blas_threads(threads)
            found = reference_logps(model, drawn_pairs(seed, 30, 2048), threads=threads)
            assert found.tobytes() == expected.tobytes()
            assert now() in (1, threads), "as before"


def test_the_file_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    numbers, data = empty(3, 2), {"train": "a" * 64, "val": "b" * 64}
    path = tmp_path / "file"

    def content_of_ours() -> bytes:
        write_reference(path, numbers, data)
        return path.read_bytes()

    def content_with_two_keys() -> bytes:
        save_file(numbers, path, {"data": json.dumps(data), "sha256": checksum(numbers)})
        return path.read_bytes()

    assert len({content_of_ours() for _ in range(AGAIN)}) == 1
    assert len({content_with_two_keys() for _ in range(4 * AGAIN)}) == 2, "the cause is gone: simplify the file"
    assert read_reference(path, data).keys() == numbers.keys(), "a file of before 2026-12-01 is still read"


def test_a_file_of_something_else_is_told(tmp_path: Path) -> None:
    save_file(empty(1, 1), tmp_path / "file", {"data": "no JSON"})
    with pytest.raises(RunError, match="cannot be read"):
        read_reference(tmp_path / "file", {})


def test_runs_with_the_same_seed_leave_the_same_files_however_busy_the_machine_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pictures(monkeypatch)
    make_run(tmp_path / "base", BYTES)
    rows = [
        {"prompt": f"{i}?", "chosen": "good day " * (i % 4 + 1), "rejected": "bad night " * (i % 3)}
        for i in range(1, 24)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows if row["rejected"]))
    monkeypatch.setattr(blas, "SMALL_MODEL", 0)  # so this one counts as large
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(runtime, "available_cores", lambda: 4)
    monkeypatch.setattr(setup, "set_blas_threads", lambda threads: used.append(threads) or set_blas_threads(threads))
    used: list[int] = []
    contents = []
    for number, idle in enumerate((1.0, 0.0, 0.5)):
        monkeypatch.setattr(blas, "idle_share", lambda idle=idle: idle)
        out = tmp_path / f"run {number}"
        options = [
            "--from",
            str(tmp_path / "base"),
            "--objective",
            "preference",
            "--data",
            str(tmp_path / "pairs.jsonl"),
        ]
        # A batch of one row: there is one worker, and BLAS divides its products.
        options += ["--out", str(out), "--steps", "3", "--batch-size", "1", "--eval-every", "3", "--device", "cpu"]
        assert start(*parse(options), write_sample, find_task) == 0
        contents.append([(out / name).read_bytes() for name in FILES])
    assert contents[0] == contents[1] == contents[2]
    assert used == [4, 4, 4], "so that also a model which is really large has the same bits"
