"""The folder of a run: what is saved comes back, damage is seen wherever it is, and a kill at any instant leaves a good
checkpoint.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from llm.model.config import GPTConfig
from llm.runs import checkpoints as checkpoints_module
from llm.runs import run as run_module
from llm.runs.checkpoints import Checkpoint
from llm.runs.errors import RunError
from llm.runs.find import new_run, newest_run
from llm.runs.options import Options, TrainOptions
from llm.runs.run import Run
from tokenizer import CharTokenizer

LETTERS = CharTokenizer.train(["abc"])
OPTIONS = Options(
    TrainOptions(lr=0.1 + 0.2, schedule="wsd", threads=3), GPTConfig(vocab_size=3, layers=1, kv_heads=4, dropout=0.1)
)
FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


def arrays(step: int) -> dict[str, np.ndarray]:
    return {"a.weight": np.random.default_rng(step).standard_normal((3, 5), dtype=np.float32), "b": np.array(step)}


def state(step: int, best: int = 0) -> dict[str, Any]:
    return {
        "step": step,
        "best_step": best,
        "best_loss": 0.1 * step,
        "skipped": 1,
        "elapsed": 0.25,
        "data": {"train": "12ab"},
    }


def save(run: Run, step: int, best: int = 0) -> None:
    run.checkpoints.save(Checkpoint(arrays(step), arrays(1000 + step), state(step, best)))


def make(folder: Path, *steps: int) -> Run:
    run = Run(folder)
    run.begin(OPTIONS, LETTERS)
    for step in steps:
        save(run, step)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make(tmp_path / "run", 5, 6)


def assert_is_step(run: Run, step: int) -> None:
    found = run.checkpoints.load()
    assert found is not None
    for loaded, saved in ((found.weights, arrays(step)), (found.optimizer, arrays(1000 + step))):
        assert loaded.keys() == saved.keys()
        for name in saved:
            assert loaded[name].dtype == saved[name].dtype
            np.testing.assert_array_equal(loaded[name], saved[name])
    assert {**found.state, "files": None} == {**state(step), "files": None}


def saved(run: Run) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in run.checkpoints.folder.iterdir())


# --- round trips ------------------------------------------------------------------------------------------------------


def test_what_is_saved_comes_back(run: Run) -> None:
    assert_is_step(run, 6)
    assert run.options() == OPTIONS
    assert run.tokenizer() == LETTERS
    assert run.checkpoints.load(with_optimizer=False).optimizer == {}  # type: ignore[union-attr]


def test_a_run_without_checkpoints(tmp_path: Path) -> None:
    assert not Run(tmp_path / "run").exists
    run = make(tmp_path / "run")
    assert run.exists
    assert run.checkpoints.load() is None


def test_the_two_newest_and_the_best_are_kept(run: Run) -> None:
    for step, best in ((7, 6), (8, 6), (9, 6), (10, 10), (11, 10), (12, 10), (13, 10)):
        save(run, step, best)
    assert saved(run) == [10, 12, 13]
    assert run.checkpoints.load("best").step == 10  # type: ignore[union-attr]


def test_what_is_not_a_checkpoint_is_left_alone(run: Run) -> None:
    mine = run.checkpoints.folder / "step-00000005-mine"
    shutil.copytree(run.checkpoints.folder / "step-00000005", mine)
    save(run, 7)
    save(run, 8)
    assert mine.exists()
    assert_is_step(run, 8)


def test_files_have_the_usual_permissions(run: Run) -> None:
    plain = run.folder / "plain"
    plain.touch()
    for path in run.folder.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode == plain.stat().st_mode, path


def test_the_newest_checkpoint_can_be_copied_alone(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in run.folder.glob("*.*"):
        shutil.copy(path, copy)
    assert not (copy / "checkpoints").exists()
    assert_is_step(Run(copy), 6)
    save(Run(copy), 7)
    assert_is_step(Run(copy), 7)


def test_a_copy_of_the_newest_checkpoint_is_not_taken_for_the_best(run: Run, tmp_path: Path) -> None:
    save(run, 7, best=6)
    shutil.rmtree(run.checkpoints.folder)
    with pytest.raises(RunError, match="step-00000006"):
        run.checkpoints.load("best")


# --- damage -----------------------------------------------------------------------------------------------------------


def flip(path: Path, position: float, bit: int) -> None:
    """In place: a file with two names is damaged under both."""
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 1 << bit
    path.write_bytes(data)


def truncate(path: Path, length: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(length * len(data))])


def separate(path: Path) -> None:
    """Make a file of its own of a second name."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


