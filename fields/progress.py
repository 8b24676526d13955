"""What long work tells while it runs: fit, distil, train and generate are generators of this."""

from __future__ import annotations

from dataclasses import dataclass, field


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
