"""When a distillation goes from one level to the next: when it stops paying, or its share of the time is over."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .options import LEVELS

_WINDOW = 16  # steps whose mean loss is one observation
_PATIENCE = 6  # observations without a better one
_BETTER = 0.98
_WORST = 1e30  # a state holds finite numbers only


@dataclass(frozen=True)
class Level:
    """What counts at a level, and the share of the budget at which it ends at the latest."""

    end: float
    features: float
    geometry: float
    color: float
    pixels: float


WEIGHTS = {
    "features": Level(0.05, 0.03, 0.001, 0.0, 0.0),
    "values": Level(0.12, 0.01, 0.001, 0.1, 0.0),
    "pixels": Level(1.00, 0.017, 0.0017, 0.13, 1.0),
}


class Schedule:
    """Which of the chosen levels a run is in."""

    def __init__(self, levels: tuple[str, ...]) -> None:
        self.levels = levels
        self.place = 0
        self._sum, self._count = 0.0, 0
        self._best, self._since = _WORST, 0

    @property
    def name(self) -> str:
        return self.levels[self.place]

    @property
    def level(self) -> Level:
        """The weights at hand; what a level that was left out compares is not compared in later ones either."""
        level = WEIGHTS[self.name]
        values = "values" in self.levels
        return replace(
            level,
            features=level.features if "features" in self.levels else 0.0,
            geometry=level.geometry if values or self.name == "features" else 0.0,
            color=level.color if values else 0.0,
        )

    def follow(self, fraction: float, loss: float) -> None:
        """Take note of a step's loss at this fraction of the budget, and go on when the level has done its part."""
        self._sum, self._count = self._sum + loss, self._count + 1
        if self._count == _WINDOW:
            mean, self._sum, self._count = self._sum / _WINDOW, 0.0, 0
            self._since = 0 if mean < _BETTER * self._best else self._since + 1
            self._best = min(self._best, mean)
        if self.place + 1 < len(self.levels) and (fraction >= self.level.end or self._since >= _PATIENCE):
            self.place += 1
            self._sum, self._count, self._best, self._since = 0.0, 0, _WORST, 0

    def tensors(self) -> dict[str, Tensor]:
        """For a resumable checkpoint."""
        values = [self.place, self._sum, self._count, self._best, self._since]
        return {"values": torch.tensor(values, dtype=torch.float64)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from `tensors()`."""
        place, self._sum, count, self._best, since = tensors["values"].tolist()
        self.place, self._count, self._since = int(place), int(count), int(since)


__all__ = ["LEVELS", "WEIGHTS", "Level", "Schedule"]
