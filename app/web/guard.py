"""The outermost layer of the server: what it lets in, and the headers of every answer.

Gradio checks neither Host nor the size of a body, sets no security headers, and shares some files with every visitor
(its cache, its proxy); all of that is decided here, before a request reaches it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fields.errors import UserError

from .answers import not_found, refusal
from .body import Body
from .hosts import Hosts
from .limits import Limits
from .owner import HEADER, Owners, cookie_header
from .rates import Rates

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = ("GET", "HEAD", "POST")
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
SECURITY_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
_REPLACED = {name for name, _ in SECURITY_HEADERS} | {b"server"}
# Parts of gradio that read or write files shared by all visitors, reach other hosts, or tell about them.
CLOSED = (
    "/gradio_api/upload", "/gradio_api/file", "/gradio_api/proxy", "/gradio_api/stream", "/gradio_api/deep_link",
    "/gradio_api/process_recording", "/gradio_api/vibe", "/gradio_api/undo-vibe", "/gradio_api/run-history",
    "/gradio_api/runs", "/gradio_api/dev", "/gradio_api/profiling", "/gradio_api/openapi", "/gradio_api/token",
    "/gradio_api/custom_component", "/gradio_api/login_check", "/gradio_api/user", "/monitoring", "/login", "/logout",
    "/file", "/proxy", "/upload", "/docs", "/redoc", "/openapi", "/custom_component", "/pwa_icon",
)  # fmt: skip
_OPEN = ("/files/",)  # ours, although it begins like one of them
_FREE = ("/assets/", "/static/", "/svelte/", "/web/", "/theme.css", "/favicon.ico")  # the page's own parts: no rate
_LONGEST_PATH = 2048
_UPLOAD = "/api/uploads"
_log = logging.getLogger("fieldscape.web")


class Guard:
    """Wraps the whole application."""

    def __init__(self, app: App, owners: Owners, hosts: Hosts, limits: Limits) -> None:
        self._app, self._owners, self._hosts, self._limits = app, owners, hosts, limits
        self._rates = Rates(limits.requests_per_second, limits.request_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers_of(scope)
        answer = _Answer(send)
        try:
            self._check(scope, headers)
            owner = self._owners.owner_in(headers.get(b"cookie", b"").decode("latin-1"))
            if owner is None:
                cookie = self._owners.issue()
                answer.added.append((b"set-cookie", cookie_header(cookie)))
            self._check_rate(scope, owner)
        except UserError as error:
            await refusal(error)(scope, receive, answer.send)
            return
        if owner is None:
            owner = str(self._owners.owner_in(f"fieldscape={cookie}"))
        scope["headers"] = [*((k, v) for k, v in scope["headers"] if k != HEADER), (HEADER, owner.encode())]
        body = Body(receive, self._body_limit(scope["path"]), headers, self._limits)
        answer.refused = lambda: body.problem
        await self._pass_on(scope, body, answer)

    async def _pass_on(self, scope: Scope, body: Body, answer: _Answer) -> None:
        try:
            await self._app(scope, body.receive, answer.send)
        except Exception:
            if body.problem is None:
                _log.exception("a request failed: %s", scope["path"])
                await answer.fail(scope)
        if body.problem is not None and not answer.started:
            await body.drain()
            answer.refused = lambda: None
            answer.added.append((b"connection", b"close"))
            await refusal(body.problem)(scope, body.receive, answer.send)

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Refuse foreign hosts and origins, unknown methods, paths in odd spellings, and closed parts of gradio."""
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._hosts.admits(host):
            raise UserError("E-WEB-HOST", "this server has another name", got=host, fix="open the printed address")
        origin = headers.get(b"origin")
        site = headers.get(b"sec-fetch-site", b"").decode("latin-1")
        foreign = origin is not None and not self._hosts.admits_origin(origin.decode("latin-1"), host)
        if foreign or (site in ("cross-site", "same-site") and scope["method"] not in ("GET", "HEAD")):
            raise UserError("E-WEB-ORIGIN", "requests from other pages are refused", fix="open the printed address")
        if scope["method"] not in METHODS:
            raise UserError(
                "E-WEB-METHOD", "this method is not served", got=scope["method"], expected=" ".join(METHODS)
            )
        if not _is_plain(scope) or _is_closed(scope["path"]):
            raise not_found()

    def _check_rate(self, scope: Scope, owner: str | None) -> None:
        client = scope.get("client") or ("?", 0)
        if not scope["path"].startswith(_FREE) and not self._rates.admits(owner or str(client[0])):
            raise UserError("E-WEB-RATE", "too many requests", fix="wait some seconds")

    def _body_limit(self, path: str) -> int:
        return self._limits.upload if path == _UPLOAD else self._limits.json_body


class _Answer:
    """Sends one answer with our headers; drops the app's own when its body had to be refused."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.added: list[tuple[bytes, bytes]] = []
        self.started = False
        self.refused: Callable[[], UserError | None] = lambda: None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self.refused() is not None:
                return
            self.started = True
            kept = [(k, v) for k, v in message.get("headers", []) if not _is_ours(k.lower())]
            message = {**message, "headers": [*kept, *SECURITY_HEADERS, *self.added]}
        if self.started:
            await self._send(message)

    async def fail(self, scope: Scope) -> None:
        """Answer 500 without a word about why, if nothing was answered yet."""
        if not self.started:
            error = UserError("E-BUG", "this should not have happened", fix="report it")
            answer = refusal(error)
            answer.status_code = 500
            await answer(scope, _nothing, self.send)


def _is_ours(name: bytes) -> bool:
    return name in _REPLACED or name.startswith(b"access-control-")


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _headers_of(scope: Scope) -> dict[bytes, bytes]:
    return {name.lower(): value for name, value in scope["headers"]}


def _is_plain(scope: Scope) -> bool:
    """Whether a path is spelt in the one plain way: printable, no empty or dotted parts, nothing encoded twice."""
    path, raw = scope["path"], scope.get("raw_path", b"").split(b"?")[0].lower()
    if len(raw) > _LONGEST_PATH or not path.startswith("/") or not path.isprintable():
        return False
    if any(code in raw for code in (b"%2f", b"%5c", b"%00", b"%2e", b"\\")) or "%" in path or "\\" in path:
        return False
    parts = path[1:].split("/")
    return all(part not in (".", "..") for part in parts) and "" not in parts[:-1] and "\ufffd" not in path


def _is_closed(path: str) -> bool:
    return path.startswith(CLOSED) and not path.startswith(_OPEN)
