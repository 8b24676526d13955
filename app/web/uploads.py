"""Taking in files: stored below their owner's folder, looked at in a limited process, or gone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fields.errors import UserError
from fields.safeio import atomic_writer

from .api import guarded
from .child import ask_module
from .jobs.model import UPLOAD
from .jobs.store import new_id
from .limits import MIB
from .names import safe_parts
from .owner import owner_of
from .service import Service

READER = "app.web.reading"
_READERS = 2  # uploads looked at at once
_CHUNK = 1 << 18
_WALL = 6.0  # of a reader: how much longer than its processor time it may take on a machine that does much else


def routes(service: Service) -> list[Route]:
    """Sending files, and the list of what was sent."""
    uploads = _Uploads(service)
    return [
        Route("/api/uploads", guarded(uploads.sent), methods=["GET"]),
        Route("/api/uploads", guarded(uploads.receive), methods=["POST"]),
    ]


class _Uploads:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._turn = asyncio.Semaphore(_READERS)

    async def sent(self, request: Request) -> Response:
        jobs = await run_in_threadpool(self._service.jobs, owner_of(request))
        return JSONResponse({"uploads": [job for job in jobs if job["kind"] == UPLOAD]})

    async def receive(self, request: Request) -> Response:
        owner = owner_of(request)
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise UserError("E-WEB-TYPE", "the body is no form with files", expected="multipart/form-data")
        announced = request.headers.get("content-length", "0")
        await run_in_threadpool(self._service.require_room, owner, int(announced) if announced.isdigit() else 0)
        try:
            form = await request.form(max_files=self._service.limits.parts, max_fields=10, max_part_size=1 << 16)
        except HTTPException as error:
            raise UserError("E-WEB-REQUEST", "the form cannot be read", got=error.detail, fix="send it again") from None
        try:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            return JSONResponse(await self._keep(owner, files), 201)
        finally:
            await form.close()

    async def _keep(self, owner: str, files: list[UploadFile]) -> dict[str, Any]:
        names = self._checked(files)
        places, identity = self._service.places, new_id()
        folder = places.folder(owner, identity)
        try:
            await run_in_threadpool(_store, folder, files, names)
            async with self._turn:
                result = await run_in_threadpool(read, folder, self._service)
            await run_in_threadpool(self._service.require_room, owner)  # an archive takes more than it announced
            name = names[0][-1] if len(names) == 1 else names[0][0] if len(names[0]) > 1 else f"{len(names)} files"
            result = {"name": name, **result}
            job = await run_in_threadpool(self._service.store.add_upload, owner, name, identity, result)
        except BaseException:
            places.remove(owner, identity)
            raise
        return await run_in_threadpool(self._service.job, owner, job.id)

    def _checked(self, files: list[UploadFile]) -> list[tuple[str, ...]]:
        if not files:
            raise UserError("E-WEB-FIELD", "no file was sent", where="files", expected="one file or more")
        for file in files:
            if (file.size or 0) > self._service.limits.file:
                raise UserError("E-WEB-SIZE", "a file is too large", where=(file.filename or "")[:80],
                                got=f"{(file.size or 0) / MIB:.1f} MiB",
                                expected=f"at most {self._service.limits.file / MIB:g} MiB",
                                fix="send smaller files")  # fmt: skip
        names = [safe_parts(file.filename or "") for file in files]
        if len(set(names)) < len(names):
            raise UserError("E-WEB-FIELD", "two files have one name", where="files", expected="different names")
        return names


def _store(folder: Path, files: list[UploadFile], names: list[tuple[str, ...]]) -> None:
    """One file goes to `out`, which its owner may read back; several are the content of an unpacked folder."""
    base = folder / ("out" if len(files) == 1 else "content")
    (folder / "out").mkdir()
    for file, name in zip(files, names, strict=True):
        with atomic_writer(base.joinpath(*(name[-1:] if len(files) == 1 else name))) as target:
            while chunk := file.file.read(_CHUNK):
                target.write(chunk)


def read(folder: Path, service: Service) -> dict[str, Any]:
    """What the reader makes of the upload in `folder`.

    Raises:
        UserError: its refusal, or `E-UPLOAD-READ` when it crashed or took too long.
    """
    limits = service.limits
    order = {"limits": vars(limits)}
    answer = ask_module(READER, folder, order, _WALL * limits.reader_seconds)
    if answer is None:
        raise UserError("E-UPLOAD-READ", "the file could not be read in the time and memory that it may take",
                        fix="send less, or check that it is not damaged")  # fmt: skip
    if "error" in answer:
        found = answer["error"]
        parts = {name: found[name] for name in ("where", "got", "expected", "fix")}
        raise UserError(found["code"], found["what"], **parts)
    return answer["result"]
