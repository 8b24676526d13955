"""What a teacher says along rays and in its volume: everything a step of distillation compares with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cuda_ext import composite
from cuda_ext.march import unpack_bits
from cuda_ext.render_loss import reached

from ..cameras import Rays
from ..render import STOP_LIGHT, march_visible
from ..samples import Samples
from ..volume import Volume
from .losses import log_density


@dataclass(frozen=True)
class Lesson:
    """R rays with the S samples that light reaches, and what the teacher says of them."""

    rays: Rays
    samples: Samples
    x: Tensor  # [S, 3]
    features: Tensor  # [S, F] the teacher's own
    log_density: Tensor  # [S] per scene unit
    rgb: Tensor  # [S, 3]
    weights: Tensor  # [S] share of each sample in its ray's colour
    color: Tensor  # [R, 3] over black
    opacity: Tensor  # [R]
    marched: int  # samples before those in the dark were dropped

    def over(self, background: Tensor) -> Tensor:
        """Colour [R, 3] over a background [R, 3]."""
        return self.color + (1 - self.opacity)[:, None] * background


@torch.no_grad()
def lesson(teacher: Volume, rays: Rays, jitter: Tensor, near: float) -> Lesson:
    """Ask the teacher about rays [R] on its device; `jitter` [R] moves their samples by part of a step.

    Its occupancy grid should know its walls (`find_walls`): most samples behind them are then never asked about.
    """
    samples, x = march_visible(teacher, rays, jitter, near)
    marched = len(x)
    features = teacher.features(x)
    density = teacher.density_of(features, x)
    seen = reached(density, samples.start, samples.end, samples.offsets, samples.ray, STOP_LIGHT)
    samples, x = samples.take(seen), x.index_select(0, seen)
    features, density = features.index_select(0, seen), density.index_select(0, seen)
    rgb = teacher.color_of(features, rays.view_directions, samples.ray)
    black = torch.zeros(len(rays), 3, device=x.device)
    color, opacity, _, weights = composite(density, rgb, samples.start, samples.end, samples.offsets, black)
    logarithm = log_density(teacher, teacher.geometry(features, x), density)
    return Lesson(rays, samples, x, features, logarithm, rgb, weights, color, opacity, marched)


class VolumePoints:
    """Uniform points of a volume's occupied and of its empty cells."""

    def __init__(self, volume: Volume, generator: torch.Generator) -> None:
        self.occupancy, self.generator = volume.occupancy, generator
        occupied = unpack_bits(self.occupancy.bits).bool()
        self._cells = occupied.nonzero()[:, 0], (~occupied).nonzero()[:, 0]

    def occupied(self, count: int) -> Tensor:
        """Positions [N, 3], N = `count`, or 0 when nothing is occupied."""
        return self._draw(self._cells[0], count)

    def empty(self, count: int) -> Tensor:
        """Positions [N, 3], N = `count`, or 0 when everything is occupied."""
        return self._draw(self._cells[1], count)

    def _draw(self, cells: Tensor, count: int) -> Tensor:
        if not len(cells):
            return torch.zeros(0, 3, device=cells.device)
        chosen = cells[torch.randint(len(cells), (count,), generator=self.generator).to(cells.device)]
        jitter = torch.rand(count, 3, generator=self.generator).to(cells.device)
        return self.occupancy.cell_positions(chosen, jitter)
