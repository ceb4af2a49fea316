"""Server-sent events, and work that ends when the client hangs up.

Starlette's own streams notice that only when they send something; while a long prompt is read, nothing is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llm.inference.server.errors import Disconnected, Refusal
from llm.inference.server.json_text import to_json

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
GOODBYE_SECONDS = 1.0  # to send an error to a client that may have stopped reading


class EventStream(Response):
    """Sends objects as events; at the end [DONE], or an error."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[dict[str, Any]], seconds: float, close: Callable[[], object]):
        """`close` is called at the end, also if the client has gone before the beginning."""
        # no-store: an answer is for one client; X-Accel-Buffering: nginx must not hold it back.
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.events, self.seconds, self.close = events, seconds, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._send(send))
        except Disconnected:
            pass
        finally:
            self.close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with asyncio.timeout(self.seconds):
                async for each in self.events:
                    await send_data(send, event(each))
                await send_data(send, DONE, more=False)
        except TimeoutError:
            await self._say_goodbye(send, too_long(self.seconds))
        except Refusal as refusal:
            await self._say_goodbye(send, refusal)

    async def _say_goodbye(self, send: Send, refusal: Refusal) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await send_data(send, event(refusal.body), more=False)


async def send_data(send: Send, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


def event(value: Any) -> bytes:
    return f"data: {to_json(value)}\n\n".encode()


def too_long(seconds: float) -> Refusal:
    # The same request would take as long again.
    headers = {"x-should-retry": "false"}
    return Refusal(f"the request took longer than {seconds:g} seconds", status=503, code="timeout", headers=headers)


async def in_time(seconds: float, receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work. Raises Refusal if it takes too long, Disconnected if the client hangs up before."""
    try:
        async with asyncio.timeout(seconds):
            return await while_connected(receive, work)
    except TimeoutError:
        raise too_long(seconds) from None


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work. If the client hangs up before, the work is cancelled, and Disconnected is raised."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(wait_until_gone(receive))
    try:
        await asyncio.wait([working, gone], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Disconnected
        return working.result()
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
