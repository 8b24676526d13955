"""Scripts and styles of the pages, under an address that changes with their content."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from .answers import not_found
from .api import guarded

FOLDER = Path(__file__).parent / "static"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png",
          ".webp": "image/webp", ".jpg": "image/jpeg", ".json": "application/json", ".html": "text/html"}  # fmt: skip
_FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}


@cache
def address() -> str:
    """Where the files are served: `/static/` and a hash over all of them."""
    content = hashlib.sha256()
    for path in _files().values():
        content.update(path.read_bytes())
    return f"/static/{content.hexdigest()[:16]}"


def routes() -> list[Route]:
    """The one route; only files that were there when the server started are served."""
    known = _files()

    async def asset(request: Request) -> Response:
        path = known.get(request.path_params["name"])
        if path is None:
            raise not_found()
        return FileResponse(path, media_type=_TYPES[path.suffix], headers=_FOR_EVER)

    return [Route(f"{address()}/{{name:path}}", guarded(asset), methods=["GET"])]


def _files() -> dict[str, Path]:
    found = sorted(path for path in FOLDER.rglob("*") if path.is_file() and path.suffix in _TYPES)
    return {path.relative_to(FOLDER).as_posix(): path for path in found}
