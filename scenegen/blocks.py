"""Where blocks lie in the world, and the change between metres and block units."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import Tensor

from data.palette import World
from data.plane_geometry import Window

OVERLAP = 0.25  # of a block's side, shared with the next one
PIXELS = 32  # of a block's side in class maps: 0.1 m each for rooms
CLAMP = 0.25  # block units: farther from the surface a distance only says "far"

SIZES: dict[World, float] = {"room": 3.2, "village": 15.0, "city": 12.0}  # metres, section 4 of the paper

Array = TypeVar("Array", np.ndarray, Tensor)
Centre = tuple[float, float, float]


@dataclass(frozen=True)
class BlockFrame:
    """Cubes of `size` metres whose lower faces lie at height `floor`; block units are [-1, 1] along each side.

    3.2 m and -0.15 m are BlockFusion's rooms.
    """

    size: float = 3.2
    floor: float = -0.15

    @property
    def stride(self) -> float:
        """Metres between neighbouring blocks."""
        return (1 - OVERLAP) * self.size

    @property
    def half(self) -> float:
        """Metres in a block unit."""
        return self.size / 2

    @property
    def metres_per_pixel(self) -> float:
        """Scale of a block's class maps."""
        return self.size / PIXELS

    def centre(self, i: int, k: int) -> Centre:
        """Centre of block (i, k) in metres; block (0, 0) begins at x = z = 0."""
        return self.at(i * self.stride + self.half, k * self.stride + self.half)

    def at(self, x: float, z: float) -> Centre:
        """Centre of a block around the upright line through (x, z)."""
        return x, self.floor + self.half, z

    def to_block(self, x: Array, centre: Array) -> Array:
        """Block units of world positions x [..., 3]."""
        return (x - centre) / self.half

    def to_world(self, u: Array, centre: Array) -> Array:
        """World positions of block units u [..., 3]."""
        return u * self.half + centre

    def window(self, centre: Centre) -> Window:
        """What the block sees of the plan: x0, z0, x1, z1 in metres."""
        x, _, z = centre
        return x - self.half, z - self.half, x + self.half, z + self.half

    def covering(self, window: Window) -> Iterator[tuple[int, int]]:
        """Indices (i, k) of the blocks that cover a window, row by row; every place lies in one at least."""
        x0, z0, x1, z1 = window
        columns, rows = self._range(x0, x1), self._range(z0, z1)
        return ((i, k) for k in rows for i in columns)

    def _range(self, low: float, high: float) -> range:
        first = math.floor(low / self.stride + 1e-9)
        last = math.ceil((high - self.size) / self.stride - 1e-9)
        return range(first, max(first, last) + 1)


def block_frame(size: float) -> BlockFrame:
    """Blocks of `size` metres, with the ground as far above their lower faces as in a room's, in proportion."""
    usual = BlockFrame()
    return BlockFrame(size, usual.floor * size / usual.size)
