"""Errors as the clients of OpenAI's API expect them: a status, and {"error": {message, type, param, code}}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.inference.server.json_text import Json

AUTHENTICATION, FORBIDDEN, RATE = "authentication_error", "permission_error", "rate_limit_error"
TYPES = {401: AUTHENTICATION, 403: FORBIDDEN, 429: RATE, 500: "server_error", 503: "server_error"}
# Clients try again after these statuses, which can help only where the server was too busy.
RETRY = {429: {"retry-after": "1"}, 500: {"x-should-retry": "false"}, 503: {"retry-after": "1"}}


class Refusal(Exception):
    """Why a request gets no answer. `param`: the field that is to blame; `code`: a word for programs."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.param, self.code = status, param, code
        self.headers = {**RETRY.get(status, {}), **(headers or {})}

    @property
    def body(self) -> dict[str, Any]:
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Json:
        return Json(self.body, self.status, headers=self.headers)


class Disconnected(Exception):
    """The client has hung up."""
