"""Eight exact copies of every block: quarter turns about y, and the mirror in x.

Features of the three planes are summed before the decoder, and vertices lie on the border, so a turned
block is a swap, transposition and reversal of its planes: nothing is resampled.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Symmetry:
    """The mirror x -> -x (if `mirror`), then `turns` quarter turns (x, y, z) -> (z, y, -x)."""

    turns: int
    mirror: bool

    def planes(self, planes: Tensor) -> Tensor:
        """Planes [..., 3, C, R, R] (xy, xz, yz; columns are the first axis) of the moved block."""
        xy, xz, yz = planes.unbind(-4)
        if self.mirror:
            xy, xz = xy.flip(-1), xz.flip(-1)
        for _ in range(self.turns):
            # The point that comes to (x', y', z') was at (-z', y', x').
            xy, xz, yz = yz.mT, xz.mT.flip(-2), xy.mT.flip(-2)
        return torch.stack((xy, xz, yz), dim=-4)

    def layout(self, maps: Tensor) -> Tensor:
        """Class maps [..., H, W] (rows along z, columns along x) of the moved block."""
        if self.mirror:
            maps = maps.flip(-1)
        for _ in range(self.turns):
            maps = maps.mT.flip(-2)
        return maps

    def points(self, points: Tensor) -> Tensor:
        """Points or normals [..., 3] of the moved block."""
        x, y, z = points.unbind(-1)
        if self.mirror:
            x = -x
        for _ in range(self.turns):
            x, z = z, -x
        return torch.stack((x, y, z), dim=-1)


SYMMETRIES: tuple[Symmetry, ...] = tuple(
    Symmetry(turns, mirror) for mirror in (False, True) for turns in range(4)
)  # the first one changes nothing
