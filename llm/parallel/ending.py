"""The end of a job of several ranks: if one fails, all end within seconds, with one sentence that says which and why.

Without this, a rank that raises an error would wait at its end, in MPI, for the other ranks, and they would wait for
its messages. There are four ways to fail:

    it raises an error, or calls sys.exit      `ending_together` prints the sentence, and lets MPI end the others
    it is killed, or crashes                   mpiexec ends the others at once. The sentence comes from `watch`
    it hangs                                   the others wait only for a time: communicators/mpi.py
    all ranks find the same problem            rank 0 prints it; the others are silent

This module is imported first, also without mpiexec, so it imports next to nothing.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "MPI_LOCALNRANKS")  # set by mpiexec of MPICH, of Open MPI
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "MPI_LOCALRANKID")
HERE = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", *SIZES)  # how many ranks are on this machine
LOOK_SECONDS, LOOK_EVERY = 20.0, 0.05  # how long a watcher looks for the other ranks of this machine, as they begin
HEAD_START = 0.5  # seconds. If all ranks fail alike, the sentence is that of rank 0
MOST_FILES = 1024  # the numbers of files that are open when a program begins are smaller
FORWARDING = 0.2  # seconds for mpiexec to pass the sentence on. What it has not read when the job ends is lost
TIDY_UP = 3.0  # seconds after which the note of a failure is deleted. By then, all ranks have ended

PARENT = os.getppid()  # of the rank. Of its watcher, the rank is the parent
FINISHED, FAILED = b"0", b"1"  # what a rank tells its watcher


_agreed: list[bool] = []


def agree() -> None:
    """All ranks know that all of them end now: none has to end the others."""
    _agreed.append(True)


def started_by_mpi() -> bool:
    """Whether mpiexec has started this process, and others with it."""
    return _number(SIZES, 1) > 1


@contextmanager
def ending_together(program: str) -> Iterator[None]:
    """If the block ends with an error on one rank, end all ranks. A single process is left alone."""
    if not started_by_mpi():
        yield
        return
    tell = watch(program)
    try:
        yield
    except BaseException as error:
        if not _agreed:
            _end_all(program, error, tell)
        raise
    finally:
        _tell(tell, FINISHED)


def _end_all(program: str, error: BaseException, tell: int) -> None:
    rank, size = _number(RANKS, 0), _number(SIZES, 1)
    if rank > 0:
        time.sleep(HEAD_START)
    if _is_first_failure():
        _write(f"{_sentence(program, error)} (rank {rank} of {size})\n")
        time.sleep(FORWARDING)
    _tell(tell, FAILED)
    status = exit_status(error) or 1  # 0 too is a failure here: the others were not ready
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI would add a line of its own
    with suppress(ImportError):
        from mpi4py import MPI

        MPI.COMM_WORLD.Abort(status)
    os._exit(status)


def _tell(watcher: int, how: bytes) -> None:
    with suppress(OSError):  # somebody has killed the watcher
        os.write(watcher, how)


def _sentence(program: str, error: BaseException) -> str:
    match error:
        case SystemExit(code=str(sentence)):
            return sentence
        case SystemExit(code=status):
            return f"{program}: a rank has ended with exit status {status or 0}, before all were ready"
        case KeyboardInterrupt():
            return f"{program}: interrupted; checkpoints made so far are good"
    return "".join(traceback.format_exception(error)) + f"{program}: {type(error).__name__}: {error}"


def exit_status(error: BaseException) -> int:
    """The exit status of a program that ends with this error."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + int(getattr(error, "number", signal.SIGINT))
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        return error.code or 0
    return 1


def watch(program: str) -> int:
    """Fork a process that says so if this one is killed. Returns the pipe through which it is told of any other end."""
    # When a process ends, for whatever reason, the system closes its end of the pipe. So the watcher wakes up.
    listen, tell = os.pipe()
    sentence = (
        f"{program}: rank {_number(RANKS, 0)} of {_number(SIZES, 1)} (process {os.getpid()}) was killed or has "
        "crashed, perhaps because there was too little memory; checkpoints made so far are good\n"
    )
    liveness = _open_liveness_pipe()
    if os.fork():
        os.close(listen)
        return tell
    os.close(tell)
    if liveness is not None:
        os.close(liveness)
    with suppress(BaseException):
        os.setsid()  # what ends the group of the rank does not end its watcher
        # mpiexec takes the rank for alive as long as a process has its connections.
        os.closerange(3, listen)
        os.closerange(listen + 1, MOST_FILES)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _watch(listen, sentence)
    os._exit(0)


