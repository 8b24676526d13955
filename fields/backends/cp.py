"""Products of three lines: the CP factors of TensoRF (Chen et al. 2022, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cuda_ext import Adam, ParameterGroup, line_lookup, mlp

from ..appearance import init_weights
from ..lowrank import Lines, factors_of
from ..planes import resample_lines, resolution_at
from .base import Backend, Target

_FINEST_FIT = 128  # vertices along an axis that a start in closed form looks at, at most
_INITIAL = 0.2  # standard deviation of channel 0 of a new field


@dataclass(frozen=True)
class CPConfig:
    """Components of density and of colour, and the lines' resolution at the start and the end."""

    density: int = 32
    color: int = 64
    start: int = 96
    resolution: int = 256
    appearance: int = 15

    def __post_init__(self) -> None:
        if min(self.density, self.color) < 1 or not 2 <= self.start <= self.resolution <= 4096:
            raise ValueError("cp: density and color at least 1, 2 <= start <= resolution <= 4096")


class CPBackend(Backend):
    """Density is the sum of its components, colour features are linear in theirs (equation 6)."""

    Config = CPConfig
    PRESETS: ClassVar[Mapping[str, CPConfig]] = {
        "tiny": CPConfig(density=16, color=32, start=32, resolution=64),
        "small": CPConfig(),
        "paper": CPConfig(density=96, color=288, start=128, resolution=500),
    }
    taught_rate = 4.0

    _density: Tensor

    def __init__(self, config: CPConfig) -> None:
        super().__init__()
        self.config, self.width = config, 1 + config.appearance
        # Products of three normal numbers of deviation s deviate by s^3, sums of D of them by sqrt(D) s^3.
        deviation = (_INITIAL / config.density**0.5) ** (1 / 3)
        self.lines = nn.Parameter(deviation * torch.randn(3, config.start, config.density + config.color))
        self.basis = nn.Parameter(init_weights((config.color, config.appearance)))
        self.offset = nn.Parameter(torch.zeros(self.width))
        density = torch.zeros(config.density, self.width)
        density[:, 0] = 1
        self.register_buffer("_density", density, persistent=False)
        self._sink: Tensor | None = None

    def features(self, u: Tensor) -> Tensor:
        """Features [N, 1 + A] at u [N, 3]."""
        z, y, x = line_lookup(self.lines, u, self._sink).unbind(1)
        products = z * y * x  # [N, density + color]
        return mlp(products, self._weights(), (products.shape[1], self.width)) + self.offset

    def _weights(self) -> Tensor:
        """One matrix that sums the density components into channel 0 and maps the others to appearance."""
        color = self.basis.view(self.config.color, self.config.appearance)
        return torch.cat([self._density, nn.functional.pad(color, (1, 0))]).reshape(-1)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup([self.lines], 2e-2, skip_untouched=True),
            ParameterGroup([self.basis, self.offset], 5e-3),
        ]

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
        """The other's components, and new ones that are zero; leaving any out would cost more than to fit anew."""
        if not isinstance(other, CPBackend) or other.width != self.width:
            return False
        theirs, own, size = other.config, self.config, self.config.resolution
        if theirs.density > own.density or theirs.color > own.color:
            return False
        lines = resample_lines(self.lines, size)
        lines[0] = 0
        for first, begin, count in ((0, 0, theirs.density), (own.density, theirs.density, theirs.color)):
            lines[..., first : first + count] = resample_lines(other.lines[..., begin : begin + count], size)
        self.lines = nn.Parameter(lines)
        self.basis.view(own.color, -1)[: theirs.color] = other.basis.view(theirs.color, -1)
        self.offset.copy_(other.offset)
        return True

    def attach(self, optimiser: Adam | None) -> None:
        self._sink = optimiser.gradient(self.lines) if optimiser else None

    def grow(self, fraction: float) -> bool:
        size = resolution_at(fraction, self.config.start, self.config.resolution)
        if size <= self.lines.shape[1]:
            return False
        self.attach(None)
        self.lines = nn.Parameter(resample_lines(self.lines, size))
        return True

    def resize_like(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        size = shapes.get("lines", self.lines.shape)[1:2]
        if size and self.config.start <= size[0] <= self.config.resolution:
            self.attach(None)
            self.lines = nn.Parameter(self.lines.new_zeros(3, size[0], self.lines.shape[2]))
