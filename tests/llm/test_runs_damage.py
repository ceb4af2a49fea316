"""Whatever stands in the place of a file of a run: it is used as it should be, or one sentence names the file.

Values of wrong types and sizes in JSON without its checksum; pipes, devices, folders and links in the place of files.
All within seconds, and without the memory that a wrong number asks for.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import shutil
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.runs.files import CHECKSUM, open_regular
from llm.runs.load import load_model
from llm.runs.metrics import read_metrics
from llm.runs.run import Run
from llm.training.command import parse
from llm.training.setup import set_up
from tests.llm.trainings import own_cache, train

SECONDS, MEGABYTE = 30, 1 << 20
HUGE = 300 << 20  # bytes of a file that takes no room on the disk
NEWEST = "checkpoints/step-00000004/"

json_values = st.one_of(
    st.none(), st.booleans(), st.text(max_size=3), st.integers(-2, 3), st.floats(), st.lists(st.integers(), max_size=2),
    st.sampled_from([10**9, 2**63, 10**30, 10**400, -(10**400), 1e308, {}, {"a": 1}, "../../x", "\0", "\ud800"]),
)  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A trained run, with checkpoints of steps 2 and 4."""
    folder = tmp_path_factory.mktemp("original")
    with own_cache(folder):
        train(folder / "run", "--steps", "4", "--eval-every", "2", "--sample-every", "0", "--threads", "1")
        yield folder / "run"


def copied(original: Path, folder: Path) -> Path:
    """A copy in which the files of the newest checkpoint have two names, as in the original."""
    out = folder / "run"
    shutil.copytree(original, out, ignore=shutil.ignore_patterns("*.safetensors", "state.json"))
    for path in original.glob("checkpoints/*/*"):
        shutil.copy(path, out / path.relative_to(original))
    for path in (out / NEWEST).iterdir():
        os.link(path, out / path.name)
    return out


def generate(out: Path) -> None:
    load_model(Run(out))


def resume(out: Path) -> None:
    options, run = parse(["--out", str(out), "--resume", "--steps", "6"])
    with run.locked():
        set_up(options, run)[0].workers.close()
        read_metrics(out / "metrics.jsonl")


USES = pytest.mark.parametrize("use", [generate, resume])


def sentence(use: Callable[[Path], None], out: Path) -> str:
    """What is said about a run when it is used, as an error or as a message; "" if nothing is. Fails after SECONDS."""

    def too_slow(*_: Any) -> None:
        raise AssertionError(f"still at work after {SECONDS} seconds")

    printed = io.StringIO()
    handler = signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            use(out)
    except (ValueError, OSError) as error:
        return f"{printed.getvalue()}{error}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
    return printed.getvalue()


# --- values -----------------------------------------------------------------------------------------------------------


def places(value: Any, place: tuple = ()) -> Iterator[tuple]:
    """The keys that lead to each value in an object of JSON."""
    if isinstance(value, dict):
        for key in value:
            yield (*place, key)
            yield from places(value[key], (*place, key))


def changed(content: dict[str, Any], place: tuple, value: Any) -> str:
    content = copy.deepcopy(content)
    del content[CHECKSUM]
    *outer, last = place
    inner = content
    for key in outer:
        inner = inner[key]
    inner[last] = value
    return json.dumps(content)


@USES
@pytest.mark.parametrize("name", ["config.json", "state.json"])
@given(data=st.data())
def test_any_value_in_an_edited_file_is_used_or_refused_with_a_sentence(
    original: Path, tmp_path_factory: pytest.TempPathFactory, use: Callable, name: str, data: st.DataObject
) -> None:
    out = copied(original, tmp_path_factory.mktemp("edited"))
    path = out / name if name == "config.json" else out / NEWEST / name
    content = json.loads(path.read_text())
    place = data.draw(st.sampled_from([each for each in places(content) if each != (CHECKSUM,)]))
    path.write_text(changed(content, place, data.draw(json_values)))
    sentence(use, out)  # no other error, and not too slow


@USES
@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("state.json", ("skipped",), None),
        ("state.json", ("skipped",), 5),
        ("state.json", ("step",), "4"),
        ("state.json", ("step",), True),
        ("state.json", ("step",), 3),
        ("state.json", ("best_step",), 9),
        ("state.json", ("best_loss",), float("nan")),
        ("state.json", ("elapsed",), 10**400),
        ("state.json", ("data",), [1]),
        ("state.json", ("data", "train"), 7),
        ("state.json", ("files",), {"model.safetensors": None}),
        ("config.json", ("model", "dropout"), 10**400),
        ("config.json", ("model", "dropout"), None),
        ("config.json", ("model", "rope_base"), 10**400),
        ("config.json", ("model", "norm_eps"), 1e308),
        ("config.json", ("model", "layers"), 10**9),
        ("config.json", ("model", "dim"), 10**30),
        ("config.json", ("model", "window"), 10**400),
        ("config.json", ("training",), []),
        ("config.json", ("training", "lr"), 10**400),
        ("config.json", ("training", "steps"), True),
        ("config.json", ("training", "batch_size"), 10**400),
    ],
    ids=lambda each: str(each)[:30],
)
def test_an_impossible_value_is_named_with_its_file(
    original: Path, tmp_path: Path, use: Callable, name: str, place: tuple, value: Any
) -> None:
    """And costs no memory: the size of a model is compared with that of the weights before it is built."""
    out = copied(original, tmp_path)
    path = out / name if name == "config.json" else out / NEWEST / name
    path.write_text(changed(json.loads(path.read_text()), place, value))
    tracemalloc.start()
    said = sentence(use, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if use is generate and place[0] == "training":
        assert said == "", "the options of training are not needed to write text"
    else:
        assert str(path) in said
    assert peak < 50 * MEGABYTE


def test_a_seed_of_any_size_can_be_resumed_with(original: Path, tmp_path: Path) -> None:
    out = copied(original, tmp_path)
    path = out / "config.json"
    path.write_text(changed(json.loads(path.read_text()), ("training", "seed"), 10**30))
    assert sentence(resume, out) == ""


# --- kinds ------------------------------------------------------------------------------------------------------------


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, HUGE)


KINDS: dict[str, Callable[[Path], Any]] = {
    "pipe": os.mkfifo,
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "empty device": lambda path: path.symlink_to("/dev/null"),
    "folder": Path.mkdir,
    "link to itself": lambda path: path.symlink_to(path),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "huge file": sparse,
}
REPLACED = [
    "config.json", "tokenizer.json", "metrics.jsonl", "state.json", "model.safetensors", NEWEST + "state.json",
    NEWEST + "model.safetensors", NEWEST + "optimizer.safetensors", "checkpoints", NEWEST.rstrip("/"),
]  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@USES
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REPLACED)
def test_what_is_no_file_is_never_waited_for_nor_read_to_its_end(
    original: Path, tmp_path: Path, use: Callable, name: str, kind: str
) -> None:
    if kind == "huge file" and "safetensors" in name:
        pytest.skip("weights may be as large as that: all of them is read, to compare the checksum")
    out = copied(original, tmp_path)
    path = out / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    KINDS[kind](path)
    said = sentence(use, out)
    needed = {"config.json", "tokenizer.json", NEWEST + "state.json", NEWEST + "model.safetensors"}
    if name in needed or use is resume and name == NEWEST + "optimizer.safetensors":
        assert str(path) in said or name == "config.json" and "no config.json" in said


def test_a_regular_file_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"content"
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(OSError, match="it is a pipe or a device, not a file"):
        open_regular(Path("/dev/null"))
