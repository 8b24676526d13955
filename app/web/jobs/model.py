"""What a job is: its state, its progress and how both are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from fields.progress import Progress

from ...console import finite

State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
RESUMABLE: tuple[State, ...] = ("failed", "cancelled", "interrupted")
UPLOAD = "upload"  # the kind of a job that only holds what somebody sent


@dataclass(frozen=True)
class Job:
    """One row of the store; times are unix seconds."""

    id: str
    owner: str
    kind: str
    title: str
    parameters: dict[str, Any]
    state: State
    created: float
    started: float | None = None
    finished: float | None = None
    progress: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    key: str | None = None
    resume: bool = False  # go on with what its folder holds

    @property
    def resumable(self) -> bool:
        """Whether it may be queued once more."""
        return self.state in RESUMABLE and self.kind != UPLOAD


@dataclass
class Curve:
    """Loss and PSNR over the seconds of a job, thinned where it gets long."""

    most: int = 400
    points: list[list[float | None]] = field(default_factory=list)  # seconds, loss, psnr
    _every: int = 1
    _seen: int = 0

    def add(self, progress: dict[str, Any]) -> None:
        """A point of a report as `told` gives it, if it is of learning; what comes after has a clock of its own."""
        loss, psnr = progress["loss"], progress["metrics"].get("psnr")
        is_later = not self.points or progress["seconds"] >= (self.points[-1][0] or 0.0)
        if loss is None or not is_later:
            return
        self._seen += 1
        if self._seen % self._every:
            return
        self.points.append([progress["seconds"], loss, psnr])
        if len(self.points) >= self.most:
            self.points, self._every = self.points[1::2], 2 * self._every


def told(progress: Progress) -> dict[str, Any]:
    """A report as JSON values; numbers that are not finite are null."""
    return finite(
        {
            "phase": progress.phase,
            "step": progress.step,
            "total": progress.total,
            "fraction": round(progress.fraction, 4),
            "seconds": round(progress.seconds, 2),
            "remaining": round(progress.remaining, 2),
            "loss": progress.loss,
            "metrics": progress.metrics,
        }
    )
