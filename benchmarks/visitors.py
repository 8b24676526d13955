"""A server as users start it, and people who visit it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from .commands import ROOT

_WAIT_SECONDS = 900.0
_FINISHED = ("done", "failed", "cancelled", "interrupted")


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    address: str
    process: int

    @contextlib.contextmanager
    def visitors(self, count: int) -> Iterator[list[httpx.Client]]:
        """People with cookies of their own."""
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(self._client()) for _ in range(count)]
            for client in clients:
                client.get("/api/jobs").raise_for_status()
            yield clients

    @contextlib.contextmanager
    def visitor(self) -> Iterator[httpx.Client]:
        """One of them."""
        with self.visitors(1) as (client,):
            yield client

    def resident(self) -> int:
        """Bytes of memory that the server process holds."""
        words = Path(f"/proc/{self.process}/status").read_text().split()
        return 1024 * int(words[words.index("VmRSS:") + 1])

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=_WAIT_SECONDS)


@contextlib.contextmanager
def served() -> Iterator[Served]:
    """`fieldscape app` on a free port, with an empty state folder; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="fieldscape-bench-") as folder:
        words = [sys.executable, "-m", "app", "app", "--port", "0", "--state", folder, "--job-time", "30m"]
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                address = process.stdout.readline().split()[1]
                until(lambda: _answers(address))
                yield Served(address, process.pid)
            finally:
                process.terminate()
                process.wait()


def until(true: Callable[[], bool]) -> None:
    """Wait until `true()`.

    Raises:
        TimeoutError: after a quarter of an hour.
    """
    end = time.monotonic() + _WAIT_SECONDS
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.02)


def submit(client: httpx.Client, kind: str, **parameters: Any) -> str:
    """Ask for a job; its id."""
    answer = client.post("/api/jobs", json={"kind": kind, "parameters": parameters})
    answer.raise_for_status()
    return str(answer.json()["id"])


def told(client: httpx.Client, job: str) -> dict[str, Any]:
    """A job as it is."""
    found: dict[str, Any] = client.get(f"/api/jobs/{job}").raise_for_status().json()
    return found


def begun(client: httpx.Client, job: str) -> None:
    """Wait until a job runs."""
    until(lambda: told(client, job)["state"] == "running")


def finished(client: httpx.Client, job: str) -> dict[str, Any]:
    """A job when it is over."""
    until(lambda: told(client, job)["state"] in _FINISHED)
    return told(client, job)


@contextlib.contextmanager
def working(client: httpx.Client) -> Iterator[str]:
    """A long fit of the sample that has taken its first steps; it is cancelled after the block."""
    job = submit(client, "fit", source="sample", seconds=1700.0)
    until(lambda: ((told(client, job)["progress"] or {}).get("step") or 0) > 0)
    try:
        yield job
    finally:
        client.post(f"/api/jobs/{job}/cancel", json={}).raise_for_status()
        finished(client, job)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/api/jobs", timeout=_WAIT_SECONDS).is_success
    except httpx.TransportError:
        return False
