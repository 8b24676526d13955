"""One job at a time, in a process that can be killed; the server's thread that sees to it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fields.errors import UserError
from fields.safeio import read_json, write_json

from ..answers import described
from ..child import kill_group, start_module
from ..limits import Limits
from ..places import Places
from ..retention import sweep
from .kinds import KINDS
from .model import Curve, Job, State
from .records import settle_records
from .store import Store

WORKER = "app.web.jobs.worker"
_TICK = 0.1
_CURVE_SECONDS = 2.0
_WEIGH_SECONDS = 2.0  # between two looks at how much a running job's owner takes
_SWEEP_SECONDS = 3600.0
Why = Literal["", "cancelled", "interrupted", "time", "space"]
_log = logging.getLogger("fieldscape.web")


@dataclass
class _Run:
    """The job that runs now."""

    job: Job
    process: subprocess.Popen[bytes]
    ends: float  # monotonic time at which it has had its share
    asked: float | None = None  # when it was asked to stop
    why: Why = ""
    weighed: float = 0.0  # when its owner's files were counted
    outcome: dict[str, Any] = field(default_factory=dict)

    def ask_to_stop(self, why: Why) -> None:
        """Let it store its state and end."""
        if self.asked is None:
            self.asked, self.why = time.monotonic(), why
            kill_group(self.process, signal.SIGTERM)


class Supervisor:
    """Takes jobs from the store, one after the other."""

    def __init__(
        self,
        store: Store,
        places: Places,
        limits: Limits,
        inputs: Callable[[Job], dict[str, Path]],
        module: str = WORKER,
    ) -> None:
        self._store, self._places, self._limits, self._inputs = store, places, limits, inputs
        self._module = module
        self._wake, self._lock = threading.Event(), threading.Lock()
        self._closing = False
        self._run: _Run | None = None
        self._swept: float | None = None
        self._thread = threading.Thread(target=self._serve, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin to serve the queue."""
        for job in self._store.over_since(time.time()):
            if job.state == "interrupted":
                settle_records(self._places, job, "interrupted")
        self._thread.start()

    def wake(self) -> None:
        """Something was queued."""
        self._wake.set()

    def close(self) -> None:
        """Stop serving; the running job stores its state and is interrupted."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def cancel(self, identity: str) -> None:
        """Stop a running job and wait until it is over, which takes two seconds at most."""
        end = time.monotonic() + self._limits.cancel_seconds + 1.0
        while self._store.get(identity).state == "running" and time.monotonic() < end:
            with self._lock:
                if self._run is not None and self._run.job.id == identity:
                    self._run.ask_to_stop("cancelled")
            time.sleep(0.02)

    def _serve(self) -> None:
        while not self._closing:
            try:
                self._sweep()
                busy = self._serve_next()
            except (OSError, sqlite3.Error):  # such as a full disk, which somebody may make room on
                _log.exception("the queue could not be served")
                busy = False
            if not busy:
                self._wake.wait(1.0)
                self._wake.clear()

    def _serve_next(self) -> bool:
        """Do the next job, whatever comes of it; False when none waits."""
        job = self._store.take()
        if job is None:
            return False
        try:
            self._do(job)
        except Exception as error:
            self._fail(job, described(UserError("E-WORKER", "the job could not be started", got=error)))
        return True

    def _sweep(self) -> None:
        """Delete what is not kept, now and then."""
        now = time.monotonic()
        if self._swept is None or now - self._swept > _SWEEP_SECONDS:
            self._swept = now
            sweep(self._store, self._places, self._limits, time.time())

    def _do(self, job: Job) -> None:
        folder = self._places.folder(job.owner, job.id)
        order = self._order(job, folder)
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            process = start_module(self._module, folder, self._limits.threads, log)
        finally:
            os.close(log)
        run = _Run(job, process, time.monotonic() + self._limits.job_seconds)
        with self._lock:
            self._run = run
        try:
            self._follow(run, order, folder)
        finally:
            kill_group(process)
            process.wait()
            with self._lock:
                self._run = None
            _close(process)
        self._finish(run)

    def _order(self, job: Job, folder: Path) -> dict[str, Any]:
        """What the worker is told."""
        return {
            "kind": job.kind,
            "parameters": job.parameters,
            "inputs": {name: os.path.relpath(path, folder) for name, path in self._inputs(job).items()},
            "out": "out",  # the worker works in the job's folder: its records name no place on this machine
            "resume": job.resume,
            "memory": self._limits.job_memory,
            "file_size": self._limits.quota,
            "threads": self._limits.threads,
        }

    def _follow(self, run: _Run, order: dict[str, Any], folder: Path) -> None:
        """Send the task and take the worker's messages until it ends."""
        assert run.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            run.process.stdin.write(json.dumps(order).encode() + b"\n")
            run.process.stdin.flush()
        record = _Record(folder, run.job.resume)
        for message in _messages(run.process, lambda: self._watch(run)):
            if "progress" in message:
                self._store.report(run.job.id, message["progress"])
                record.add(message["progress"])
            else:
                run.outcome = message
        record.save()

    def _watch(self, run: _Run) -> None:
        """Between two messages: stop a job that is over its time or space, and kill one that does not stop."""
        now = time.monotonic()
        if self._closing:
            run.ask_to_stop("interrupted")
        elif now > run.ends:
            run.ask_to_stop("time")
        elif now - run.weighed > _WEIGH_SECONDS:
            run.weighed = now
            if self._is_full(run.job.owner):
                run.ask_to_stop("space")
        if run.asked is not None and now - run.asked > self._limits.cancel_seconds:
            kill_group(run.process)

    def _is_full(self, owner: str) -> bool:
        return self._places.used(owner) > self._limits.quota or self._places.free() < self._limits.disk_reserve

    def _finish(self, run: _Run) -> None:
        if "done" in run.outcome:
            self._store.end(run.job.id, "done", result=run.outcome["done"])
        elif run.why in ("cancelled", "interrupted"):
            self._end(run.job, run.why)
        elif "failed" in run.outcome:
            self._fail(run.job, run.outcome["failed"])
        else:
            self._fail(run.job, described(self._reason(run)))

    def _reason(self, run: _Run) -> UserError:
        """Why a job ended that told nothing itself."""
        if run.why == "time":
            return UserError("E-LIMIT-TIME", "the job took longer than a job may",
                             got=f"{self._limits.job_seconds:g} s", fix="go on with it, or ask for less")  # fmt: skip
        if run.why == "space":
            return UserError("E-WEB-QUOTA", "your files take too much space, so the job was stopped",
                             expected=f"at most {self._limits.quota / 1e6:.0f} MB",
                             fix="delete something in the library, then go on with it")  # fmt: skip
        return _crash(run.process.returncode)

    def _fail(self, job: Job, error: dict[str, Any]) -> None:
        self._end(job, "failed", error=error)

    def _end(self, job: Job, state: State, **more: Any) -> None:
        """A job is over without a result; its records say so before anybody hears of it."""
        settle_records(self._places, job, state)
        self._store.end(job.id, state, **more)


