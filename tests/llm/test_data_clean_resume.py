"""`clean` that was killed goes on, and several processes do it: to the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.errors import DataError
from llm.data.lab import clean as clean_module
from llm.data.lab.clean import Clean, clean
from llm.data.lab.folder import Shards
from llm.data.lab.verdict import Verdict
from tests.llm.forms import jsonl
from tests.llm.lab_steps import contents, files, find_steps, options, put

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _steps(monkeypatch):
    monkeypatch.setattr(clean_module, "find_steps", find_steps)


class Killed(BaseException):
    """Nothing catches it, as nothing catches kill -9."""


@given(files=files, data=st.data(), shard=st.sampled_from([256, 1e-4]))
def test_work_that_is_interrupted_anywhere_goes_on_to_the_same_bytes(tmp_path_factory, files, data, shard):
    folder = tmp_path_factory.mktemp("clean")
    inputs = put(folder / "in", files)
    clean(options(inputs, folder / "whole", shard=shard))
    write, out = Shards.write, options(inputs, folder / "out", shard=shard)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clean_module, "SAVE_SECONDS", data.draw(st.sampled_from([-1.0, 1e9])))
        patch.setattr("llm.data.lab.pipeline.BATCH_ITEMS", data.draw(st.integers(1, 5)))
        for _ in range(data.draw(st.integers(1, 3))):
            left = data.draw(st.integers(0, 10))

            def write_until_killed(self: Shards, row: dict) -> None:
                nonlocal left
                write(self, row)
                left -= 1
                if left < 0:
                    raise Killed

            patch.setattr(Shards, "write", write_until_killed)
            try:
                clean(out)
            except Killed:
                assert (folder / "out" / "state.json").exists() and not (folder / "out" / "report.json").exists()
        patch.setattr(Shards, "write", write)
        clean(out)
    assert contents(folder / "out") == contents(folder / "whole")


PROGRAM = """
import os, sys
from llm.data.lab import clean
from llm.data.lab.command import main
from tests.llm.lab_steps import install
install()
clean.SAVE_SECONDS = 0
os.fsync = lambda number: None  # what a disk keeps when the power fails, no test can see
sys.exit(main(sys.argv[1:]))
"""


def start(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, "clean", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("processes", "most_kills"), [("2", 1), pytest.param("1", 4, marks=pytest.mark.slow)])
def test_after_kill_9_the_same_command_goes_on_to_the_same_bytes(tmp_path, processes, most_kills):
    texts = [{"text": f"Document {n} " + "word " * (n % 50), "n": n} for n in range(8_000)]
    (tmp_path / "in.jsonl").write_bytes(jsonl(texts) + b"{\n")
    arguments = (str(tmp_path / "in.jsonl"), "--shard", "0.2", "--out")
    clean(Clean((str(tmp_path / "in.jsonl"),), str(tmp_path / "whole"), shard=0.2))
    out, kills = tmp_path / "out", 0
    while kills < most_kills:
        before = written(out)
        process = start(*arguments, str(out), "--processes", processes)
        while process.poll() is None and written(out) <= before + (1 << 16):
            time.sleep(0.005)
        if process.poll() is not None:
            break  # too fast for us
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
        kills += 1
    assert kills and (out / "state.json").exists()
    process = start(*arguments, str(out), "--processes", processes)
    assert "going on after" in process.communicate()[1] and process.returncode == 0
    assert contents(out) == contents(tmp_path / "whole")


def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("kept-*")) if folder.exists() else 0


def test_several_processes_write_the_same_bytes(tmp_path):
    content = jsonl([{"text": f"Document {n} " * (n % 7 + 1)} for n in range(2_000)]) + b"{\n"
    (tmp_path / "in.jsonl").write_bytes(content)
    for processes in (1, 2):
        clean(options(tmp_path / "in.jsonl", tmp_path / str(processes), processes=processes, shard=0.05))
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def end_the_process(text: str) -> Verdict:
    os._exit(9)  # as the system does where memory is short


def test_a_process_that_dies_is_told_in_a_sentence_and_the_work_goes_on(tmp_path, monkeypatch):
    (tmp_path / "in.jsonl").write_bytes(jsonl([{"text": "Document"}]))
    out = options(tmp_path / "in.jsonl", tmp_path / "out", processes=2)
    with monkeypatch.context() as patch:
        patch.setattr(clean_module, "find_steps", lambda *_: [end_the_process])
        with pytest.raises(DataError, match="a process has died, perhaps for want of memory; use fewer --processes"):
            clean(out)
    assert clean(out).documents["kept"] == 1
