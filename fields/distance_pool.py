"""Points whose distances to a surface are known once, and drawn from ever after."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

POOL = 2**20  # with half as many, fine grids and planes learn the points by heart
_NEAR = (0.002, 0.02)  # standard deviations around the surface, in sides of the box
_SHARES = (0.375, 0.375)  # of the points; the rest is uniform in the box

SurfacePoints = Callable[[int, torch.Generator], Tensor]  # about that many points [N, 3] on the surface


def near_and_uniform(surface: SurfacePoints, bounds: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Positions [count, 3] in the box [2, 3], in random order: near a surface at two scales, and uniform."""
    low, high = bounds
    side = float((high - low).max())
    parts = []
    for share, spread in zip(_SHARES, _NEAR, strict=True):
        x = surface(round(share * count), generator)
        parts.append(x + spread * side * torch.randn(x.shape, generator=generator).to(x))
    rest = count - sum(len(part) for part in parts)
    parts.append(low + (high - low) * torch.rand(rest, 3, generator=generator).to(low))
    return torch.cat(parts).clamp(low, high)[torch.randperm(count, generator=generator).to(low.device)]


class DistancePool:
    """`fields.fit_sdf.DistanceSource` that waits for no distance: it asks for all of them when it is made."""

    def __init__(
        self,
        surface: SurfacePoints,
        sdf: Callable[[Tensor], Tensor],
        bounds: Tensor,
        size: int = POOL,
        seed: int = 0,
    ) -> None:
        """
        Args:
            surface: points on the surface; fewer than asked for are made up by uniform ones.
            sdf: signed distances [N] at any number of positions [N, 3].
            bounds: box [2, 3] that all points lie in.
        """
        self._surface, self._sdf, self._bounds = surface, sdf, bounds
        self._points = self._make(size, torch.Generator().manual_seed(seed))

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Positions [count, 3] and their distances [count], drawn with replacement."""
        return self.take(self.draw(count, generator))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Rows [count] of the pool, with replacement."""
        return torch.randint(len(self._points[0]), (count,), generator=generator)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Positions [N, 3] and their distances [N] of rows [N] of the pool."""
        x, distance = self._points
        rows = rows.to(x.device)
        return x[rows], distance[rows]

    def refresh(self, count: int, generator: torch.Generator) -> None:
        """Replace `count` points, chosen at random, by new ones."""
        index = torch.randperm(len(self._points[0]), generator=generator)[:count]
        for kept, new in zip(self._points, self._make(len(index), generator), strict=True):
            kept[index.to(kept.device)] = new

    def _make(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = near_and_uniform(self._surface, self._bounds, count, generator)
        return x, self._sdf(x)
