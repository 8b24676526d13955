"""The process that does one job: `python -m app.web.jobs.worker`, its task on stdin, messages on stdout.

It ends by itself when stdin closes, which is when the server is gone; on SIGTERM it closes the job between two of
its steps, so that the job can store its state. Messages are JSON lines with one of the keys `progress`, `done`,
`failed` and `stopped`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from fields.errors import UserError

from ...console import finite, stop_requests
from ..answers import bug, described
from .kinds import Task, kind_of
from .model import told
from .parameters import checked

_REPORT_SECONDS = 0.15
_GRACE_SECONDS = 5.0  # for storing a state when the server is gone
_NICE = 10  # a job gives way to whatever somebody waits for
ATTENTIVE_NICE = 5  # and that to the server


def main() -> None:
    """Do the job that the first line of stdin tells."""
    order = json.loads(sys.stdin.readline())
    tell = _Channel(_take_stdout())
    limit(order["memory"], order["file_size"], _NICE)
    threading.Thread(target=_end_with_server, daemon=True).start()
    with stop_requests() as stopped:
        _do(order, tell, stopped)


def limit(memory: int, file_size: int, nice: int = ATTENTIVE_NICE) -> None:
    """Bound this process: address space, size of any file, no core dumps, low priority."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that is too large is an error of the write
    os.nice(nice)


def _do(order: dict[str, Any], tell: _Channel, stopped: Callable[[], bool]) -> None:
    try:
        done = _run(order, tell, stopped)
        tell.send("stopped" if done is None else "done", done)
    except UserError as error:
        tell.send("failed", described(error))
    except Exception as error:
        traceback.print_exc()
        tell.send("failed", _unexpected(error))


def _run(order: dict[str, Any], tell: _Channel, stopped: Callable[[], bool]) -> dict[str, Any] | None:
    """The job's result, None when it was asked to stop."""
    import torch

    torch.set_num_threads(order["threads"])
    kind = kind_of(order["kind"])
    out = Path(order["out"])
    resume = bool(order["resume"] and kind.trace and (out / kind.trace).is_file())
    if not resume:
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    task = Task(order["kind"], order["parameters"], order["inputs"], out, resume)
    steps = kind.load()(checked(kind.parameters, task.parameters), task)
    while True:
        try:
            tell.progress(told(next(steps)))
        except StopIteration as end:
            return finite(end.value)
        if stopped():
            steps.close()
            return None


class _Channel:
    """Messages to the server; progress only now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._sent, self._phase = 0.0, ""

    def progress(self, progress: dict[str, Any]) -> None:
        now = time.monotonic()
        if now - self._sent >= _REPORT_SECONDS or progress["phase"] != self._phase:
            self._sent, self._phase = now, progress["phase"]
            self.send("progress", progress)

    def send(self, name: str, value: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # the server is gone; the job stops by itself
            self._stream.write(json.dumps({name: value}, allow_nan=False) + "\n")
            self._stream.flush()


def _take_stdout() -> TextIO:
    """The stream of messages; whatever libraries print from now on goes to stderr."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def _end_with_server() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


def _unexpected(error: Exception) -> dict[str, Any]:
    """A failure that nobody foresaw; running out of memory is one that people can do something about."""
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        limit = UserError("E-LIMIT-MEMORY", "the job needs more memory than it may have",
                          fix="use a smaller preset, resolution or scene")  # fmt: skip
        return described(limit)
    return bug(error)


if __name__ == "__main__":
    main()