positions = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("name", FILES)
@given(position=positions, bit=st.integers(0, 7))
def test_after_a_flipped_bit_the_checkpoint_before_is_used(
    tmp_path_factory: Any, name: str, position: float, bit: int
) -> None:
    run = make(tmp_path_factory.mktemp("run") / "run", 5, 6)
    path = run.checkpoints.folder / "step-00000006" / name
    flip(path, position, bit)
    found = run.checkpoints.load()
    assert found is not None
    if found.step == 6:
        assert name == "state.json"
        assert {**found.state, "files": None}.items() >= {**state(6), "files": None}.items(), "it was in white space"
    else:
        assert_is_step(run, 5)
        assert str(path) in found.problems[0]


@pytest.mark.parametrize("name", FILES)
@given(length=st.floats(0, 0.99))
def test_after_a_truncated_file_the_checkpoint_before_is_used(tmp_path_factory: Any, name: str, length: float) -> None:
    run = make(tmp_path_factory.mktemp("run") / "run", 5, 6)
    path = run.checkpoints.folder / "step-00000006" / name
    truncate(path, length)
    assert_is_step(run, 5)
    assert str(path) in run.checkpoints.load().problems[0]  # type: ignore[union-attr]


def foreign_state(path: Path) -> None:
    path.write_text('{"epoch": 1, "global_step": 6}')


@pytest.mark.parametrize(("name", "damage"), [*((name, Path.unlink) for name in FILES), ("state.json", foreign_state)])
def test_after_a_missing_or_foreign_file_the_checkpoint_before_is_used(
    run: Run, name: str, damage: Callable[[Path], None]
) -> None:
    path = run.checkpoints.folder / "step-00000006" / name
    damage(path)
    damage(run.folder / name) if damage is Path.unlink else None
    assert_is_step(run, 5)
    assert any(str(path) in problem for problem in run.checkpoints.load().problems)  # type: ignore[union-attr]


def test_files_of_another_checkpoint_are_not_accepted(run: Run) -> None:
    shutil.copy(  # into the file that has two names
        run.checkpoints.folder / "step-00000005/model.safetensors",
        run.checkpoints.folder / "step-00000006/model.safetensors",
    )
    assert_is_step(run, 5)


def lose(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("lost", ["", *FILES])
@pytest.mark.parametrize("damage", [lose, lambda path: flip(path, 0.5, 1)], ids=["lost", "flipped"])
def test_the_newest_checkpoint_is_used_as_long_as_it_is_whole_under_one_name(
    run: Run, lost: str, damage: Callable[[Path], None]
) -> None:
    """Not the one before; the problem is told; and the run goes on with both names, and without losing a checkpoint."""
    newest = run.checkpoints.folder / "step-00000006"
    for path in run.folder.glob("*.*"):
        separate(path)
    (damage if lost else lose)(newest / lost)
    assert_is_step(run, 6)
    found = run.checkpoints.load()
    assert found is not None and found.folder == run.folder
    assert [problem for problem in found.problems if str(newest / lost) in problem] == list(found.problems) != []
    run.checkpoints.mend(found)
    again = run.checkpoints.load()
    assert again is not None and (again.folder, again.problems) == (newest, ())
    assert_is_step(run, 6)
    for name in FILES:
        assert (newest / name).samefile(run.folder / name)
    save(run, 7, best=6)
    assert saved(run) == [6, 7]
    assert run.checkpoints.load("best").step == 6  # type: ignore[union-attr]


def test_damaged_copies_in_the_folder_of_the_run_are_told_and_replaced(run: Run) -> None:
    """The older checkpoint is not used in silence."""
    for path in run.folder.glob("*.*"):
        separate(path)
    shutil.rmtree(run.checkpoints.folder / "step-00000006")
    for name in ("model.safetensors", "state.json"):
        flip(run.folder / name, 0.5, 1)
        assert_is_step(run, 5)
        found = run.checkpoints.load()
        assert found is not None and any(str(run.folder / name) in problem for problem in found.problems)
    run.checkpoints.mend(found)
    assert run.checkpoints.load().problems == ()  # type: ignore[union-attr]


def test_a_renamed_checkpoint_is_not_taken_for_another(run: Run) -> None:
    (run.checkpoints.folder / "step-00000005").rename(run.checkpoints.folder / "step-00000009")
    assert_is_step(run, 6)
    assert "step-00000009/state.json is of step 5" in run.checkpoints.load().problems[0]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["step-one", "step-00000009"])
