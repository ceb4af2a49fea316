"""How a worker process ends: with its parent, however that ends."""

from __future__ import annotations

import os
import threading
from signal import SIG_IGN, SIGINT, signal


def follow_parent() -> None:
    """To be called in a worker: it ends as soon as its parent has ended, and ignores Ctrl-C.

    Ctrl-C at a terminal interrupts all processes. The parent then ends its workers. But a parent that is killed
    (kill -9, too little memory) tells them nothing, and they would wait for more work for ever.
    """
    signal(SIGINT, SIG_IGN)
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    from multiprocessing import parent_process  # its import takes longer than that of the package

    if parent := parent_process():
        parent.join()
        os._exit(1)
