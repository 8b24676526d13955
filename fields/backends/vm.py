"""Planes times lines: the vector-matrix factors of TensoRF (Chen et al. 2022, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cuda_ext import Adam, ParameterGroup, line_lookup, mlp, triplane_lookup

from ..appearance import init_weights
from ..lowrank import PlanesAndLines, factors_of
from ..planes import resample_lines, resample_planes, resolution_at
from .base import Backend, Target

_FINEST_FIT = 160  # vertices along an axis that a start in closed form looks at, at most
_INITIAL = 0.1  # standard deviation of new factors: products start near zero, gradients do not


@dataclass(frozen=True)
class VMConfig:
    """Components of each of the three pairs of plane and line, and their resolution at the start and end."""

    density: int = 8
    color: int = 16
    start: int = 64
    resolution: int = 160
    appearance: int = 15

    def __post_init__(self) -> None:
        if min(self.density, self.color) < 1 or not 2 <= self.start <= self.resolution <= 4096:
            raise ValueError("vm: density and color at least 1, 2 <= start <= resolution <= 4096")


class VMBackend(Backend):
    """Density is the sum of its components, colour features are linear in theirs (equations 7 and 8)."""

    Config = VMConfig
    PRESETS: ClassVar[Mapping[str, VMConfig]] = {
        "tiny": VMConfig(density=4, color=8, start=32, resolution=64),
        "small": VMConfig(),
        "paper": VMConfig(density=16, color=48, start=128, resolution=300),
    }
    taught_rate = 2.0

    _density: Tensor

    def __init__(self, config: VMConfig) -> None:
        super().__init__()
        self.config, self.width = config, 1 + config.appearance
        channels, size = config.density + config.color, config.start
        self.planes = nn.Parameter(_INITIAL * torch.randn(3, size, size, channels))
        self.lines = nn.Parameter(_INITIAL * torch.randn(3, size, channels))
        self.basis = nn.Parameter(init_weights((3 * config.color, config.appearance)))
        self.offset = nn.Parameter(torch.zeros(self.width))
        density = torch.zeros(3, config.density, self.width)
        density[:, :, 0] = 1
        self.register_buffer("_density", density, persistent=False)
        self._sinks: tuple[Tensor | None, Tensor | None] = (None, None)

    def features(self, u: Tensor) -> Tensor:
        """Features [N, 1 + A] at u [N, 3]."""
        plane = triplane_lookup(self.planes, u, self._sinks[0])
        line = line_lookup(self.lines, u, self._sinks[1])
        products = (plane * line).flatten(1)  # [N, 3 * (density + color)]
        return mlp(products, self._weights(), (products.shape[1], self.width)) + self.offset

    def _weights(self) -> Tensor:
        """One matrix that sums the density components into channel 0 and maps the others to appearance."""
        color = self.basis.view(3, self.config.color, self.config.appearance)
        return torch.cat([self._density, nn.functional.pad(color, (1, 0))], dim=1).reshape(-1)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup([self.planes, self.lines], 2e-2, skip_untouched=True),
            ParameterGroup([self.basis, self.offset], 5e-3),
        ]

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
        """The other's components, and new ones that are zero; leaving any out would cost more than to fit anew."""
        if not isinstance(other, VMBackend) or other.width != self.width:
            return False
        theirs, own, size = other.config, self.config, self.config.resolution
        if theirs.density > own.density or theirs.color > own.color:
            return False
        planes, lines = resample_planes(self.planes, size), torch.zeros_like(resample_lines(self.lines, size))
        for first, begin, count in ((0, 0, theirs.density), (own.density, theirs.density, theirs.color)):
            planes[..., first : first + count] = resample_planes(other.planes[..., begin : begin + count], size)
            lines[..., first : first + count] = resample_lines(other.lines[..., begin : begin + count], size)
        self.planes, self.lines = nn.Parameter(planes), nn.Parameter(lines)
        self.basis.view(3, own.color, -1)[:, : theirs.color] = other.basis.view(3, theirs.color, -1)
        self.offset.copy_(other.offset)
        return True

    def attach(self, optimiser: Adam | None) -> None:
        self._sinks = (None, None)
        if optimiser:
            self._sinks = optimiser.gradient(self.planes), optimiser.gradient(self.lines)

    def grow(self, fraction: float) -> bool:
        size = resolution_at(fraction, self.config.start, self.config.resolution)
        if size <= self.lines.shape[1]:
            return False
        self.attach(None)
        self.planes = nn.Parameter(resample_planes(self.planes, size))
        self.lines = nn.Parameter(resample_lines(self.lines, size))
        return True

    def resize_like(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        size = shapes.get("lines", self.lines.shape)[1:2]
        if size and self.config.start <= size[0] <= self.config.resolution:
            self.attach(None)
            self.planes = nn.Parameter(self.planes.new_zeros(3, size[0], size[0], self.planes.shape[3]))
            self.lines = nn.Parameter(self.lines.new_zeros(3, size[0], self.lines.shape[2]))