class _Record:
    """The curve of a job, kept beside its files."""

    def __init__(self, folder: Path, resume: bool) -> None:
        self._path = folder / "curve.json"
        points = read_json(self._path) if resume and self._path.is_file() else []
        self._curve, self._saved = Curve(points=points), time.monotonic()

    def add(self, progress: dict[str, Any]) -> None:
        self._curve.add(progress)
        if time.monotonic() - self._saved > _CURVE_SECONDS:
            self.save()

    def save(self) -> None:
        self._saved = time.monotonic()
        with contextlib.suppress(UserError):  # a full disk must not end the job
            write_json(self._path, self._curve.points)


def _messages(process: subprocess.Popen[bytes], between: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """The worker's messages as they come, until its stream ends; `between` is called ten times a second."""
    assert process.stdout is not None
    stream, rest = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            between()
            if not selector.select(_TICK):
                continue
            part = os.read(stream, 1 << 16)
            if not part:
                return
            *lines, rest = (rest + part).split(b"\n")
            yield from (json.loads(line) for line in lines)


def _crash(status: int | None) -> UserError:
    """What became of a worker that ended without a word."""
    got = signal.Signals(-status).name if status is not None and status < 0 else f"exit status {status}"
    return UserError("E-WORKER", "the job's process ended unexpectedly", got=got, fix="try again with less")


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def seconds_of(job: Job, store: Store) -> float | None:
    """How long a job probably takes: by its budget, or as its kind took before."""
    known = KINDS[job.kind].seconds(job.parameters) if job.kind in KINDS else None
    before = store.durations(job.kind)
    return known if known is not None else sum(before) / len(before) if before else None
