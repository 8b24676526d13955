"""A signed distance out of depth maps: what many cameras see, averaged, and solid where none can look.

Curless and Levoy, "A Volumetric Method for Building Complex Models from Range Images", 1996.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from .cameras import Cameras
from .density_grid import DensityGrid
from .progress import Clock, Progress

_VEIL = 0.1  # share of the light that a veil at the true surface takes away at least
_USUAL = 0.65  # of all rays end as soon behind it as is usual; the others are held back
_FAR = 1e9  # scene units: depth of a ray that goes through
_REACH = 4.0  # lattice spacings: distances are cut off beyond
_HIDDEN = 0.06  # weight of a camera that a point is hidden from, against one that sees it free
_CELL = 2.0  # lattice spacings: size of the cells that tell where the surface may be
_GROWTH = 2  # cells around those with a surface in which it may lie
_BLOCK = 4  # cells along a block that one look sorts into inside and outside
_HULL_DIRECTIONS = 256
_HULL_SHARE = 0.9995  # of the surface points lies in the hull, along every direction
_LOOKED_AT = 1 << 16  # points or rays, for figures of all of them
_CHUNK = 1 << 15


@dataclass(frozen=True)
class DepthMaps:
    """Where the rays of N pinhole cameras end."""

    cameras: Cameras
    depth: Tensor  # [N, H, W] along the ray, scene units

    def points(self, index: int) -> Tensor:
        """Surface points [P, 3] that camera `index` sees."""
        rays, depth = self.cameras.view(index).to(self.depth.device), self.depth[index].reshape(-1)
        hit = depth < _FAR
        return rays.origins[hit] + depth[hit, None] * rays.directions[hit]


@dataclass(frozen=True)
class Hull:
    """Half spaces around everything that was seen."""

    normals: Tensor  # [K, 3] unit, outward
    offsets: Tensor  # [K]

    @classmethod
    def around(cls, points: Tensor) -> Hull:
        """The hull of points [P, 3] but for a few."""
        axes = torch.cat([torch.eye(3), -torch.eye(3)])
        normals = torch.cat([axes, even_directions(_HULL_DIRECTIONS)]).to(points.device)
        some = points[:: 1 + len(points) // _LOOKED_AT]
        beyond = max(1, round((1 - _HULL_SHARE) * len(some)))
        return cls(normals, (normals @ some.T).topk(beyond, dim=1).values[:, -1])

    def outside(self, x: Tensor) -> Tensor:
        """How far [N] points x [N, 3] lie outside, scene units; negative inside."""
        return (x @ self.normals.T - self.offsets).amax(dim=1)


@dataclass(frozen=True)
class FusedSurface:
    """Signed distance, negative inside, in units of `reach` and cut off there: at x [N, 3] gives [N].

    Cells far from everything that was seen are known as a whole: `known` [X, Y, Z] is 1 outside, -1 inside,
    and 0 where the surface may be.
    """

    maps: DepthMaps
    hull: Hull
    reach: float  # scene units
    low: Tensor  # [3] corner of the first cell
    cell: float  # scene units
    known: Tensor

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        shape = torch.tensor(self.known.shape, device=x.device)
        cell = ((x - self.low) / self.cell).long().clamp_min(0).minimum(shape - 1)
        values = self.known[cell[:, 0], cell[:, 1], cell[:, 2]].float()
        open_ = (values == 0).nonzero()[:, 0]
        parts = _side_by_side(lambda chunk: _mean_distance(self, x[chunk]), open_.split(_CHUNK))
        if len(open_):
            values[open_] = torch.cat(parts)
        return values


def render_depth(grid: DensityGrid, cameras: Cameras) -> Generator[Progress, None, DepthMaps]:
    """Depth maps of cameras that have one picture size and no lens distortion.

    A ray ends where half of its light is lost, but no further behind the place where the first tenth is lost
    than most rays: where colour changes with direction (a highlight) or is contrasted, fits leave a thin veil
    at the true surface and the rest of the density far behind it, and medians alone show a pit there.
    """
    clock, maps, count = Clock(), [], len(cameras)
    width, height = cameras.size[0].tolist()
    together = os.cpu_count() or 1

    def look(index: int) -> Tensor:
        rays = cameras.view(index).to(grid.bounds.device)
        return grid.depths(rays, (_VEIL, 0.5)).view(2, height, width).clamp_max(_FAR)

    for first in range(0, count, together):
        maps += _side_by_side(look, range(first, min(first + together, count)))
        yield clock.report(len(maps), count, "look")
    veil, half = torch.stack(maps, dim=1)
    behind = (half - veil)[half < _FAR]
    if len(behind):
        usual = torch.quantile(behind[:: 1 + len(behind) // _LOOKED_AT], _USUAL)
        half = torch.where(half < _FAR, torch.minimum(half, veil + usual), half)
    return DepthMaps(cameras.to(grid.bounds.device), half)


@torch.no_grad()
def fuse_depth(maps: DepthMaps, bounds: Tensor, spacing: float) -> Generator[Progress, None, FusedSurface | None]:
    """The surface that the maps show in the box `bounds` [2, 3], details about as small as `spacing`.

    None where the maps show nothing.
    """
    clock, count = Clock(), len(maps.cameras)
    low, cell = bounds[0].float(), _CELL * spacing
    blocks = ((bounds[1] - bounds[0]) / (_BLOCK * cell)).ceil().long().clamp_min(1).tolist()
    shape = [_BLOCK * n for n in blocks]
    near, points = torch.zeros(shape, dtype=torch.bool, device=low.device), []
    for index in range(count):
        points.append(maps.points(index))
        at = ((points[-1] - low) / cell).floor().long()
        at = at[((at >= 0) & (at < torch.tensor(shape, device=at.device))).all(dim=1)]
        near[at[:, 0], at[:, 1], at[:, 2]] = True
        yield clock.report(index + 1, count, "fuse")
    if not bool(near.any()):
        return None
    hull = Hull.around(torch.cat(points))
    surface = FusedSurface(maps, hull, _REACH * spacing, low, cell, torch.zeros(shape, device=low.device))
    grid = torch.meshgrid(*[torch.arange(n, device=low.device) for n in blocks], indexing="ij")
    centres = low + _BLOCK * cell * (torch.stack([axis.reshape(-1) for axis in grid], -1) + 0.5)
    side = surface(centres).sign().view(blocks)
    # A border between seen and unseen space is a surface as well.
    mixed = _grown(side, 1) != -_grown(-side, 1)
    for axis in range(3):
        side, mixed = (t.repeat_interleave(_BLOCK, dim=axis) for t in (side, mixed))
    may_be = (_grown(near.float(), _GROWTH) > 0) | mixed
    surface.known.copy_(torch.where(may_be, 0.0, side))
    return surface


def even_directions(count: int) -> Tensor:
    """Unit directions [count, 3] spread evenly over the sphere (golden-angle spiral)."""
    order = torch.arange(count) + 0.5
    height, turn = 1 - 2 * order / count, order * (torch.pi * (3 - 5**0.5))
    flat = (1 - height * height).sqrt()
    return torch.stack([flat * turn.cos(), flat * turn.sin(), height], dim=-1)


def _grown(values: Tensor, cells: int) -> Tensor:
    """The greatest value [X, Y, Z] within some cells along every axis."""
    return max_pool3d(values[None, None], 2 * cells + 1, stride=1, padding=cells)[0, 0]


def _mean_distance(surface: FusedSurface, x: Tensor) -> Tensor:
    """Mean over all cameras of how far x [N, 3] lies before the surface, in [-1, 1].

    Behind the surface a camera's weight falls to a small rest: a point is inside when hardly any camera
    finds it free, whatever a few rays through a thin spot say, and also where no camera looks. What is
    hidden from all cameras ends at the hull of what they see.
    """
    maps = surface.maps
    beyond = (surface.hull.outside(x) * (4 / surface.reach)).clamp_(0, 1)
    rest = 2 * _HIDDEN * len(maps.cameras)
    total, weight = beyond * rest - 1e-3, beyond.sign() * rest + 1e-3
    for index in range(len(maps.cameras)):
        distance, seen = _before(maps, index, x, surface.reach)
        value = (distance / surface.reach).clamp_(-1, 1)
        share = (1 + value.clamp(max=0) * (1 - _HIDDEN)).mul_(seen)
        total.addcmul_(value, share)
        weight.add_(share)
    return total / weight


def _before(maps: DepthMaps, index: int, x: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """How far before the surface of camera `index` points lie [N], and whether they are in its picture."""
    cameras, depth = maps.cameras, maps.depth[index]
    height, width = depth.shape
    pose = cameras.camera_to_world[index]
    local = (x - pose[:, 3]) @ pose[:, :3]
    ahead = -local[:, 2]
    inverse = 1 / ahead.clamp_min(1e-9)
    column = local[:, 0] * inverse * cameras.focal[index, 0] + (cameras.centre[index, 0] - 0.5)
    row = (cameras.centre[index, 1] - 0.5) - local[:, 1] * inverse * cameras.focal[index, 1]
    seen = (ahead > 0) & (column > -0.5) & (row > -0.5) & (column < width - 0.5) & (row < height - 0.5)
    return _interpolated(depth, column, row, reach) - local.norm(dim=1), seen


def _interpolated(depth: Tensor, column: Tensor, row: Tensor, reach: float) -> Tensor:
    """Bilinear depth [N]; where neighbours differ by `reach`, that of the nearest pixel."""
    height, width = depth.shape
    column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    left, top = column.int().clamp_max(width - 2), row.int().clamp_max(height - 2)
    across, down = column - left, row - top
    at, flat = top * width + left, depth.view(-1)
    a, b, c, d = (flat.index_select(0, at + offset) for offset in (0, 1, width, width + 1))
    upper, lower = torch.lerp(a, b, across), torch.lerp(c, d, across)
    nearest = torch.where(down < 0.5, torch.where(across < 0.5, a, b), torch.where(across < 0.5, c, d))
    spread = torch.maximum(a, b).maximum(c).maximum(d) - torch.minimum(a, b).minimum(c).minimum(d)
    return torch.where(spread < reach, torch.lerp(upper, lower, down), nearest)


def _side_by_side(work: Callable[[Any], Tensor], items: Iterable[Any]) -> list[Tensor]:
    """`work` on every item, one thread each: many short operations, which torch's own threads only slow down."""
    before = torch.get_num_threads()
    with ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        found = list(pool.map(torch.no_grad()(work), items))
    torch.set_num_threads(before)
    return found
