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
from typing import IO, Any

from tokenizer.text.chat_sandbox import MAX_MEMORY, MAX_SECONDS

PROGRAM = Path(__file__).with_name("chat_sandbox.py")


class TemplateProcess:
    """A process that renders templates. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, template: str, variables: Mapping[str, Any]) -> str:
        """The text. ValueError if the template is wrong, refuses the variables, or goes beyond its limits."""
        request = marshal.dumps((template, dict(variables)))
        with self._lock:
            process = self._running()
            try:
                kind, data = exchange(process, request)
            except BaseException as error:
                self.stop()  # after Ctrl-C too: the rest of the answer must not be taken for the next one
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
    """Start the program with the modules that this one finds. -P: without those of the folder where the program is."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM)], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment
        )
    except OSError as error:
        raise ValueError(f"a chat template needs a process of its own, which does not start: {error}") from None


def exchange(process: subprocess.Popen[bytes], request: bytes) -> tuple[bytes, bytes]:
    """The kind of the answer and the answer. OSError or EOFError if the process has ended."""
    to_process: Any = process.stdin
    from_process: IO[bytes] | Any = process.stdout
    to_process.write(request)
    to_process.flush()
    kind, _, size = from_process.readline().partition(b" ")
    data = from_process.read(int(size)) if size else b""
    if not size or len(data) < int(size):
        raise EOFError
    return kind, data


@lru_cache(maxsize=1)
def process_of(program: int) -> TemplateProcess:
    """The process that renders for the program with this id. A program that is forked gets one of its own."""
    process = TemplateProcess()
    # A program that was forked from this one may end first: it must not stop the process of this one.
    atexit.register(lambda: process.stop() if os.getpid() == program else None)
    return process


def render_in_process(template: str, variables: Mapping[str, Any]) -> str:
    return process_of(os.getpid()).render(template, variables)