def test_the_folder_of_a_run_may_have_any_name(tmp_path: Path, name: str) -> None:
    run = make(tmp_path / name, 5)
    shutil.rmtree(run.checkpoints.folder)
    assert_is_step(run, 5)


def test_copies_of_the_newest_files_are_used_when_all_others_are_damaged(run: Run) -> None:
    for path in run.folder.glob("*.*"):
        separate(path)
    for path in run.checkpoints.folder.glob("*/model.safetensors"):
        flip(path, 0.5, 1)
    assert_is_step(run, 6)
    assert len(run.checkpoints.load().problems) == 1  # type: ignore[union-attr]
    flip(run.folder / "model.safetensors", 0.5, 1)
    with pytest.raises(RunError, match="no checkpoint is left to go back to"):
        run.checkpoints.load()


@given(position=positions, bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_configuration_is_noticed(tmp_path_factory: Any, position: float, bit: int) -> None:
    run = make(tmp_path_factory.mktemp("run") / "run")
    flip(run.folder / "config.json", position, bit)
    try:
        assert run.options() == OPTIONS, "it was in white space"
    except RunError as error:
        assert "config.json is not the configuration of a run" in str(error)  # noqa: PT017 - both ends are good


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "nonsense",
        "[" * 100_000,
        '{"architectures": ["GPT2LMHeadModel"], "n_layer": 12}',
        '{"training": {}, "model": {}}',
        '{"training": 3, "model": []}',
    ],
)
def test_a_foreign_configuration_is_refused(run: Run, content: str) -> None:
    (run.folder / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config\.json is not the configuration of a run"):
        run.options()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", "7"),
        ("steps", 0),
        ("lr", None),
        ("schedule", "cosinf"),
        ("data", 3),
        ("unknown", 1),
        ("lr", float("nan")),
        ("threads", 1.5),
    ],
)
def test_impossible_values_in_an_edited_configuration_are_refused(run: Run, name: str, value: Any) -> None:
    path = run.folder / "config.json"
    content = json.loads(path.read_text())
    content["training"]["steps"] = 77
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match="if you edited it yourself, remove its entry 'sha256'"):
        run.options()
    del content["sha256"]
    path.write_text(json.dumps(content))
    assert run.options().training.steps == 77
    content["training"][name] = value
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match=name):
        run.options()


@given(position=positions, bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_tokenizer_is_noticed(tmp_path_factory: Any, position: float, bit: int) -> None:
    run = make(tmp_path_factory.mktemp("run") / "run", 5, 6)
    flip(run.folder / "tokenizer.json", position, bit)
    with pytest.raises(RunError, match=r"tokenizer\.json is damaged"):
        run.checkpoints.load()


def test_a_missing_tokenizer_is_named(run: Run) -> None:
    (run.folder / "tokenizer.json").unlink()
    with pytest.raises(RunError, match=r"tokenizer\.json cannot be read \(No such file"):
        run.checkpoints.load()


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "state.json", "metrics.jsonl", "checkpoints"]
)
def test_a_run_that_lost_its_configuration_is_not_overwritten(run: Run, name: str) -> None:
    (run.folder / "config.json").unlink()
    for path in run.folder.iterdir():
        if path.name != name:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (run.folder / name).exists() or (run.folder / name).touch()
    with pytest.raises(RunError, match=rf"has no config\.json but holds {name}"):
        run.begin(OPTIONS, LETTERS)


def test_a_run_is_not_begun_twice(run: Run) -> None:
    with pytest.raises(RunError, match="holds a run already; add --resume"):
        run.begin(OPTIONS, LETTERS)


# --- kills and full disks ---------------------------------------------------------------------------------------------

WATCHED = (
    "open",
    "os.",
    "shutil.",
    "tempfile.",
)  # audit events of the file system: docs.python.org/3/library/audit_events.html


