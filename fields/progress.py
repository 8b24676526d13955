"""What long work tells while it runs: fit, distil, train and generate are generators of this."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Progress:
    """One report of a running job; `step` of `total` (0 when only time ends it)."""

    step: int
    total: int
    phase: str
    seconds: float = 0.0
    remaining: float = 0.0
    loss: float = float("nan")
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        """Share of the work done, in [0, 1]."""
        whole = self.seconds + self.remaining
        if self.total > 0:
            return min(1.0, self.step / self.total)
        return min(1.0, self.seconds / whole) if whole > 0 else 0.0


class Clock:
    """Makes reports with elapsed and remaining seconds for work in phases; starts when it is made."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._phase, self._phase_start = "", self._start
        self._last = self._start

    def report(self, step: int, total: int, phase: str) -> Progress:
        """A report that `step` of `total` equal parts of `phase` are done."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._phase_start = phase, self._last
        self._last = now
        remaining = (now - self._phase_start) / step * (total - step)
        return Progress(step, total, phase, now - self._start, remaining)


def finished(steps: Generator[Any, None, Result]) -> Result:
    """Run a generator to its end; its return value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
