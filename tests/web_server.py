"""A server of the web app for tests: in this process, with a bare page in place of the real ones."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from app.web.limits import Limits
from app.web.server import Address, build, listen
from app.web.service import Service

# Seconds that a machine, even one that does much else, may take for the little that a test waits for.
PATIENCE = 120.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
QUICK = Limits(
    cancel_seconds=0.5, submits_per_minute=10_000, requests_per_second=1e6, request_burst=10**6, threads=1,
    body_seconds=PATIENCE, reader_seconds=80, look_seconds=PATIENCE, disk_reserve=0,
)  # fmt: skip


@dataclass(frozen=True)
class Live:
    """A server that runs; `service` is what it serves."""

    port: int
    service: Service

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def visitor(self) -> Iterator[httpx.Client]:
        """Somebody with a cookie of their own."""
        with httpx.Client(base_url=self.address, timeout=PATIENCE) as client:
            client.get("/api/jobs")
            yield client

    def raw(self, content: bytes) -> bytes:
        """What the server sends back for bytes as they are, until it hangs up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(content)
            parts = []
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(1 << 16):
                    parts.append(part)
            return b"".join(parts)


def service_in(folder: Path, module: str = "tests.web_worker", **limits: Any) -> Service:
    """A service whose jobs are done by `module`."""
    service = Service(folder, replace(QUICK, **limits))
    service.supervisor._module = module
    return service


@contextlib.contextmanager
def serving(folder: Path, **limits: Any) -> Iterator[Live]:
    """A live server over a state folder."""
    import uvicorn

    from app.web.patience import PatientProtocol

    service = service_in(folder, **limits)
    address = Address(port=0)
    with contextlib.closing(listen(address)) as listening:
        with _leftovers_of_gradio():
            app = build(service, address.hosts, _bare_page)
        config = uvicorn.Config(app, http=PatientProtocol, ws="none", log_level="error", server_header=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            until(lambda: server.started)
            yield Live(listening.getsockname()[1], service)
        finally:
            with _leftovers_of_gradio():
                server.should_exit = True
                thread.join()


@contextlib.contextmanager
def _leftovers_of_gradio() -> Iterator[None]:
    """Gradio leaves event loops open: they are collected here, where the warnings about them are no error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
        asyncio.set_event_loop(None)
        gc.collect()


def until(true: Any) -> None:
    """Wait until `true()`; fail when that takes far too long."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def _bare_page(_: Any) -> Any:
    import gradio

    with gradio.Blocks(analytics_enabled=False) as page:
        gradio.Markdown("Fieldscape")
    return page
