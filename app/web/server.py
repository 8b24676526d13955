"""The server: pages, routes and the guard around them, listening on this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute

from fields.errors import UserError
from fields.folder_lock import FolderLock

from . import api, assets, files, looking, uploads
from .guard import App, Guard
from .hosts import LOOPBACK, Hosts, is_loopback
from .limits import Limits
from .owner import Owners
from .service import Service, serve_with

if TYPE_CHECKING:
    from gradio import Blocks

PORT = 7860
_PORTS_TRIED = 20
Make = Callable[[dict[str, Any]], "Blocks"]


@dataclass(frozen=True)
class Address:
    """Where to listen; `names` are further names that a public server answers to."""

    host: str = "127.0.0.1"
    port: int = PORT
    public: bool = False
    names: tuple[str, ...] = ()

    @property
    def hosts(self) -> Hosts:
        """What a Host header may say."""
        return Hosts((*LOOPBACK, self.host, *(name.lower() for name in self.names)), self.public)


def build(service: Service, hosts: Hosts, pages: Make | None = None) -> App:
    """The whole application around a service; `pages` makes them of its choices, `app.web.ui` does without it."""
    from fastapi import FastAPI

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        withdraw = serve_with(service)
        service.supervisor.start()
        try:
            yield
        finally:
            withdraw()
            looker.close()
            service.close()

    looker = looking.Looker(service.limits)
    found: list[BaseRoute] = [
        *assets.routes(),
        *files.routes(service),
        *uploads.routes(service),
        *looking.routes(service, looker),
    ]
    found += api.routes(service)  # the last: it answers whatever else is asked below /api
    app: Any = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=life, routes=found)
    app = _with_pages(app, service, pages)
    return Guard(app, Owners.kept_in(service.places.root), hosts, service.limits)


def _with_pages(app: Any, service: Service, make: Make | None) -> Any:
    """Gradio's application mounted at /, told to keep to itself."""
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1")
    import gradio

    from . import ui
    from .endpoints import register

    blocks = (make or ui.build)(service.choices())
    with blocks:
        register(service)
    return gradio.mount_gradio_app(
        app, blocks, path="/", head=ui.head(assets.address()), footer_links=[], run_history=False, show_error=False,
        ssr_mode=False, enable_monitoring=False, mcp_server=False, max_file_size="1kb",
    )  # fmt: skip


def check_address(address: Address) -> None:
    """Refuse to be reached from other machines unless that is meant.

    Raises:
        UserError: `E-USAGE-HOST`.
    """
    if not is_loopback(address.host) and not address.public:
        raise UserError(
            "E-USAGE-HOST",
            "everybody who reaches this address could use this machine",
            where="--host",
            got=address.host,
            expected="127.0.0.1",
            fix="leave --host out, or add --i-know",
        )


def listen(address: Address) -> socket.socket:
    """A listening socket; a port in use gives way to the next free one, port 0 to any.

    Raises:
        UserError: `E-ENV-PORT`.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    tried = range(address.port, min(address.port + _PORTS_TRIED, 65_536)) if address.port else (0,)
    problem: OSError | None = None
    for port in tried:
        found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio then sends without delay
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((address.host, port))
            found.listen(256)
            return found
        except OSError as error:
            found.close()
            problem = error
    raise UserError("E-ENV-PORT", "cannot listen", where=f"{address.host}:{address.port}",
                    got=problem.strerror if problem else "", expected="a free port", fix="use --port 0")  # fmt: skip


@contextlib.contextmanager
def _empty_folder() -> Any:
    """Work in an empty folder meanwhile: gradio serves files of the working directory in some cases."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="fieldscape-app-") as folder:
        os.chdir(folder)
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield
        finally:
            os.chdir(before)


def run(address: Address, root: Path, limits: Limits, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C; `say` is told the address that opens.

    Raises:
        UserError: `E-USAGE-HOST`, `E-ENV-PORT`, `E-ENV-WRITE`, `E-ENV-LOCK` when a server uses this state already.
    """
    import uvicorn

    from .patience import PatientProtocol

    check_address(address)
    root = root.absolute()
    listening = listen(address)
    with contextlib.closing(listening), locked(root), _empty_folder():
        app = build(Service(root, limits), address.hosts)
        port = listening.getsockname()[1]
        if address.port not in (0, port):
            say(f"port {address.port} is in use")
        name = f"[{address.host}]" if ":" in address.host else address.host
        say(f"open http://{'127.0.0.1' if address.host == '0.0.0.0' else name}:{port} in a browser; Ctrl-C ends it")
        config = uvicorn.Config(
            app, http=PatientProtocol, ws="none", log_level="warning", access_log=False, server_header=False,
            date_header=False, proxy_headers=False, limit_concurrency=limits.connections, timeout_graceful_shutdown=2,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listening])


@contextlib.contextmanager
def locked(root: Path) -> Any:
    """The state folder, made private and held by this process."""
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UserError("E-ENV-WRITE", "cannot make the state folder", where=root, got=error.strerror,
                        expected="a writable place", fix="choose another --state") from None  # fmt: skip
    with FolderLock(root):
        yield
