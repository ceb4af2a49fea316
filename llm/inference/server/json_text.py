"""Values as JSON, in answers and in events."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse


def to_json(value: Any) -> str:
    """On one line, in ASCII: a text, such as the name of a field, may have half of a surrogate pair, not UTF-8."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


class Json(JSONResponse):
    """An answer that is a JSON value."""

    def render(self, content: Any) -> bytes:
        return to_json(content).encode()
