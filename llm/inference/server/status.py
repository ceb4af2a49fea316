"""What is to be known about the server and its model: /v1/models, /health and /metrics."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from llm.inference.server.errors import Refusal
from llm.inference.server.json_text import Json
from llm.inference.server.service import Service, service_of

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


async def models(request: Request) -> Response:
    return Json({"object": "list", "data": [model_card(service_of(request))]})


async def model(request: Request) -> Response:
    service, name = service_of(request), request.path_params["name"]
    if name != service.name:
        raise Refusal(f"there is no model {name!r:.80}, only {service.name!r}", status=404, code="model_not_found")
    return Json(model_card(service))


def model_card(service: Service) -> dict[str, Any]:
    card = {"id": service.name, "object": "model", "created": service.created, "owned_by": "minigrad"}
    return card | {"max_model_len": service.context}


async def health(request: Request) -> Response:
    if not service_of(request).worker.is_alive:
        raise Refusal("the server is ending", status=503, code="shutting_down")
    return Json({"status": "ok"})


async def metrics(request: Request) -> Response:
    service = service_of(request)
    engine = service.worker.engine
    return PlainTextResponse(service.metrics.text(len(engine.running), len(engine.waiting)), media_type=PROMETHEUS)