def _open_liveness_pipe() -> int | None:
    """Open a named pipe. The system closes it when this rank ends, in whatever way."""
    # Linux closes the files of a process that has ended from the largest number to the smallest. This one has a larger
    # number than the connection to mpiexec. So all watchers learn of the first death before mpiexec does, and before it
    # kills the other ranks.
    if not hasattr(select, "epoll"):  # not Linux
        return None
    import fcntl

    note = _note(_number(RANKS, 0))
    with suppress(OSError):
        note.unlink(missing_ok=True)
        os.mkfifo(note)
        file = os.open(note, os.O_RDWR | os.O_NONBLOCK)
        try:
            return fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, MOST_FILES - 100)
        except OSError:  # so many files are not allowed
            note.unlink()
        finally:
            os.close(file)
    return None


def _watch(listen: int, sentence: str) -> None:
    told, others = _wait(listen)
    if told != FINISHED:
        # mpiexec kills the other ranks a moment after the first one.
        first = not told and not others and _is_first_failure()
        if first:
            _write(sentence)
        for stream in (0, 1, 2):  # mpiexec waits until nobody can write to them any more
            os.close(stream)
        time.sleep(TIDY_UP)  # the watchers of other ranks read the notes meanwhile
        if first or told == FAILED:
            _note().unlink(missing_ok=True)
    _note(_number(RANKS, 0)).unlink(missing_ok=True)


def _wait(listen: int) -> tuple[bytes, list[int]]:
    """What the rank has told, b"" if it was killed; and which other ranks of this machine were killed before."""
    own, ranks, ended = _number(RANKS, 0), dict[int, int](), list[int]()
    # An epoll reports events in the order in which they occurred, however late this process gets a core.
    poll = select.epoll() if hasattr(select, "epoll") else None
    if poll is not None:
        _register_ranks(poll, ranks)
    if poll is None or own not in ranks.values():
        return os.read(listen, 1), []
    poll.register(listen, select.EPOLLIN)
    stop_looking = time.monotonic() + LOOK_SECONDS
    while own not in ended:
        looking = len(ranks) < _number(HERE, 1) and time.monotonic() < stop_looking
        for file, _ in poll.poll(LOOK_EVERY if looking else None):
            poll.unregister(file)
            if file != listen:
                ended.append(ranks[file])
            elif told := os.read(listen, 1):
                return told, []
        if looking:
            _register_ranks(poll, ranks)
    return b"", [rank for rank in ended[: ended.index(own)] if _note(rank).exists()]


def _register_ranks(poll: select.epoll, ranks: dict[int, int]) -> None:
    """Watch the ranks of this machine that have left a note and are not among `ranks` yet, this one among them."""
    for rank in set(range(_number(SIZES, 1))) - set(ranks.values()):
        with suppress(OSError):  # it is not there yet, or not any more
            ranks[file := os.open(_note(rank), os.O_RDONLY | os.O_NONBLOCK)] = rank
            poll.register(file, select.EPOLLIN)


def _is_first_failure() -> bool:
    """Whether no other rank on this machine has failed before. Leaves a note for the others."""
    try:
        os.close(os.open(_note(), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    except OSError:  # no note can be left: better two sentences than none
        pass
    return True


def _note(of: int | str = "failed") -> Path:
    """A file that all ranks of this job on this machine know, as they have the same parent: of a failure, or a rank."""
    return Path(tempfile.gettempdir()) / f"minigrad-{os.getuid()}-{PARENT}.{of}"


def _write(text: str) -> None:
    """To standard error itself: on most ranks, sys.stderr is silent."""
    with suppress(OSError):
        sys.stderr.flush()
        os.write(2, text.encode(errors="backslashreplace"))


def _number(names: tuple[str, ...], default: int) -> int:
    values = (os.environ.get(name, "") for name in names)
    return next((int(value) for value in values if value.isdecimal()), default)
