"""What the page shows beside texts: the tokens of a text, and where the model looks."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from llm.inference.server import fields as f
from llm.inference.server.bodies import read_json
from llm.inference.server.service import Service

TOKENS: dict[str, f.Check] = {"text": f.text, "allow_special": f.boolean}


async def page_tokens(request: Request) -> Response:
    """The tokens of a text, without those that are put before it."""
    service: Service = request.app.state.service
    fields = f.read_fields(await read_json(request), TOKENS)
    text, allow_special = f.require(fields, "text"), fields.get("allow_special", False)
    ids = await service.encoding(lambda: service.encode(text, allow_special=allow_special))
    return JSONResponse({"tokens": described(service, ids)})


def described(service: Service, ids: list[int]) -> list[dict[str, Any]]:
    names = service.names
    return [{"id": id, "text": names.text_of(id), "bytes": list(names.bytes_of(id))} for id in ids]
