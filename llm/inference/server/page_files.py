"""The page at /: the files of the folder page/, read when the server starts. No path of a request names a file."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
# Scripts and styles come only from the server's own files, and the page connects only to the server. So a text of the
# model that became a part of the page would still not be run.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def page_routes(folder: Path = FOLDER) -> list[Route]:
    """A route for each file; index.html is at /."""
    files = sorted(path for path in folder.glob("*") if path.suffix in TYPES and path.is_file())
    return [route("/" if path.name == "index.html" else f"/{path.name}", path) for path in files]


def route(place: str, path: Path) -> Route:
    data, kind = path.read_bytes(), TYPES[path.suffix]

    async def send(request: Request) -> Response:
        return Response(data, media_type=kind, headers=HEADERS)

    return Route(place, send)
