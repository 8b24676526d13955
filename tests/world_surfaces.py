"""Scenes with a known surface: blocks whose "planes" say where they lie, and a decoder that is a formula."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scenegen.blocks import PIXELS, BlockFrame
from scenegen.world.neighbours import Index
from scenegen.world.surface import SceneSurface

Shape = Callable[[Tensor], Tensor]  # world positions [..., 3] in metres to signed distances [...]


@dataclass
class FormulaBlocks:
    """Blocks of one shape; `shift` metres are added to the distance of some, as if they had come out differently."""

    shape: Shape
    frame: BlockFrame = field(default_factory=BlockFrame)
    shift: dict[Index, float] = field(default_factory=dict)

    def planes(self, index: Index) -> Tensor:
        centre = self.frame.centre(*index)
        return torch.tensor([*centre, self.shift.get(index, 0.0)]).view(1, 4, 1, 1).expand(3, 4, 1, 1)

    def decode(self, planes: Tensor, points: Tensor) -> Tensor:
        """Distances [B, N] in block units, clamped as in training."""
        centre, shift = planes[:, 0, :3, 0, 0], planes[:, 0, 3, 0, 0]
        metres = self.shape(points.double() * self.frame.half + centre[:, None].double()) + shift[:, None]
        return (metres / self.frame.half).clamp(-0.25, 0.25).float()

    def surface(self, finished: Iterable[Index], cells: int = 32) -> SceneSurface:
        return SceneSurface(self.frame, frozenset(finished), self.planes, self.decode, cells)


@dataclass(frozen=True)
class RoomPlan:
    """Floor everywhere; a table painted where `table(x, z)` is true."""

    table: Callable[[Tensor, Tensor], Tensor]
    classes: tuple[str, ...] = ("floor", "wall", "table")

    def masks(self, frame: BlockFrame, index: Index) -> Tensor:
        x0, z0, _, _ = frame.window(frame.centre(*index))
        along = (torch.arange(PIXELS) + 0.5) * frame.metres_per_pixel
        x, z = torch.meshgrid(x0 + along, z0 + along, indexing="xy")
        maps = torch.stack([torch.ones_like(x), torch.zeros_like(x), self.table(x, z)])
        return maps.to(torch.uint8)


def ground(x: Tensor) -> Tensor:
    """Solid below y = 0."""
    return x[..., 1]


def ball(centre: tuple[float, float, float], radius: float) -> Shape:
    """A solid ball."""
    return lambda x: (x - torch.tensor(centre, dtype=x.dtype)).norm(dim=-1) - radius


def union(*shapes: Shape) -> Shape:
    """What any of the shapes fills."""
    return lambda x: torch.stack([shape(x) for shape in shapes]).amin(0)
