"""The application: which path is answered by what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llm.inference.server import status, tokenization
from llm.inference.server.chat import chat
from llm.inference.server.completions import completions
from llm.inference.server.embeddings import embeddings
from llm.inference.server.errors import Disconnected, Refusal
from llm.inference.server.guard import Guard
from llm.inference.server.page_data import page_attention, page_tokens
from llm.inference.server.page_files import page_routes
from llm.inference.server.page_model import page_model, page_prompt
from llm.inference.server.service import Service

ROUTES = [
    Route("/v1/completions", completions, methods=["POST"]),
    Route("/v1/chat/completions", chat, methods=["POST"]),
    Route("/v1/embeddings", embeddings, methods=["POST"]),
    Route("/v1/models", status.models),
    Route("/v1/models/{name:path}", status.model),
    Route("/health", status.health),
    Route("/metrics", status.metrics),
    Route("/tokenize", tokenization.tokenize, methods=["POST"]),
    Route("/detokenize", tokenization.detokenize, methods=["POST"]),
    Route("/tokenizer_info", tokenization.tokenizer_info),
    Route("/page/tokens", page_tokens, methods=["POST"]),
    Route("/page/attention", page_attention, methods=["POST"]),
    Route("/page/model", page_model),
    Route("/page/prompt", page_prompt, methods=["POST"]),
]


def create_app(service: Service, api_key: str | None = None) -> Starlette:
    """The application (ASGI) of a service, which is closed when the application ends."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        service.close()

    page = page_routes()
    guard = Middleware(Guard, service.options, service.metrics, api_key, {each.path for each in page})
    middleware = [*cors(service), guard]
    app = Starlette(routes=[*ROUTES, *page], middleware=middleware, exception_handlers=HANDLERS, lifespan=lifespan)
    app.state.service = service
    return app


def cors(service: Service) -> list[Middleware]:
    """Off unless asked: browsers then let no page of another origin read an answer."""
    origins = service.options.cors
    if not origins:
        return []
    methods = ["GET", "POST"]
    return [Middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=methods, allow_headers=["*"])]


async def show_refusal(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return refusal.response()


async def show_http_error(request: Request, error: Exception) -> Response:
    """Starlette's own: no such path, or not by this method."""
    assert isinstance(error, HTTPException)
    status, path = error.status_code, f"{request.url.path!r:.80}"
    if status == 404:
        sentence = f"there is nothing at {path}; OpenAI's API is at /v1, such as /v1/chat/completions"
        return Refusal(sentence, status=404, code="not_found").response()
    allowed = (error.headers or {}).get("Allow", "another method")
    return Refusal(
        f"{path} does not take {request.method}; use {allowed}", status=status, headers=error.headers
    ).response()


async def show_nothing(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def show_failure(request: Request, error: Exception) -> Response:
    """For what should not happen. Starlette also passes the error on, and it is written to standard error."""
    return Refusal("the server has failed; its own messages say why", status=500, code="internal_error").response()


HANDLERS: dict[Any, Any] = {
    Refusal: show_refusal,
    Disconnected: show_nothing,
    HTTPException: show_http_error,
    Exception: show_failure,
}
