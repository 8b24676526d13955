"""Packed samples along rays: what samplers make and renderers consume."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """S intervals [start, end) of R rays, sorted by ray, then by distance."""

    ray: Tensor  # [S] int64
    start: Tensor  # [S] scene units along the ray
    end: Tensor  # [S]
    offsets: Tensor  # [R + 1] int64: samples of ray r are offsets[r] : offsets[r + 1]

    def __len__(self) -> int:
        return self.ray.shape[0]

    @property
    def middle(self) -> Tensor:
        """Distance of each interval's midpoint, [S]."""
        return (self.start + self.end) * 0.5

    @property
    def ray_count(self) -> int:
        return self.offsets.shape[0] - 1

    def positions(self, origins: Tensor, directions: Tensor) -> Tensor:
        """World positions of the midpoints, [S, 3]."""
        return origins[self.ray] + self.middle[:, None] * directions[self.ray]

    def take(self, index: Tensor) -> Samples:
        """The samples at `index` (rising); rays stay, some may become empty."""
        ray = self.ray.index_select(0, index)
        return Samples(
            ray, self.start.index_select(0, index), self.end.index_select(0, index), offsets_of(ray, self.ray_count)
        )


def offsets_of(ray: Tensor, ray_count: int) -> Tensor:
    """Start of every ray's run in a sorted ray index [S] -> [R + 1]."""
    return torch.searchsorted(ray, torch.arange(ray_count + 1, device=ray.device))
