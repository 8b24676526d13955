"""Products of three lines: the CP factors of TensoRF (Chen et al. 2022, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cuda_ext import Adam, product_lookup

from ..lowrank import Lines, factors_of
from ..planes import resample_lines
from .base import Backend, Target
from .factored import FactoredBackend, FactoredConfig

_FINEST_FIT = 64  # vertices along an axis that a start in closed form looks at, at most
_INITIAL = 0.2  # standard deviation of channel 0 of a new field


@dataclass(frozen=True)
class CPConfig(FactoredConfig):
    """Components of density and of colour, and the lines' resolution at the start and the end."""

    density: int = 128
    color: int = 128
    start: int = 96
    resolution: int = 256


class CPBackend(FactoredBackend):
    """Density is the sum of its components, colour features are linear in theirs (equation 6)."""

    Config = CPConfig
    groups = 1
    PRESETS: ClassVar[Mapping[str, CPConfig]] = {
        "tiny": CPConfig(density=16, color=32, start=32, resolution=64),
        "small": CPConfig(),
        "paper": CPConfig(density=96, color=288, start=128, resolution=500),
    }
    taught_rate = 4.0

    def __init__(self, config: CPConfig) -> None:
        super().__init__()
        self.config, self.width = config, 1 + config.appearance
        # Products of three normal numbers of deviation s deviate by s^3, sums of D of them by sqrt(D) s^3.
        deviation = (_INITIAL / config.density**0.5) ** (1 / 3)
        self.lines = nn.Parameter(deviation * torch.randn(3, config.start, config.density + config.color))
        self._add_projection()
        self._sink: Tensor | None = None

    def features(self, u: Tensor) -> Tensor:
        """Features [N, 1 + A] at u [N, 3]."""
        return self._projected(product_lookup(self.lines, u, line_sink=self._sink))  # of [N, density + color]

    @torch.no_grad()
    def begin_from(self, target: Target, cells: Tensor) -> str:
        """Factors of the target's values at a grid's vertices, at this backend's final resolution."""
        config = self.config
        finest = min(config.resolution, _FINEST_FIT)
        bases = self.offset.new_ones(config.density, 1), self.basis.view(config.color, config.appearance)
        density, color, offset = factors_of(Lines, target, cells, finest, bases)
        self.lines = nn.Parameter(resample_lines(torch.cat([density.lines, color.lines], dim=2), config.resolution))
        self.basis.copy_(color.basis.reshape(-1))
        self.offset.copy_(offset)
        return "alternating least squares"

    @torch.no_grad()
    def begin_at_zero(self) -> None:
        self.lines[0] = 0

    @torch.no_grad()
    def resample_from(self, other: Backend) -> bool:
        """The other's components, and new ones that are zero."""
        if not isinstance(other, CPBackend) or not self._holds(other):
            return False
        size = self.config.resolution
        lines = resample_lines(self.lines, size)
        lines[0] = 0
        for place, theirs in self._places(other):
            lines[..., place] = resample_lines(other.lines[..., theirs], size)
        self.lines = nn.Parameter(lines)
        self._take_projection(other)
        return True

    def attach(self, optimiser: Adam | None) -> None:
        self._sink = optimiser.gradient(self.lines) if optimiser else None
