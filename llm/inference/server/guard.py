"""What is checked of every request, before anything is done for it.

A server on this machine can be reached by every web page that is open in a browser here. It must answer only its own:

- A page can have its own name point to 127.0.0.1 ("DNS rebinding"); the browser then takes the server for a part of
  that page. But it sends the page's name as the Host, which is refused.
- A page can send a form to any address, which is a body of another type than JSON. That is refused too. For a body that
  is declared as JSON, a browser first asks for permission (CORS), which is not given unless --cors asks for it.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm.inference.server.errors import Refusal
from llm.inference.server.metrics import Metrics
from llm.inference.server.options import ServerOptions

FREE = frozenset({"/health"})  # needs no key: programs that watch a server have none


class Guard:
    """Refuses what the options do not allow, and passes the rest on to `app`.

    `public`: paths of the page's own files, which need no key: they are the same everywhere, and ask for the key.
    """

    def __init__(self, app: ASGIApp, options: ServerOptions, metrics: Metrics, api_key: str | None, public: set[str]):
        self.app, self.metrics, self.cors = app, metrics, options.cors
        self.hosts = allowed_hosts(options)
        self.is_local = is_loopback(options.host)
        self.api_key, self.public = api_key, FREE | public
        self.most, self.current = options.slots + options.waiting, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        with self.metrics.request() as seen:
            await self._answer(scope, receive, counted(send, seen))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_post = scope["method"] == "POST"
        try:
            self._check(scope, Headers(scope=scope))
        except Refusal as refusal:
            return await refusal.response()(scope, receive, send)
        self.current += is_post
        try:
            await self.app(scope, receive, send)
        finally:
            self.current -= is_post

    def _check(self, scope: Scope, headers: Headers) -> None:
        self._check_host(headers.get("host", ""))
        self._check_origin(headers.get("origin"), headers.get("host", ""))
        if scope["path"] not in self.public:
            self._check_key(headers.get("authorization", ""))
        if scope["method"] == "POST":
            check_type(headers.get("content-type", ""))
            if self.current >= self.most:
                raise Refusal("too many requests at once; try again later", status=429, code="too_many_requests")

    def _check_host(self, host: str) -> None:
        name = host_name(host)
        if name not in self.hosts and not (is_address(name) and (not self.is_local or is_loopback(name))):
            raise Refusal(
                f"this server is not {name!r:.80}; if it is, start it with --allow-host",
                status=403,
                code="foreign_host",
            )

    def _check_origin(self, origin: str | None, host: str) -> None:
        """Which page the request comes from, if a browser says so."""
        if origin is None or "*" in self.cors or origin in self.cors:
            return
        if origin.partition("://")[2] != host:
            raise Refusal(
                f"web pages of {origin!r:.80} may not use this server; --cors with that origin allows it",
                status=403,
                code="foreign_origin",
            )

    def _check_key(self, authorization: str) -> None:
        if self.api_key is None:
            return
        kind, _, key = authorization.partition(" ")
        # In constant time: the time must not tell how many characters are right. Headers are bytes, read as latin-1.
        is_right = hmac.compare_digest(key.strip().encode("latin-1"), self.api_key.encode())
        if kind.lower() != "bearer" or not is_right:
            raise Refusal(
                "the API key is missing or wrong; send the header Authorization: Bearer KEY",
                status=401,
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )


def check_type(content_type: str) -> None:
    kind, _, more = content_type.partition(";")
    charset = more.strip().lower().replace('"', "")
    if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise Refusal("the body must be JSON, with the header Content-Type: application/json", status=415)


def counted(send: Send, seen: Callable[[int], object]) -> Callable[[Message], Awaitable[None]]:
    """`send`, which also tells the status."""

    async def tell(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen(message["status"])
        await send(message)

    return tell


def allowed_hosts(options: ServerOptions) -> set[str]:
    """Names under which clients may reach the server, besides addresses."""
    names = {"localhost", options.host, *options.allow_host}
    if not is_loopback(options.host):
        names |= {socket.gethostname(), socket.getfqdn()}
    return {name.lower().strip("[]") for name in names}


def host_name(host: str) -> str:
    """A Host header without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    return name == "localhost" or (is_address(name) and ipaddress.ip_address(name).is_loopback)
