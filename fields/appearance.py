"""From appearance features and view directions to colour."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from cuda_ext import ParameterGroup, mlp, spherical_harmonics, weight_count

_DIRECTION_DEGREE = 4
_COLOR_BASE = 0.28209479177387814  # the constant harmonic


def init_weights(widths: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Flat weights for `cuda_ext.mlp`, every matrix uniform within sqrt(6 / (in + out)) (Glorot 2010)."""
    parts = [(torch.rand(a * b, generator=generator) * 2 - 1) * math.sqrt(6 / (a + b)) for a, b in pairwise(widths)]
    return torch.cat(parts)


class ViewMLP(nn.Module):
    """Features [A] and the view direction in harmonics of degree 4, through a small network (Instant-NGP)."""

    degree = _DIRECTION_DEGREE

    def __init__(self, channels: int, hidden: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.widths = (channels + _DIRECTION_DEGREE**2, *[hidden] * layers, 3)
        self.weights = nn.Parameter(init_weights(self.widths))
        assert self.weights.numel() == weight_count(self.widths)

    def forward(self, features: Tensor, directions: Tensor, index: Tensor | None = None) -> Tensor:
        """rgb [N, 3] in (0, 1). `directions` [N, 3], or [R, 3] with `index` [N] choosing rows."""
        harmonics = spherical_harmonics(directions, self.degree)
        if index is not None:
            harmonics = harmonics.index_select(0, index)
        return torch.sigmoid(mlp(torch.cat([features, harmonics], dim=1), self.weights, self.widths))

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([self.weights], 5e-3, decay=1e-6)]


class SHColor(nn.Module):
    """Features are harmonic coefficients of each colour: no network (Plenoxels, section 3)."""

    widths: tuple[int, ...] = ()
    weights = None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.degree = math.isqrt(channels // 3)
        if 3 * self.degree**2 != channels:
            raise ValueError(f"SHColor: {channels} channels, expected 3, 12, 27 or 48")

    def forward(self, features: Tensor, directions: Tensor, index: Tensor | None = None) -> Tensor:
        """rgb [N, 3] in (0, 1). `directions` [N, 3], or [R, 3] with `index` [N] choosing rows."""
        harmonics = spherical_harmonics(directions, self.degree)
        if index is not None:
            harmonics = harmonics.index_select(0, index)
        coefficients = features.view(-1, 3, self.degree**2)
        return torch.sigmoid((coefficients * harmonics[:, None]).sum(dim=-1))

    def parameter_groups(self) -> list[ParameterGroup]:
        return []
