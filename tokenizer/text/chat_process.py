"""Renders chat templates in another process, which ends if a template takes too long (chat_sandbox.py).

The process is started for the first template and used for all that follow, one after another.
"""

from __future__ import annotations

import atexit
import marshal
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizer.text.chat_sandbox import MAX_MEMORY, MAX_SECONDS

PROGRAM = Path(__file__).with_name("chat_sandbox.py")


class TemplateProcess:
    """A process that renders templates, one at a time. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, template: str, variables: Mapping[str, Any], mark: str = "") -> str:
        """The rendered text. ValueError if the template is wrong, fails, or goes beyond its limits.

        `mark`: a character for notes in the text (chat_parts.py). "": no notes.
        """
        request = marshal.dumps((template, dict(variables), mark))
        with self._lock:
            process = self._running()
            try:
                kind, data = exchange(process, request)
            except BaseException as error:
                self.stop()  # after Ctrl-C too: the next request must not get the rest of this answer
                if not isinstance(error, (OSError, EOFError)):
                    raise
                limits = f"{MAX_SECONDS:.0f} seconds and {MAX_MEMORY >> 30} GiB of memory"
                raise ValueError(f"the chat template was stopped: it went beyond its limits of {limits}") from None
        text = data.decode("utf-8", "surrogatepass")
        if kind == b"error":
            raise ValueError(text)
        return text

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._process = start()
        return self._process

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()  # closes the pipes and waits
            self._process = None


def start() -> subprocess.Popen[bytes]:
    """Start the program, which imports modules from the same folders as this process."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    try:
        # -P: not from the folder of the program too, whose files may have the names of other modules.
        # In a session of its own, Ctrl-C in the terminal does not end it, also before it can ignore the signal.
        return subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM)],
            stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ValueError(f"a chat template needs a process of its own, which does not start: {error}") from None


def exchange(process: subprocess.Popen[bytes], request: bytes) -> tuple[bytes, bytes]:
    """The kind of the answer and the answer. OSError or EOFError if the process has ended."""
    assert process.stdin and process.stdout
    process.stdin.write(b"%d\n%b" % (len(request), request))
    process.stdin.flush()
    kind, _, size = process.stdout.readline().partition(b" ")
    data = process.stdout.read(int(size)) if size else b""
    if not size or len(data) < int(size):
        raise EOFError
    return kind, data


@lru_cache(maxsize=1)
def process_of(caller: int) -> TemplateProcess:
    """The process that renders for the process with the id `caller`. A fork has another id, and gets one of its own."""
    process = TemplateProcess()

    def stop_at_exit() -> None:
        if os.getpid() == caller:  # not in a fork of the caller: it may end while the caller still needs the process
            process.stop()

    atexit.register(stop_at_exit)
    return process


def render_in_process(template: str, variables: Mapping[str, Any], mark: str = "") -> str:
    """`TemplateProcess.render` by the process that belongs to this one."""
    return process_of(os.getpid()).render(template, variables, mark)
