"""What a command tells people (lines, a progress bar) and machines (one JSON document)."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TextIO, TypeVar

from fields.progress import Progress
from fields.safeio import write_json

Result = TypeVar("Result")
_LINE_SECONDS = 10.0  # between two progress lines where there is no terminal
_BAR_SECONDS = 0.1


class Console:
    """One command's output.

    `json_to` is None (text for people), "-" (one JSON document on stdout and nothing else), or the path of
    a .json file that is written besides the text.
    """

    def __init__(self, json_to: str | None = None) -> None:
        self.json_to = json_to
        self.quiet = json_to == "-"

    def say(self, text: str = "") -> None:
        """A line on stdout for people."""
        if not self.quiet:
            emit(sys.stdout, text)

    def warn(self, text: str) -> None:
        """A line on stderr that people see in every mode."""
        emit(sys.stderr, text)

    def finish(self, document: dict[str, Any]) -> None:
        """The command's result, for machines.

        Raises:
            UserError: `E-ENV-DISK`, `E-ENV-WRITE` for a JSON file that cannot be written.
        """
        document = finite(document)
        if self.quiet:
            emit(sys.stdout, json.dumps(document, indent=2, allow_nan=False))
        elif self.json_to is not None:
            write_json(self.json_to, document)

    def run(self, steps: Generator[Progress, None, Result]) -> Result:
        """Run a job to its end with a bar (a line now and then where there is no terminal); its return value.

        Ctrl-C (or SIGTERM) closes the job between two of its steps, so that it can store its state; a
        second one ends it at once.

        Raises:
            KeyboardInterrupt: after the job was closed.
        """
        with self._display() as show, stop_requests() as stopped:
            while True:
                try:
                    show(next(steps))
                except StopIteration as end:
                    return end.value
                if stopped():
                    steps.close()
                    raise KeyboardInterrupt

    @contextlib.contextmanager
    def _display(self) -> Iterator[Any]:
        if self.quiet:
            yield lambda progress: None
        elif sys.stderr.isatty():
            with _Bar() as bar:
                yield bar.show
        else:
            lines = _Lines()
            yield lines.show


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Inside the block the first SIGINT or SIGTERM is only noted: the value says whether one came."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came: list[int] = []

    def note(number: int, _: Any) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def finite(value: Any) -> Any:
    """`value` with null in place of numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def emit(stream: TextIO, text: str) -> None:
    """Write a line; a reader that has gone away is not an error, and later lines go nowhere."""
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        silence(stream)


def silence(stream: TextIO) -> None:
    """Point a stream whose reader is gone at the null device, so that nothing fails on it any more."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, stream.fileno())
    finally:
        os.close(null)


def details(progress: Progress) -> str:
    """Loss and figures of a report, such as `loss 0.0021  psnr 26.8  31 k rays/s`."""
    parts = [f"loss {progress.loss:.3g}"] if math.isfinite(progress.loss) else []
    for name, value in progress.metrics.items():
        if not math.isfinite(value):
            continue
        parts.append(f"{name} {value:.2f} dB" if "psnr" in name else f"{quantity(value)} {name}")
    return "  ".join(parts)


def quantity(value: float) -> str:
    """A count with three significant digits: 937, 12.4 k, 3.3 M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g}"


def clock(seconds: float) -> str:
    """Seconds as people read them: 8 s, 1:05, 2:03:04."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    return f"{minutes}:{whole % 60:02}" if not hours else f"{hours}:{minutes % 60:02}:{whole % 60:02}"


class _Lines:
    """A line at the start of each phase, every ten seconds, and at its end."""

    def __init__(self) -> None:
        self._phase, self._last = "", 0.0

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        over = progress.fraction >= 1.0
        if progress.phase == self._phase and not over and now - self._last < _LINE_SECONDS:
            return
        self._phase, self._last = progress.phase, now
        text = f"{progress.phase} {progress.fraction:4.0%}  step {progress.step}  {clock(progress.seconds)}"
        text += "" if over else f", {clock(progress.remaining)} to go"
        emit(sys.stderr, "  ".join(part for part in (text, details(progress)) if part))


class _Bar:
    """A rich progress bar with phase, share, figures and estimated end."""

    def __enter__(self) -> _Bar:
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (
            TextColumn("{task.description:<9}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[eta]}"),
            TextColumn("[dim]{task.fields[figures]}"),
        )
        self._progress = Progress(*columns, console=Terminal(stderr=True), transient=True)
        self._tasks: dict[str, Any] = {}
        self._shown = 0.0
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        task = self._tasks.get(progress.phase)
        if task is None:
            task = self._progress.add_task(progress.phase, total=1.0, eta="", figures="")
            self._tasks[progress.phase] = task
        elif now - self._shown < _BAR_SECONDS and progress.fraction < 1.0:
            return
        self._shown = now
        eta = f"{clock(progress.seconds)} + {clock(progress.remaining)}"
        self._progress.update(task, completed=progress.fraction, eta=eta, figures=details(progress))
