"""Files and folders appear whole or not at all; JSON tells of damage."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.runs import files
from llm.runs.files import link_file, locked, new_folder, read_json, write_json
from tokenizer.formats import atomic
from tokenizer.formats.atomic import PARTIAL, new_file, remove_partial, write_file


class Stop(Exception):
    pass


def fail_in(block: AbstractContextManager[Path], begin: Callable[[Path], Any]) -> None:
    with block as partial:
        begin(partial)
        raise Stop


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, "old é")
    assert path.read_bytes() == "old é".encode()
    with new_file(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old é"
    assert path.read_text() == "new"
    with pytest.raises(Stop):
        fail_in(new_file(path), lambda partial: partial.write_text("newer"))
    assert path.read_text() == "new"
    write_file(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert names(tmp_path) == ["file"]


def test_a_folder_appears_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with pytest.raises(Stop):
        fail_in(new_folder(path), lambda partial: (partial / "content").touch())
    assert names(tmp_path) == []
    with new_folder(path) as partial:
        (partial / "below").mkdir()
        (partial / "below/content").write_text("first")
        (partial / "below/content").chmod(0o600)
        assert not path.exists()
    assert (path / "below/content").read_text() == "first"
    (tmp_path / "plain").touch()
    assert (path / "below/content").stat().st_mode == (tmp_path / "plain").stat().st_mode
    with new_folder(path) as partial:
        (partial / "content").write_text("too late")
    assert names(path) == ["below"]
    assert names(tmp_path) == ["folder", "plain"]


def test_a_folder_does_not_take_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError), new_folder(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"
    assert names(tmp_path) == ["file"]


def test_everything_reaches_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system may bring a rename to the disk before the content: what was not flushed could be empty after a
    power cut.
    """
    events: list[str] = []
    flush, replace, rename = atomic.flush, os.replace, Path.rename
    for module in files, atomic:
        monkeypatch.setattr(module, "flush", lambda path: (events.append(path.name), flush(path)))
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("rename"), replace(*paths)))
    monkeypatch.setattr(Path, "rename", lambda *paths: (events.append("rename"), rename(*paths)))
    with new_folder(tmp_path / "folder") as partial:
        (partial / "a").touch()
    assert events[0] == "a"
    assert events[1:] == [partial.name, "rename", tmp_path.name]
    events.clear()
    with new_file(tmp_path / "file") as partial:
        partial.touch()
    assert events == [partial.name, "rename", tmp_path.name]


@pytest.mark.parametrize("links", [True, False])
def test_a_link_is_a_second_name_of_a_file(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:

        def refuse(*paths: Path) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "link", refuse)
    existing, path = tmp_path / "existing", tmp_path / "path"
    existing.write_text("one")
    path.write_text("to be replaced")
    for _ in range(2):  # again, when it has the name already
        link_file(existing, path)
        assert path.read_text() == "one"
        assert path.samefile(existing) is links
    assert names(tmp_path) == ["existing", "path"]


def test_what_was_left_behind_is_removed_when_it_is_old_enough(tmp_path: Path) -> None:
    for name in ("file", "folder/below/content", "other"):
        path = tmp_path / (PARTIAL + name if name != "other" else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    hours_ago = time.time() - 7200
    for path in (tmp_path / (PARTIAL + "file"), tmp_path / (PARTIAL + "folder"), tmp_path / (PARTIAL + "folder/below")):
        os.utime(path, (hours_ago, hours_ago))
    remove_partial(tmp_path, unchanged_for=3600)
    assert names(tmp_path) == [PARTIAL + "folder", "other"], "something deep in the folder has changed lately"
    remove_partial(tmp_path)
    assert names(tmp_path) == ["other"]


def test_a_lock_is_held_until_the_block_ends(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_temporary_names_differ(tmp_path: Path) -> None:
    """Threads that write the same file at once leave one of the contents, whole."""
    contents = [bytes([n]) * 100_000 for n in range(8)]
    threads = [threading.Thread(target=write_file, args=(tmp_path / "file", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_bytes() in contents
    assert names(tmp_path) == ["file"]


# --- JSON -------------------------------------------------------------------------------------------------------------

values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
objects = st.dictionaries(
    st.text().filter(lambda key: key != files.CHECKSUM), values | st.lists(values) | st.dictionaries(st.text(), values)
)


@given(data=objects, position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_json_comes_back_as_it_was_or_not_at_all(tmp_path_factory: Any, data: dict, position: float, bit: int) -> None:
    path = tmp_path_factory.mktemp("json") / "file.json"
    write_json(path, data)
    assert read_json(path) == data
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        found = read_json(path)
    except ValueError:
        return
    assert {key: found.get(key) for key in data} == data, (
        "the flipped bit was in white space, or in the name of the checksum"
    )


def test_json_without_a_checksum_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}
    path.write_text(json.dumps({"a": 1, files.CHECKSUM: "no such sum"}))
    with pytest.raises(
        ValueError, match="it is not as it was written; if you edited it yourself, remove its entry 'sha256'"
    ):
        read_json(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="it holds a list, not an object"):
        read_json(path)
    with pytest.raises(ValueError, match="it cannot be read: .*No such file"):
        read_json(tmp_path / "nothing")
