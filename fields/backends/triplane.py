"""Three feature planes and a small network.

Chan et al. 2022, "Efficient Geometry-aware 3D Generative Adversarial Networks", section 3.2; products of
planes: Fridovich-Keil et al. 2023, "K-Planes", section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from cuda_ext import Adam, ParameterGroup, mlp, triplane_lookup
from cuda_ext.mlp import split_weights

from ..appearance import init_weights
from ..planes import resample_planes, resolution_at
from .base import Backend

_WEIGHT_RATE = 1e-2


@dataclass(frozen=True)
class TriplaneConfig:
    """Channels of each plane, how three become one ("sum", "concat", "product"), and the network behind."""

    channels: int = 32
    start: int = 64
    resolution: int = 192
    combine: str = "concat"
    hidden: int = 64
    layers: int = 1
    appearance: int = 15

    def __post_init__(self) -> None:
        if self.combine not in ("sum", "concat", "product"):
            raise ValueError(f"triplane: combine {self.combine}, expected sum, concat or product")
        if min(self.channels, self.layers, self.hidden) < 1 or not 2 <= self.start <= self.resolution <= 4096:
            raise ValueError("triplane: sizes at least 1, 2 <= start <= resolution <= 4096")


class TriplaneBackend(Backend):
    """Plane features, combined, through a network of `layers` hidden layers, without bias."""

    Config = TriplaneConfig
    PRESETS: ClassVar[Mapping[str, TriplaneConfig]] = {
        "tiny": TriplaneConfig(channels=16, start=32, resolution=64, hidden=32),
        "small": TriplaneConfig(),
        "paper": TriplaneConfig(start=128, resolution=256, layers=2),
    }
    taught_rate = 4.0

    def __init__(self, config: TriplaneConfig) -> None:
        super().__init__()
        self.config, self.width = config, 1 + config.appearance
        self.planes = nn.Parameter(_initial_planes(config))
        inputs = config.channels * (3 if config.combine == "concat" else 1)
        self.widths = (inputs, *[config.hidden] * config.layers, self.width)
        self.weights = nn.Parameter(init_weights(self.widths))
        self._sink: Tensor | None = None

    def features(self, u: Tensor) -> Tensor:
        """Features [N, 1 + A] at u [N, 3]."""
        return mlp(self._combined(triplane_lookup(self.planes, u, self._sink)), self.weights, self.widths)

    def _combined(self, planes: Tensor) -> Tensor:
        if self.config.combine == "concat":
            return planes.flatten(1)
        xy, xz, yz = planes.unbind(1)
        return xy + xz + yz if self.config.combine == "sum" else xy * xz * yz

    def parameter_groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup([self.planes], 1e-2, skip_untouched=True),
            ParameterGroup([self.weights], _WEIGHT_RATE, matrices=partial(split_weights, widths=self.widths)),
        ]

    @torch.no_grad()
    def begin_as_distance(self) -> None:
        """One feature starts at 1 everywhere, as the network has no bias (see `HashBackend`)."""
        self.planes[..., 0] = 1 / 3 if self.config.combine == "sum" else 1.0
        *hidden, last = split_weights(self.weights, self.widths)
        inputs = torch.arange(self.widths[0], device=self.weights.device)
        h = (inputs % self.config.channels == 0).float()
        for matrix in hidden:
            h = torch.relu(h @ matrix)
        last[:, 0] -= h * (h @ last[:, 0]) / (h @ h).clamp_min(1e-12)  # the constant moves no distance yet

    @torch.no_grad()
    def begin_at_zero(self) -> None:
        split_weights(self.weights, self.widths)[-1].zero_()

    @torch.no_grad()
    def resample_from(self, other: Backend) -> bool:
        """The other's planes and network, if only resolutions differ."""
        if not isinstance(other, TriplaneBackend):
            return False
        resolution = self.config.resolution
        if replace(other.config, start=self.config.start, resolution=resolution) != self.config:
            return False
        self.planes = nn.Parameter(resample_planes(other.planes, resolution))
        self.weights.copy_(other.weights)
        return True

    def attach(self, optimiser: Adam | None) -> None:
        self._sink = optimiser.gradient(self.planes) if optimiser else None

    def grow(self, fraction: float) -> bool:
        size = resolution_at(fraction, self.config.start, self.config.resolution)
        if size <= self.planes.shape[1]:
            return False
        self.attach(None)
        self.planes = nn.Parameter(resample_planes(self.planes, size))
        return True

    def resize_like(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        size = shapes.get("planes", self.planes.shape)[1:2]
        if size and self.config.start <= size[0] <= self.config.resolution:
            self.attach(None)
            self.planes = nn.Parameter(self.planes.new_zeros(3, size[0], size[0], self.config.channels))


def _initial_planes(config: TriplaneConfig) -> Tensor:
    shape = (3, config.start, config.start, config.channels)
    if config.combine == "product":  # around one, so that each plane has a gradient from the start
        return 1 + 0.3 * torch.randn(shape)
    return 0.1 * torch.randn(shape)
