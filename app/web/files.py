"""Files of jobs, to their owners only."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from .api import guarded
from .owner import owner_of
from .service import Service

_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".mp4": "video/mp4",
    ".glb": "model/gltf-binary",
    ".json": "application/json",
}
_OTHER = "application/octet-stream"  # also for HTML and SVG: nothing that is sent back can run here
_HEADERS = {"cache-control": "private, no-cache"}
_LONGEST_RANGE = 60  # letters; more is a request for many ranges, which nobody here makes
_CHUNK = 1 << 18


def routes(service: Service) -> list[Route]:
    """One file, or all of a job's as a zip."""

    async def file(request: Request) -> Response:
        identity, name = request.path_params["id"], request.path_params["name"]
        path = await run_in_threadpool(service.file, owner_of(request), identity, name)
        _drop_odd_range(request)
        kind = _TYPES.get(path.suffix.lower(), _OTHER)
        return FileResponse(path, media_type=kind, filename=path.name, headers=_HEADERS)

    async def archive(request: Request) -> Response:
        job = await run_in_threadpool(service.store.owned, owner_of(request), request.path_params["id"])
        files = await run_in_threadpool(service.places.all_files, job.owner, job.id)
        name = f"attachment; filename*=utf-8''{quote(job.title, safe='')}.zip"
        return StreamingResponse(
            _zipped(files), media_type="application/zip", headers={**_HEADERS, "content-disposition": name}
        )

    return [
        Route("/files/{id}/{name:path}", guarded(file), methods=["GET"]),
        Route("/api/jobs/{id}/archive", guarded(archive), methods=["GET"]),
    ]


def _drop_odd_range(request: Request) -> None:
    """Answer a request for several ranges, or an endless one, with the whole file."""
    asked = request.headers.get("range", "")
    if len(asked) > _LONGEST_RANGE or "," in asked:
        request.scope["headers"] = [(k, v) for k, v in request.scope["headers"] if k != b"range"]


class _Pipe(io.RawIOBase):
    """Keeps what a zip writer gives until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        part = bytes(content)  # type: ignore[call-overload]
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        """Everything written since the last time."""
        found, self._parts = b"".join(self._parts), []
        return found


def _zipped(files: list[tuple[str, Path]]) -> Iterator[bytes]:
    """A zip of files, stored as they are, made while it is sent."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files:
            with path.open("rb") as source, archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
                    yield pipe.take()
    yield pipe.take()
