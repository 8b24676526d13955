"""What products of lines and planes share: channels of density are summed, those of colour mapped (TensoRF).

Chen et al. 2022, "TensoRF: Tensorial Radiance Fields", section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cuda_ext import ParameterGroup, mlp

from ..appearance import init_weights
from ..planes import resample_lines, resolution_at
from .base import Backend


@dataclass(frozen=True)
class FactoredConfig:
    """Components of density and of colour, and the factors' resolution at the start and the end."""

    density: int
    color: int
    start: int
    resolution: int
    appearance: int = 15

    def __post_init__(self) -> None:
        if min(self.density, self.color) < 1 or not 2 <= self.start <= self.resolution <= 4096:
            raise ValueError("density and color at least 1, 2 <= start <= resolution <= 4096")


class FactoredBackend(Backend):
    """`groups` products of factors, each with the components of density before those of colour."""

    groups: ClassVar[int]

    config: FactoredConfig
    lines: nn.Parameter  # [3, R, components]
    _density: Tensor

    def _add_projection(self) -> None:
        """What makes features of products; called after the factors were made."""
        config = self.config
        self.basis = nn.Parameter(init_weights((self.groups * config.color, config.appearance)))
        self.offset = nn.Parameter(torch.zeros(self.width))
        density = torch.zeros(self.groups, config.density, self.width)
        density[:, :, 0] = 1
        self.register_buffer("_density", density, persistent=False)

    def _projected(self, products: Tensor) -> Tensor:
        """Features [N, 1 + A] of products [N, groups * (density + color)].

        One matrix sums the density components into channel 0 and maps the others to appearance.
        """
        color = self._bases()
        weights = torch.cat([self._density, nn.functional.pad(color, (1, 0))], dim=1).reshape(-1)
        return mlp(products, weights, (products.shape[1], self.width)) + self.offset

    def _bases(self) -> Tensor:
        """The appearance of colour components [groups, color, A]."""
        return self.basis.view(self.groups, self.config.color, self.config.appearance)

    def factors(self) -> list[nn.Parameter]:
        """The parameters that live in space."""
        return [self.lines]

    def parameter_groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup([*self.factors()], 2e-2, skip_untouched=True),
            ParameterGroup([self.basis, self.offset], 5e-3),
        ]

    def _holds(self, other: FactoredBackend) -> bool:
        """Whether every component of the other has a place here: leaving any out would cost more than to fit anew."""
        theirs, own = other.config, self.config
        return other.width == self.width and theirs.density <= own.density and theirs.color <= own.color

    def _places(self, other: FactoredBackend) -> list[tuple[slice, slice]]:
        """Where the other's density and colour components go, and where they stand there."""
        theirs, first = other.config, self.config.density
        return [
            (slice(theirs.density), slice(theirs.density)),
            (slice(first, first + theirs.color), slice(theirs.density, theirs.density + theirs.color)),
        ]

    def _take_projection(self, other: FactoredBackend) -> None:
        self._bases()[:, : other.config.color] = other._bases()
        self.offset.copy_(other.offset)

    def grow(self, fraction: float) -> bool:
        size = resolution_at(fraction, self.config.start, self.config.resolution)
        if size <= self.lines.shape[1]:
            return False
        self.attach(None)
        self._resample(size)
        return True

    def resize_like(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        size = shapes.get("lines", self.lines.shape)[1:2]
        if size and self.config.start <= size[0] <= self.config.resolution:
            self.attach(None)
            self._resample(size[0])

    def _resample(self, size: int) -> None:
        """The factors at another resolution."""
        self.lines = nn.Parameter(resample_lines(self.lines, size))
