"""What the page shows beside texts: the tokens of a text, and which of them the model looks at."""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from llm.inference.inspection import attention_weights
from llm.inference.server import checks
from llm.inference.server.bodies import read_json
from llm.inference.server.errors import Refusal
from llm.inference.server.fields import read_fields, require
from llm.inference.server.json_text import Json
from llm.inference.server.service import Prompt, Service, service_of
from llm.inference.server.streaming import in_time

MOST_TOKENS = 1024  # for attention: all weights of a layer are computed, (heads, tokens, tokens)
TOKENS: dict[str, checks.Check] = {"text": checks.text, "allow_special": checks.boolean}
ATTENTION: dict[str, checks.Check] = {
    "ids": checks.ids,
    "text": checks.text,
    "position": checks.whole_number(0, MOST_TOKENS - 1),
    "layer": checks.whole_number(0, 10_000),
    "head": checks.whole_number(0, 10_000),
    "allow_special": checks.boolean,
}


async def page_tokens(request: Request) -> Response:
    """The tokens of a text, without those that are put before it."""
    service = service_of(request)
    fields = read_fields(await read_json(request), TOKENS)
    text, allow_special = require(fields, "text"), service.allows_special(fields)
    service.check_length(text)
    ids = await service.encoding(lambda: service.encode(text, allow_special=allow_special))
    return Json({"tokens": described(service, ids)})


async def page_attention(request: Request) -> Response:
    """How much the token at `position` looks at each token up to itself, in one head of one layer."""
    service = service_of(request)
    fields = read_fields(await read_json(request), ATTENTION)
    place, layer, head = (require(fields, name) for name in ("position", "layer", "head"))
    given = fields["ids"] if "ids" in fields else require(fields, "text")
    (prompt,) = await service.prompts([given], allow_special=service.allows_special(fields))
    check_place(service, prompt, place, layer, head)
    ids = prompt.ids[: place + 1]  # later tokens change nothing
    work = service.worker.call(lambda: attention_weights(service.model, ids, layer)[head, place])
    weights: np.ndarray = await in_time(service.options.seconds, request.receive, work)
    return Json({"tokens": described(service, ids), "weights": weights.tolist()})


def check_place(service: Service, prompt: Prompt, place: int, layer: int, head: int) -> None:
    service.check_prompts([prompt], "text")
    config = service.model.config
    for name, value, size in (
        ("position", place, len(prompt.ids)),
        ("layer", layer, config.layers),
        ("head", head, config.heads),
    ):
        if value >= size:
            raise Refusal(f"{name} must be below {size}, got {value}", param=name)


def described(service: Service, ids: list[int]) -> list[dict[str, Any]]:
    names = service.names
    return [{"id": id, "text": names.text_of(id), "bytes": list(names.bytes_of(id))} for id in ids]
