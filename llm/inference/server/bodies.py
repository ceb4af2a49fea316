"""Reading the body of a request: JSON, of limited size, in limited time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from llm.inference.server.errors import Disconnected, Refusal

MOST_BYTES = 4 << 20  # a prompt of 100,000 ids has 0.6 MB
MOST_SECONDS = 30.0


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
        return json.loads(data.decode(), parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or deep nesting, too
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refusal(f"the body is not JSON in UTF-8: {reason:.200}", code="invalid_json") from None


async def read_bytes(request: Request) -> bytes:
    data = bytearray()
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MOST_BYTES:
        raise too_large()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BYTES:
            raise too_large()
    return bytes(data)


def too_large() -> Refusal:
    # The rest of the body is not read, so the connection cannot be used again.
    return Refusal(f"a body may have {MOST_BYTES:,} bytes", status=413, headers={"connection": "close"})


def refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
