"""The writer of files: the old file or the new one is there, never half of one, whoever writes at the same time."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import CharTokenizer, load
from tokenizer.formats import atomic
from tokenizer.formats.atomic import ABANDONED_AFTER, PARTIAL, new_file, refuse_unwritable, write_file

TOKENIZER = CharTokenizer.train(["abc"])
needs_links = pytest.mark.skipif(os.name == "nt", reason="links and permissions as POSIX has them")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@given(old=st.none() | st.binary(), new=st.binary() | st.text())
def test_a_file_holds_what_was_written(tmp_path_factory: pytest.TempPathFactory, old: bytes | None, new: str) -> None:
    path = tmp_path_factory.mktemp("files") / "file"
    if old is not None:
        path.write_bytes(old)
    write_file(path, new)
    assert path.read_bytes() == (new.encode() if isinstance(new, str) else new)
    assert names(path.parent) == ["file"]


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".json")
    TOKENIZER.save(path)
    assert load(path) == TOKENIZER


@pytest.mark.parametrize("write", [TOKENIZER.save, lambda path: write_file(path, "new")])
def test_what_lies_at_the_temporary_name_is_neither_followed_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object
) -> None:
    """The name cannot be guessed. Here it can: even then, the victim of a symbolic link is not overwritten."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    monkeypatch.setattr(secrets, "token_hex", lambda *_: "known")
    (tmp_path / (PARTIAL + "known")).symlink_to(victim)
    for attempt in 1, 2:
        with pytest.raises(FileExistsError):
            write(tmp_path / "file.json")  # type: ignore[operator]
        assert (victim.read_text(), names(tmp_path)) == ("mine", [PARTIAL + "known", "victim"]), attempt


@needs_links
def test_the_old_temporary_name_of_a_tokenizer_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f".tokenizer.json.{os.getpid()}.unfinished").symlink_to(victim)
    TOKENIZER.save(tmp_path / "tokenizer.json")
    assert victim.read_text() == "mine"


@needs_links
@given(mask=st.sampled_from([0o022, 0o002, 0o077, 0o027, 0o000]), old=st.sampled_from([None, 0o600, 0o640, 0o666]))
def test_permissions_are_those_of_the_old_file_or_of_any_new_one(
    tmp_path_factory: pytest.TempPathFactory, mask: int, old: int | None
) -> None:
    path = tmp_path_factory.mktemp("files") / "file"
    if old is not None:
        path.touch()
        path.chmod(old)
    with umask(mask):
        write_file(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == (0o666 & ~mask if old is None else old)


@needs_links
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path, exists: bool) -> None:
    """A file of Hugging Face's cache is a link to a file that is shared, whose name is the checksum of its content."""
    shared, link = tmp_path / "shared", tmp_path / "link"
    if exists:
        shared.write_text("shared")
        shared.chmod(0o600)
    link.symlink_to(shared)
    with umask(0o022):
        write_file(link, "new")
    assert (link.read_text(), link.is_symlink(), stat.S_IMODE(link.stat().st_mode)) == ("new", False, 0o644)
    assert shared.exists() == exists and (not exists or shared.read_text() == "shared")


@needs_links
def test_only_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(os.devnull)
    for name, message in (("pipe", "device or a pipe"), ("link", "device or a pipe"), ("folder", "is a folder")):
        with pytest.raises(OSError, match=message):
            write_file(tmp_path / name, "new")
        with pytest.raises(OSError, match=message):
            refuse_unwritable(tmp_path / name)
    assert names(tmp_path) == ["folder", "link", "pipe"]


def test_what_can_be_written_is_known_before_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    for name in ("file", "new"):
        refuse_unwritable(tmp_path / name)
    assert ((tmp_path / "file").read_text(), names(tmp_path)) == ("old", ["file"])
    for check in (refuse_unwritable, partial(write_file, content="new")):
        with pytest.raises(FileNotFoundError) as failed:
            check(tmp_path / "no" / "where")
        assert failed.value.filename == str(tmp_path / "no" / "where"), "the name that was given"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError, MemoryError, GeneratorExit])
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], step: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    def write_half(path: Path) -> None:
        with new_file(path) as partial:
            partial.write_text("half")
            if step == "write":
                fail()

    (tmp_path / "file").write_text("old")
    if step != "write":
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(error):
        write_half(tmp_path / "file")
    assert ((tmp_path / "file").read_text(), names(tmp_path)) == ("old", ["file"])


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path: Path) -> None:
    long_ago = time.time() - ABANDONED_AFTER - 60
    for name, changed in (("old", long_ago), ("fresh", time.time())):
        (tmp_path / (PARTIAL + name)).touch()
        os.utime(tmp_path / (PARTIAL + name), (changed, changed))
    TOKENIZER.save(tmp_path / "file.json")
    assert names(tmp_path) == [PARTIAL + "fresh", "file.json"]


def save_often(path: Path, times: int, failures: list[BaseException] | None = None) -> None:
    try:
        for _ in range(times):
            TOKENIZER.save(path)
            assert load(path) == TOKENIZER
    except BaseException as error:
        if failures is None:
            raise
        failures.append(error)


def test_threads_and_processes_may_save_at_the_same_place(tmp_path: Path) -> None:
    path, failures = tmp_path / "file.json", list[BaseException]()
    process = multiprocessing.get_context("spawn").Process(target=save_often, args=(path, 20))
    threads = [threading.Thread(target=save_often, args=(path, 20, failures)) for _ in range(6)]
    for worker in (process, *threads):
        worker.start()
    for worker in (process, *threads):
        worker.join(60)
    assert (failures, process.exitcode, names(tmp_path)) == ([], 0, ["file.json"])


@needs_links
@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_can_be_written_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o300)
    try:
        write_file(tmp_path / "file", "new")
        assert (tmp_path / "file").read_text() == "new"
    finally:
        tmp_path.chmod(0o700)


def test_the_folder_is_flushed_after_the_renaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    flush, replace = atomic.flush, os.replace
    monkeypatch.setattr(atomic, "flush", lambda path: (events.append(path.name), flush(path)))
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("rename"), replace(*paths)))
    TOKENIZER.save(tmp_path / "file.json")
    assert events[1:] == ["rename", tmp_path.name]
    assert events[0].startswith(PARTIAL)
