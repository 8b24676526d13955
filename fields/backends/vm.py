"""Planes times lines: the vector-matrix factors of TensoRF (Chen et al. 2022, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cuda_ext import Adam, product_lookup

from ..lowrank import PlanesAndLines, factors_of
from ..planes import resample_lines, resample_planes
from .base import Backend, Target
from .factored import FactoredBackend, FactoredConfig

_FINEST_FIT = 96  # vertices along an axis that a start in closed form looks at: more take longer than they bring
_INITIAL = 0.1  # standard deviation of new factors: products start near zero, gradients do not


@dataclass(frozen=True)
class VMConfig(FactoredConfig):
    """Components of each of the three pairs of plane and line, and their resolution at the start and end."""

    density: int = 8
    color: int = 16
    start: int = 64
    resolution: int = 240


class VMBackend(FactoredBackend):
    """Density is the sum of its components, colour features are linear in theirs (equations 7 and 8)."""

    Config = VMConfig
    groups = 3
    PRESETS: ClassVar[Mapping[str, VMConfig]] = {
        "tiny": VMConfig(density=4, color=8, start=32, resolution=64),
        "small": VMConfig(),
        "paper": VMConfig(density=16, color=48, start=128, resolution=300),
    }
    taught_rate = 2.0

    def __init__(self, config: VMConfig) -> None:
        super().__init__()
        self.config, self.width = config, 1 + config.appearance
        channels, size = config.density + config.color, config.start
        self.planes = nn.Parameter(_INITIAL * torch.randn(3, size, size, channels))
        self.lines = nn.Parameter(_INITIAL * torch.randn(3, size, channels))
        self._add_projection()
        self._sinks: tuple[Tensor | None, Tensor | None] = (None, None)

    def features(self, u: Tensor) -> Tensor:
        """Features [N, 1 + A] at u [N, 3]."""
        products = product_lookup(self.lines, u, self.planes, *self._sinks)  # [N, 3, density + color]
        return self._projected(products.flatten(1))

    def factors(self) -> list[nn.Parameter]:
        return [self.planes, self.lines]

    @torch.no_grad()
    def begin_from(self, target: Target, cells: Tensor) -> str:
        """Factors of the target's values at a grid's vertices, at this backend's final resolution."""
        config = self.config
        finest = min(config.resolution, _FINEST_FIT)
        bases = self.offset.new_ones(3 * config.density, 1), self.basis.view(-1, config.appearance)
        density, color, offset = factors_of(PlanesAndLines, target, cells, finest, bases)
        planes = torch.cat([density.planes, color.planes], dim=2).unflatten(1, (density.observed.size, -1))
        self.planes = nn.Parameter(resample_planes(planes, config.resolution))
        self.lines = nn.Parameter(resample_lines(torch.cat([density.lines, color.lines], dim=2), config.resolution))
        self.basis.copy_(color.basis.reshape(-1))
        self.offset.copy_(offset)
        return "alternating least squares"

    @torch.no_grad()
    def begin_at_zero(self) -> None:
        self.lines.zero_()

    @torch.no_grad()
    def resample_from(self, other: Backend) -> bool:
        """The other's components, and new ones that are zero."""
        if not isinstance(other, VMBackend) or not self._holds(other):
            return False
        size = self.config.resolution
        planes, lines = resample_planes(self.planes, size), torch.zeros_like(resample_lines(self.lines, size))
        for place, theirs in self._places(other):
            planes[..., place] = resample_planes(other.planes[..., theirs], size)
            lines[..., place] = resample_lines(other.lines[..., theirs], size)
        self.planes, self.lines = nn.Parameter(planes), nn.Parameter(lines)
        self._take_projection(other)
        return True

    def attach(self, optimiser: Adam | None) -> None:
        self._sinks = (None, None)
        if optimiser:
            self._sinks = optimiser.gradient(self.lines), optimiser.gradient(self.planes)

    def _resample(self, size: int) -> None:
        self.planes = nn.Parameter(resample_planes(self.planes, size))
        super()._resample(size)
