"""The JSON routes: bodies checked, actions of the service called in threads, refusals as answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fields.errors import UserError
from fields.safeio import parse_json

from .answers import not_found, refusal
from .body import BodyRefused
from .owner import owner_of
from .service import Service

Handler = Callable[[Request], Awaitable[Response]]
_SUBMIT: dict[str, type] = {"kind": str, "parameters": dict, "key": str, "title": str}


def routes(service: Service) -> list[Route]:
    """All routes below /api that speak of jobs."""
    api = _Api(service)
    return [
        Route("/api/jobs", guarded(api.list_jobs), methods=["GET"]),
        Route("/api/jobs", guarded(api.submit), methods=["POST"]),
        Route("/api/jobs/{id}", guarded(api.job), methods=["GET"]),
        Route("/api/jobs/{id}/curve", guarded(api.curve), methods=["GET"]),
        Route("/api/jobs/{id}/{action}", guarded(api.act), methods=["POST"]),
        Route("/api/scenes/{id}", guarded(api.scene), methods=["GET"]),
        Route("/api/choices", guarded(api.choices), methods=["GET"]),
        Route("/api/furnish", guarded(api.furnish), methods=["POST"]),
        Route("/api/{rest:path}", guarded(api.nothing), methods=["GET", "POST"]),
    ]


def guarded(handler: Handler) -> Handler:
    """The handler, with refusals turned into answers."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except UserError as error:
            return refusal(error)
        except BodyRefused:
            return Response(status_code=400)  # the guard answers in its place

    return answer


async def json_body(request: Request, known: dict[str, type] | None = None) -> dict[str, Any]:
    """The object in a request's body; with `known`, of these fields only.

    Raises:
        UserError: `E-WEB-TYPE`, `E-WEB-JSON`, `E-WEB-FIELD`, and what `parse_json` refuses.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UserError("E-WEB-TYPE", "the body is not JSON", got=kind or "no type", expected="application/json")
    try:
        values = parse_json(await request.body() or b"{}", "body")
    except UserError as error:
        if error.code == "E-JSON-SYNTAX":
            raise UserError("E-WEB-JSON", "the body is not valid JSON", got=error.got, where=error.where) from None
        raise
    if not isinstance(values, dict):
        raise UserError("E-WEB-FIELD", "the body is not an object", where="body", expected="a JSON object")
    if known is not None:
        _check_fields(values, known)
    return values


def _check_fields(values: dict[str, Any], known: dict[str, type]) -> None:
    for name, value in values.items():
        if name not in known or not isinstance(value, known[name]):
            raise UserError("E-WEB-FIELD", "a field does not fit", where=name[:60], got=type(value).__name__,
                            expected=", ".join(f"{n}: {t.__name__}" for n, t in known.items()))  # fmt: skip


class _Api:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._actions: dict[str, Callable[[str, str], Any]] = {
            "cancel": service.cancel,
            "resume": service.resume,
            "delete": service.delete,
        }

    async def list_jobs(self, request: Request) -> Response:
        owner = owner_of(request)
        jobs = await run_in_threadpool(self._service.jobs, owner)
        return _answer({"jobs": jobs, "used": await run_in_threadpool(self._service.places.used, owner)})

    async def submit(self, request: Request) -> Response:
        values = await json_body(request, _SUBMIT)
        for name in ("kind", "parameters"):
            if name not in values:
                raise UserError("E-WEB-FIELD", "a field is missing", where=name, expected=f"{name} of the job")
        job, new = await run_in_threadpool(self._service.submitted, owner_of(request), **values)
        return _answer(job, 201 if new else 200)

    async def job(self, request: Request) -> Response:
        return _answer(await run_in_threadpool(self._service.job, owner_of(request), request.path_params["id"]))

    async def curve(self, request: Request) -> Response:
        points = await run_in_threadpool(self._service.curve, owner_of(request), request.path_params["id"])
        return _answer({"points": points})

    async def act(self, request: Request) -> Response:
        action, identity, owner = request.path_params["action"], request.path_params["id"], owner_of(request)
        if action == "rename":
            values = await json_body(request, {"title": str})
            return _answer(await run_in_threadpool(self._service.rename, owner, identity, values.get("title", "")))
        if action not in self._actions:
            raise not_found()
        await json_body(request, {})
        return _answer(await run_in_threadpool(self._actions[action], owner, identity) or {})

    async def scene(self, request: Request) -> Response:
        return _answer(await run_in_threadpool(self._service.scene, owner_of(request), request.path_params["id"]))

    async def choices(self, request: Request) -> Response:
        return _answer(await run_in_threadpool(self._service.choices))

    async def furnish(self, request: Request) -> Response:
        from .furnish import answer

        return _answer(await run_in_threadpool(answer, await json_body(request)))

    async def nothing(self, request: Request) -> Response:
        raise not_found()


def _answer(values: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(values, status, {"cache-control": "no-store"})
