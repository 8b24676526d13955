"""A field's density on one lattice, kept where there is any: looked up and marched far faster than the field."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cuda_ext import quiet_torch
from cuda_ext.composite import visible
from cuda_ext.march import BLOCK, MarchSpace, coarsen, march, pack_bits
from cuda_ext.sparse import SparseIndex, sparse_lookup

from .cameras import Rays
from .mesh_extract import check_finite
from .progress import Clock, Progress

_MARCH_CELLS = 128  # of the grid that lets rays skip empty space
_STEP = 0.6  # of the lattice spacing: length of a marching step
_FAINT = 0.01  # a vertex is kept when one marching step could be this opaque
_SLAB_POINTS = 1 << 17
_WAVES = (16, 32, 64, 128)  # samples of each ray looked at before opaque rays are dropped


@dataclass(frozen=True)
class DensityGrid:
    """Trilinear density over `bounds` [2, 3] with the same spacing along every axis; zero where nothing is kept."""

    bounds: Tensor  # [2, 3] scene units
    spacing: float  # scene units
    index: SparseIndex
    values: Tensor  # [V, 1] per scene unit
    bits: Tensor  # occupied marching cells, as in `OccupancyGrid`
    coarse: Tensor
    space: MarchSpace

    def density(self, x: Tensor) -> Tensor:
        """Density [N] at x [N, 3] in the box, per scene unit."""
        u = (x - self.bounds[0]) / (self.spacing * (self.index.resolution - 1))
        return sparse_lookup(self.index, self.values, u, self.values.new_zeros(1))[:, 0]

    def depths(self, rays: Rays, opacities: Sequence[float]) -> Tensor:
        """Distances [K, R] at which rays have lost `opacities` (K, rising) of their light; infinity where never.

        Half is the median of where the ray ends, which unlike the mean does not move when a part of the
        light goes through to something behind.
        """
        depth = torch.full((len(opacities), len(rays.origins)), torch.inf, device=rays.origins.device)
        t, end = _clip(rays, self.bounds)
        alive, light, wave = (t < end).nonzero()[:, 0], torch.ones_like(depth[0]), 0
        while len(alive):
            limit = _WAVES[min(wave, len(_WAVES) - 1)]
            ray = rays[alive]
            _, first, last, offsets, x, t_next = march(
                ray.origins, ray.directions, t[alive], end[alive], self.bits, self.coarse, self.space, limit
            )
            density = self.density(x)
            before = light[alive]
            for found, opacity in zip(depth, opacities, strict=True):
                count, left = visible(density, first, last, offsets, before, 1 - opacity)
                crossed = (left <= 1 - opacity) & (before > 1 - opacity) & (count > 0)
                at = (offsets[:-1] + count - 1)[crossed]
                # Light falls exponentially inside a sample: walk back from its end to where it was `1 - opacity`.
                back = torch.log((1 - opacity) / left[crossed].clamp_min(1e-30)) / density[at].clamp_min(1e-30)
                found[alive[crossed]] = torch.maximum(last[at] - back, first[at])
            light[alive], t[alive] = left, t_next
            alive = alive[(left > 1 - opacity) & (t_next < end[alive])]
            wave += 1
        return depth


def bake_density(
    density: Callable[[Tensor], Tensor],
    bounds: Tensor,
    resolution: int,
    occupied: Callable[[Tensor], Tensor],
) -> Generator[Progress, None, DensityGrid]:
    """Sample `density` ([N, 3] to [N], per scene unit) with `resolution` cells along the longest side.

    Only vertices with `occupied` ([N, 3] to bool [N]) are evaluated.

    Raises:
        UserError: `E-MC-NAN` for a value that is not finite.
    """
    low, high = bounds.float()
    spacing = float((high - low).max()) / resolution
    shape = ((high - low) / spacing - 1e-3).ceil().long() + 1  # [3] vertices
    layers = max(1, _SLAB_POINTS // int(shape[0] * shape[1]))
    clock, found, values = Clock(), [], []
    for first in range(0, int(shape[2]), layers):
        vertices = _slab(shape, first, layers).to(low.device)
        x = low + spacing * vertices
        with quiet_torch(), torch.no_grad():
            kept = occupied(x).nonzero()[:, 0]
            value = check_finite(density(x[kept]), x[kept])
        solid = value > _FAINT / (_STEP * spacing)
        found.append(vertices[kept[solid]])
        values.append(value[solid])
        yield clock.report(min(first + layers, int(shape[2])), int(shape[2]), "sample")
    vertices = torch.cat(found)
    index = SparseIndex.of_vertices(vertices, resolution + 1)
    box = torch.stack([low, low + spacing * (shape - 1).to(low)])
    space = MarchSpace(box, _MARCH_CELLS, False, _STEP * spacing, 0.0)
    bits = pack_bits(_cells_near(vertices, shape))
    return DensityGrid(box, spacing, index, torch.cat(values)[:, None], bits, coarsen(bits, _MARCH_CELLS), space)


def _slab(shape: Tensor, first: int, layers: int) -> Tensor:
    """Vertices [N, 3] of some layers, x fastest."""
    z = torch.arange(first, min(first + layers, int(shape[2])))
    grid = torch.meshgrid(z, torch.arange(int(shape[1])), torch.arange(int(shape[0])), indexing="ij")
    return torch.stack([axis.reshape(-1) for axis in reversed(grid)], -1)


def _cells_near(vertices: Tensor, shape: Tensor) -> Tensor:
    """Which marching cells, [cells^3] with x fastest, the interpolation of kept `vertices` reaches into."""
    x, y, z = shape.tolist()
    present = torch.zeros(z, y, x, dtype=torch.bool, device=vertices.device)
    present[vertices[:, 2], vertices[:, 1], vertices[:, 0]] = True
    cell = torch.arange(_MARCH_CELLS, device=vertices.device)
    for _ in range(3):  # along each axis in turn
        last = present.shape[0] - 1
        low = cell * last // _MARCH_CELLS
        high = -(-(cell + 1) * last // _MARCH_CELLS)
        total = torch.nn.functional.pad(present.int().cumsum(0), (0, 0, 0, 0, 1, 0))
        present = (total[high + 1] > total[low]).permute(1, 2, 0)
    return present.reshape(-1)


def _clip(rays: Rays, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays [R] enter and leave the box: (t [R], t_end [R]), empty where t >= t_end."""
    inverse = 1 / torch.where(rays.directions.abs() < 1e-12, 1e-12, rays.directions)
    first, second = (bounds[0] - rays.origins) * inverse, (bounds[1] - rays.origins) * inverse
    start = torch.minimum(first, second).amax(dim=1).clamp_min(0)
    return start, torch.maximum(first, second).amin(dim=1)


assert _MARCH_CELLS % BLOCK == 0
