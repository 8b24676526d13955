"""Looking at fields: the server's side of the process that renders for the pages."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fields.errors import UserError

from .api import guarded, json_body
from .child import kill_group, start_module
from .jobs.parameters import Reference, checked
from .limits import Limits
from .owner import owner_of
from .service import Service

WORKER = "app.web.look_worker"
Answer = tuple[dict[str, Any], bytes]
_OPENING_SECONDS = 30.0  # more for the first answer of a process, which loads torch and the field
Row = Annotated[list[Annotated[float, Field(ge=-1e9, le=1e9)]], Field(min_length=4, max_length=4)]


class Look(BaseModel):
    """One picture that a page asks for; `view` names the viewer, of which only the newest request counts."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    field: Reference
    camera_to_world: Annotated[list[Row], Field(min_length=3, max_length=3)]
    fov: Annotated[float, Field(ge=1, le=170)] = 40.0
    width: Annotated[int, Field(ge=8, le=2048)]
    height: Annotated[int, Field(ge=8, le=2048)]
    mode: Literal["rgb", "depth", "normal", "opacity"] = "rgb"
    quality: Literal["coarse", "fine"] = "fine"
    sequence: int = 0
    view: Annotated[str, Field(max_length=60)] = ""


class Looker:
    """Starts the rendering process when it is needed, and pairs its answers with orders."""

    def __init__(self, limits: Limits, module: str = WORKER) -> None:
        self._limits, self._module = limits, module
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: dict[int, tuple[subprocess.Popen[bytes], Future[Answer]]] = {}
        self._number, self._warm = 0, False

    def ask(self, order: dict[str, Any]) -> Answer:
        """The answer to an order, waited for.

        Raises:
            UserError: `E-WEB-STALE`, `E-WEB-SLOW` (the process is replaced), or what the process refuses.
        """
        future: Future[Answer] = Future()
        with self._lock:
            process = self._running()
            self._number += 1
            number = self._number
            self._waiting[number] = (process, future)
            _write(process, {**order, "number": number, "view": order.get("view") or str(number)})
            seconds = self._limits.look_seconds + (0 if self._warm else _OPENING_SECONDS)
        try:
            head, content = future.result(seconds)
        except TimeoutError:
            kill_group(process)
            with self._lock:
                self._process = None if self._process is process else self._process
            raise UserError("E-WEB-SLOW", "the picture took too long", fix="make the view smaller") from None
        finally:
            self._waiting.pop(number, None)
        self._warm = True
        return _checked(head), content

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._process is not None:
                kill_group(self._process)
                self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        """The process, started when there is none that lives."""
        if self._process is None or self._process.poll() is not None:
            self._warm = False
            self._process = start_module(self._module, Path.cwd(), self._limits.threads)
            seconds = {"coarse": self._limits.coarse_seconds, "fine": self._limits.fine_seconds}
            limits = {"memory": self._limits.look_memory, "threads": self._limits.threads, "seconds": seconds}
            _write(self._process, limits)
            threading.Thread(target=self._receive, args=(self._process,), daemon=True).start()
        return self._process

    def _receive(self, process: subprocess.Popen[bytes]) -> None:
        """Hand out answers until the process ends."""
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                head = json.loads(line)
                content = process.stdout.read(head.get("bytes", 0))
                _, future = self._waiting.get(head["number"], (None, None))
                if future is not None and not future.done():
                    future.set_result((head, content))
        lost = UserError("E-WORKER", "the viewer's process ended unexpectedly", fix="try again")
        for owner, future in list(self._waiting.values()):
            if owner is process and not future.done():
                future.set_exception(lost)


def routes(service: Service, looker: Looker) -> list[Route]:
    """What is known of a field, and pictures of it."""

    async def about(request: Request) -> Response:
        path = await run_in_threadpool(service.field_path, owner_of(request), request.path_params["id"])
        head, _ = await run_in_threadpool(looker.ask, {"quality": "about", "path": str(path)})
        return JSONResponse(head["about"])

    async def look(request: Request) -> Response:
        values = checked(Look, await json_body(request))
        owner = owner_of(request)
        path = await run_in_threadpool(service.field_path, owner, values.field)
        order = values.model_dump(exclude={"field", "sequence"})
        order |= {"path": str(path), "view": f"{owner}:{values.view}" if values.view else ""}
        head, picture = await run_in_threadpool(looker.ask, order)
        told = {"x-scale": str(head["scale"]), "x-milliseconds": str(head["milliseconds"]), "cache-control": "no-store"}
        return Response(picture, media_type="image/jpeg", headers=told)

    return [
        Route("/api/fields/{id}", guarded(about), methods=["GET"]),
        Route("/api/look", guarded(look), methods=["POST"]),
    ]


def _checked(head: dict[str, Any]) -> dict[str, Any]:
    """The head of an answer.

    Raises:
        UserError: for one that is none.
    """
    if head.get("stale"):
        raise UserError("E-WEB-STALE", "a newer picture of this view was asked for")
    if "error" in head:
        found = head["error"]
        raise UserError(found["code"], found["what"], **{n: found[n] for n in ("where", "got", "expected", "fix")})
    return head


def _write(process: subprocess.Popen[bytes], value: dict[str, Any]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # the reader of its answers sees that it ended
        process.stdin.write(json.dumps(value).encode() + b"\n")
        process.stdin.flush()
