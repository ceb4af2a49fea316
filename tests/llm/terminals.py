"""A program at a terminal, for tests: what it shows, and keys that are pressed."""

from __future__ import annotations

import os
import pty
import select
import time
from pathlib import Path

CTRL_C, CTRL_D = "\x03", "\x04"
SECONDS = 60  # to wait for an output; a machine may be busy


class Terminal:
    """Runs a command at a terminal of its own, which is its standard input, output and error."""

    def __init__(self, command: list[str], folder: Path, **environment: str):
        self.shown = ""  # all that it has shown
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            try:
                os.chdir(folder)
                os.execvpe(command[0], command, os.environ | {"TERM": "xterm-256color"} | environment)
            finally:
                os._exit(1)

    def press(self, keys: str) -> None:
        # A moment after a prompt: before that, `input` of Python may not notice a signal.
        time.sleep(0.3)
        os.write(self.terminal, keys.encode())

    def wait_for(self, text: str) -> str:
        """What is shown from now on until `text` comes, with it."""
        begin, end = len(self.shown), time.monotonic() + SECONDS
        while text not in self.shown[begin:]:
            assert time.monotonic() < end and self._read(), f"{text!r} does not come after {self.shown[begin:]!r}"
        return self.shown[begin:]

    def wait_for_more(self) -> None:
        """Wait until anything is shown."""
        begin, end = len(self.shown), time.monotonic() + SECONDS
        while len(self.shown) == begin:
            assert time.monotonic() < end and self._read(), f"nothing comes after {self.shown!r}"

    def _read(self) -> bool:
        """Read what is there. Returns whether the program still runs."""
        if select.select([self.terminal], [], [], 0.1)[0]:
            try:
                data = os.read(self.terminal, 1 << 16)
            except OSError:  # how Linux says that the other side is closed
                return False
            self.shown += data.decode("utf-8", "replace")
            return bool(data)
        return True

    def finish(self) -> int:
        """Wait for the end of the program. Returns its exit status."""
        end = time.monotonic() + SECONDS
        while self._read():
            assert time.monotonic() < end, f"the program does not end after {self.shown!r}"
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
