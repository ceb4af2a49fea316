"""Values as JSON, in answers and in events."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse


def json_bytes(value: Any) -> bytes:
    """In ASCII: a text may contain half of a surrogate pair, which has no UTF-8, such as a field's name in an error."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


class Json(JSONResponse):
    """An answer that is a JSON value."""

    def render(self, content: Any) -> bytes:
        return json_bytes(content)
