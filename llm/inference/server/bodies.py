"""Reading the body of a request: JSON, of limited size, in limited time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from starlette.requests import ClientDisconnect, Request

from llm.inference.nesting import nesting_checked
from llm.inference.server.errors import Disconnected, Refusal

MOST_BYTES = 4 << 20  # a prompt of 100,000 ids has 0.6 MB
MOST_SECONDS = 30.0
DISCARD_SECONDS = 2.0  # for the rest of a body that is too large


async def read_json(request: Request) -> Any:
    """The value that is sent. Raises Refusal, or Disconnected."""
    try:
        async with asyncio.timeout(MOST_SECONDS):
            data = await read_bytes(request)
    except TimeoutError:
        raise Refusal(f"the body did not arrive within {MOST_SECONDS:g} seconds", status=408) from None
    except ClientDisconnect:
        raise Disconnected from None
    try:
        with nesting_checked():
            return json.loads(data.decode(), parse_constant=refuse_constant)
    except ValueError as error:  # for a number of thousands of digits, too
        raise Refusal(f"the body is not JSON in UTF-8: {error!s:.200}", code="invalid_json") from None


async def read_bytes(request: Request) -> bytes:
    data, stream = bytearray(), request.stream()
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MOST_BYTES:
        raise await too_large(stream)
    async for chunk in stream:
        data += chunk
        if len(data) > MOST_BYTES:
            raise await too_large(stream)
    return bytes(data)


async def too_large(rest: AsyncIterator[bytes]) -> Refusal:
    # A connection that is closed while the client still sends is reset, and the client may not see the answer.
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            async for _ in rest:
                pass
    # The rest of the body may not have been read, so the connection cannot be used again.
    return Refusal(f"a body may have {MOST_BYTES:,} bytes", status=413, headers={"connection": "close"})


def refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
