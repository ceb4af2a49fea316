"""dedup in several processes, under MPI, and after a kill; clean under MPI: the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llm.data.lab.command import main
from tests.llm.labs import TEXT, contents, write_corpus
from tests.llm.mpi_jobs import MPIEXEC

ROOT = Path(__file__).parents[2]


def big_corpus(path: Path) -> Path:
    near = [TEXT.replace(f"word{chr(97 + i % 26)}a", f"x{i}") for i in range(20)]
    return write_corpus(
        path, [text for i in range(20) for text in (near[i], f"only this number {'x' * i}", f"L{'y' * (i % 7)}")]
    )


def command(corpus: Path, out: Path, *options: str) -> list[str]:
    """A program whose chunks and parts are small, so that there are many tasks."""
    code = (
        "if __name__ == '__main__':\n"
        "    from llm.data.lab.command import main\n"
        "    from llm.data.lab.duplicates import chunks, groups\n"
        "    chunks.DOCUMENTS, groups.MOST_KEYS = 7, 30\n"
        "    raise SystemExit(main())\n"
    )
    script = out.parent / "small.py"
    script.write_text(code)
    return [str(script), "dedup", str(corpus), "--out", str(out), *options]


def run(words: list[str], *launcher: str) -> None:
    launcher = launcher or (sys.executable,)
    done = subprocess.run([*launcher, *words], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


OPTIONS = ["--lines", "first", "--verify", "0.7"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A corpus, and what one process makes of it, without a break."""
    folder = tmp_path_factory.mktemp("whole")
    corpus = big_corpus(folder / "raw.jsonl")
    assert main(["dedup", str(corpus), "--out", str(folder / "out"), *OPTIONS]) == 0
    return corpus, contents(folder / "out")


def test_several_processes_give_the_same_bytes(whole: tuple[Path, dict[str, bytes]], tmp_path: Path) -> None:
    corpus, expected = whole
    run(command(corpus, tmp_path / "out", *OPTIONS, "--processes", "2"))
    assert contents(tmp_path / "out") == expected


def mpi(processes: int) -> list[str]:
    """The launcher of a program in so many processes."""
    pytest.importorskip("mpi4py.futures", reason="needs mpi4py and MPI")
    if MPIEXEC is None:
        pytest.skip("needs mpiexec, the launcher of MPI")
    return [MPIEXEC, "-n", str(processes), sys.executable, "-m", "mpi4py.futures"]


@pytest.mark.parametrize("processes", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_processes_of_mpi_give_the_same_bytes(
    processes: int, whole: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    corpus, expected = whole
    run(command(corpus, tmp_path / "out", *OPTIONS, "--mpi"), *mpi(processes))
    assert contents(tmp_path / "out") == expected


def test_clean_under_mpi_gives_the_same_bytes(whole: tuple[Path, dict[str, bytes]], tmp_path: Path) -> None:
    clean = ["clean", str(whole[0]), "--out"]
    assert main([*clean, str(tmp_path / "one")]) == 0
    run(["-m", "llm.data", *clean, str(tmp_path / "out"), "--mpi"], *mpi(2))
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


@pytest.mark.parametrize("files", [30, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 10, 60, 100))])
def test_a_job_that_was_killed_goes_on_to_the_same_bytes(
    files: int, whole: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    """It is killed when so many files are there."""
    corpus, expected = whole
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, *command(corpus, out, *OPTIONS)], cwd=ROOT, env=environment())
    while process.poll() is None and len(list(out.glob(".stages/*"))) < files:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "report.json").exists()
    before = {path: path.stat().st_mtime_ns for path in out.glob(".stages/*") if not path.name.startswith(".")}
    again = subprocess.Popen([sys.executable, *command(corpus, out, *OPTIONS)], cwd=ROOT, env=environment())
    while again.poll() is None and len(list(out.glob(".stages/*"))) < files + 5:
        time.sleep(0.001)
    kept = [path for path, written in before.items() if path.exists() and path.stat().st_mtime_ns == written]
    assert again.wait() == 0
    assert contents(out) == expected
    # What was done is not done again, but for the one task that was not done, of up to four files.
    assert len(kept) >= len(before) - 4 or not kept  # when all is done, none is left