def save_and_die(run: Run, at: int, save_file: Callable[[Any, Path], None]) -> None:
    """Save step 7, and be killed for good before the file-system operation number `at`; exit status 0 if there are
    fewer.
    """
    seen = 0

    def count(event: str, args: tuple) -> None:
        nonlocal seen
        if event.startswith(WATCHED) and event != "os.kill":
            seen += 1
            if seen > at:
                os.kill(os.getpid(), signal.SIGKILL)

    def half(content: Any, path: Path) -> None:
        """safetensors writes where no audit hook sees it: once more, a kill may come when half of the file is there."""
        save_file(content, path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        path.write_bytes(data)

    checkpoints_module.save_file = half  # in this process, which is a copy and dies
    sys.addaudithook(count)
    save(run, 7)
    os._exit(0)


def check_every_kill(run: Run, saver: Callable[..., None] = save_and_die) -> int:
    """Kill a save at each of its operations; after each, step 6 or 7 must be there, whole. Returns the number of
    operations.
    """
    steps, at, fork = set(), 0, multiprocessing.get_context("fork")
    while True:
        process = fork.Process(target=saver, args=(run, at, checkpoints_module.save_file))
        process.start()
        process.join()
        found = run.checkpoints.load()
        assert found is not None
        assert not found.problems
        steps.add(found.step)
        assert_is_step(run, found.step)
        if process.exitcode == 0:
            assert steps == {6, 7}, "kills before the checkpoint is there and after"
            return at
        assert process.exitcode == -signal.SIGKILL
        run.clean()
        shutil.rmtree(run.checkpoints.folder / "step-00000007", ignore_errors=True)
        at += 1


needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork and SIGKILL")


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_kill_at_any_operation_of_a_save_leaves_a_good_checkpoint(run: Run) -> None:
    assert check_every_kill(run) > 20
    assert not list(run.folder.rglob(".partial-*"))
    assert saved(run) == [6, 7]


@pytest.mark.control
@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_save_in_place_is_noticed(run: Run) -> None:
    """The newest checkpoint is written over, file by file."""

    def in_place(run: Run, at: int, save_file: Callable[[Any, Path], None]) -> None:
        run.checkpoints.folder_of = lambda step: run.checkpoints.folder / "step-00000006"  # type: ignore[method-assign]
        save_and_die(run, at, save_file)

    with pytest.raises(AssertionError):
        check_every_kill(run, in_place)


FULL = [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space left on device")]


@pytest.mark.parametrize("operation", ["save_file", "digest", "write_json", "link_file"])
@pytest.mark.parametrize("error", FULL, ids=["OSError", "SafetensorError"])
def test_a_full_disk_gives_one_sentence_and_leaves_a_good_checkpoint(
    run: Run, operation: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints_module, operation, fail)
        with pytest.raises(RunError, match=r"step 7 could not be written to .*No space left.*make room there"):
            save(run, 7)
    assert_is_step(run, 7 if operation == "link_file" else 6)
    assert not list(run.folder.rglob(".partial-*"))
    save(run, 7)
    assert_is_step(run, 7)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "step-00000007"])
def test_what_cannot_be_written_is_named(
    run: Run, tmp_path: Path, name: str, error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise error

    monkeypatch.setattr(run_module, "write_json", refuse)
    monkeypatch.setattr(checkpoints_module, "write_json", refuse)
    if name == "tokenizer.json":
        monkeypatch.setattr(CharTokenizer, "save", refuse)
    write = {
        "config.json": lambda: run.write_options(OPTIONS),
        "tokenizer.json": lambda: Run(tmp_path / "new").begin(OPTIONS, LETTERS),
        "step-00000007": lambda: save(run, 7),
    }
    with pytest.raises(RunError, match=rf"{name} ?.*could not be written|could not be written to .*{name}") as caught:
        write[name]()
    assert str(error.strerror) in str(caught.value)
    assert_is_step(run, 6)


# --- folders ----------------------------------------------------------------------------------------------------------


def test_only_one_process_trains_in_a_folder(tmp_path: Path) -> None:
    run, same = Run(tmp_path / "run"), Run(tmp_path / "run")
    with run.locked():
        with pytest.raises(RunError, match="another process is training in"), same.locked():
            pass
        assert run.folder.is_dir()
    with same.locked():
        run.begin(OPTIONS, LETTERS)
    assert run.exists


def test_a_folder_to_which_nothing_was_written_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Run(tmp_path / "run").locked():
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_cannot_be_the_folder_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(RunError, match="run cannot be the folder of a run"), Run(tmp_path / "run").locked():
        pass


def test_the_newest_run_and_the_next_free_number(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run in .* yet; start one with: python train.py"):
        newest_run(tmp_path)
    runs = [make(tmp_path / name, 1) for name in ("tiny-1", "tiny-2", "gpt2-1")]
    (tmp_path / "something else").mkdir()
    for run, when in zip(runs, (3e9, 2e9, 1e9)):
        for path in (run.folder / "config.json", run.folder / "state.json"):
            os.utime(path, (when, when))
    assert newest_run(tmp_path).folder == runs[0].folder
    os.utime(runs[1].folder / "state.json", (4e9, 4e9))
    assert newest_run(tmp_path).folder == runs[1].folder
    assert new_run("tiny", tmp_path).folder.name == "tiny-3"
    assert new_run("small", tmp_path).folder.name == "small-1"
