"""Connections of clients that send nothing, or read nothing, are closed. The application cannot see those.

A request that has not arrived yet is not known to the application. And an answer that nobody reads stays in the
connection's buffer: closing a connection in the usual way would wait for its buffer.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 30.0  # from the beginning of a connection, or of a request, to the end of its head
STALL_SECONDS = 60.0  # how long a client may read nothing while there is something to read


class ImpatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with two more limits of time."""

    head_timer: asyncio.TimerHandle | None = None
    stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch_head()

    def handle_events(self) -> None:
        super().handle_events()
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        stop(self.head_timer)
        stop(self.stall_timer)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stall_timer = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        stop(self.stall_timer)

    def _watch_head(self) -> None:
        """While no request is being answered, its head is waited for."""
        if self.cycle is not None and not self.cycle.response_complete:
            stop(self.head_timer)
            self.head_timer = None
        elif self.head_timer is None:
            self.head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)


def stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
