"""What a distillation may vary."""

from __future__ import annotations

from dataclasses import dataclass

from ..cameras import Cameras

LEVELS = ("features", "values", "pixels")
ACTIVE = ("cameras", "rays", "points")


@dataclass(frozen=True)
class DistillOptions:
    """The defaults are the whole method; every part can be left out to see what it brings.

    `cameras`: where rays start; None takes random ones round the teacher's occupied space. `active`: what is drawn
    more often where student and teacher differ (PVD-AL). `volume`: also compare at points that rays may never see.
    `start`: begin in closed form where the student's backend has one. `colors`: whether the teacher has any; without,
    distances are learnt from points alone, no rays are drawn. `target_psnr`: end when rays are this close.
    """

    seed: int = 0
    cameras: Cameras | None = None
    near: float = 0.0
    active: tuple[str, ...] = ACTIVE
    volume: bool = True
    levels: tuple[str, ...] = LEVELS
    start: bool = True
    colors: bool = True
    target_psnr: float | None = None

    def __post_init__(self) -> None:
        if not set(self.active) <= set(ACTIVE):
            raise ValueError(f"active {self.active}, expected some of {ACTIVE}")
        if not self.levels or list(self.levels) != [level for level in LEVELS if level in self.levels]:
            raise ValueError(f"levels {self.levels}, expected some of {LEVELS} in this order")
