"""run.json: what a run did, with what, on what, for how long, and how well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .console import finite
from .hardware import hardware, peak_memory, versions

RECORD_FORMAT = 1


class Record:
    """The structured record of one run, kept while it goes on."""

    def __init__(
        self, command: str, settings: dict[str, Any], device: str, before: dict[str, Any] | None = None
    ) -> None:
        """`before` is the record that a resumed run goes on from: its seconds count."""
        self.values: dict[str, Any] = {
            "format": RECORD_FORMAT,
            "command": command,
            "status": "running",
            "settings": settings,
            "versions": versions(),
            "hardware": hardware(device),
            "seconds": dict((before or {}).get("seconds", {})),
            "metrics": {},
        }
        self._began: dict[str, float] = {}  # phases that go on

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to `seconds`."""
        self._began[name] = time.perf_counter()
        try:
            yield
        finally:
            self.values["seconds"][name] = self._seconds()[name]
            del self._began[name]

    def _seconds(self) -> dict[str, float]:
        """Of every phase, those that go on up to now: a run that is stopped has spent them too."""
        now, seconds = time.perf_counter(), self.values["seconds"]
        return seconds | {name: round(seconds.get(name, 0.0) + now - began, 3) for name, began in self._began.items()}

    def document(self, **more: Any) -> dict[str, Any]:
        """The record as it goes to run.json, with further values put in for good."""
        self.values.update(more)
        self.values["peak_memory_bytes"] = peak_memory()
        return finite({**self.values, "seconds": self._seconds()})
