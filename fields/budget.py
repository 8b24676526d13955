"""How long a job may run: seconds, steps, or whichever ends first."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import UserError


@dataclass(frozen=True)
class Budget:
    """At least one limit; schedules follow the fraction of it that is spent."""

    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is None and self.steps is None:
            raise ValueError("a budget needs seconds or steps")
        for value in (self.seconds, self.steps):
            if value is not None and not value > 0:
                raise UserError(
                    "E-USAGE-BUDGET",
                    "budget must be positive",
                    got=value,
                    expected="more than 0",
                    fix="give --time 60s or --steps 1000",
                )

    def fraction(self, step: int, elapsed: float) -> float:
        """Share of the budget spent after `step` steps and `elapsed` seconds, in [0, 1]."""
        spent = [0.0]
        if self.seconds is not None:
            spent.append(elapsed / self.seconds)
        if self.steps is not None:
            spent.append(step / self.steps)
        return min(1.0, max(spent))

    def done(self, step: int, elapsed: float) -> bool:
        return self.fraction(step, elapsed) >= 1.0

    def times(self, factor: int) -> Budget:
        """A budget that many times as large."""
        return Budget(
            None if self.seconds is None else factor * self.seconds, None if self.steps is None else factor * self.steps
        )

    def remaining(self, step: int, elapsed: float) -> float:
        """Estimated seconds to go."""
        fraction = self.fraction(step, elapsed)
        return elapsed * (1 - fraction) / fraction if fraction > 0 else float(self.seconds or 0.0)


def decayed_rate(fraction: float, hold: float = 0.8, last: float = 0.03) -> float:
    """Learning-rate factor: 1 for the first `hold` of the run, then exponential down to `last`.

    Held so long, short runs learn most: what an early decay would settle is settled by the last fifth as well.
    """
    if fraction <= hold:
        return 1.0
    return last ** ((fraction - hold) / (1 - hold))
