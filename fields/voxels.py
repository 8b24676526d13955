"""Vertices and voxels of a grid over the unit cube: which of them to keep when it is refined."""

from __future__ import annotations

import torch
from torch import Tensor

_SLAB = 16  # layers of vertices that are looked at together: bounds the memory of a fine grid


def full_grid(size: int) -> Tensor:
    """All vertices [size^3, 3] (x, y, z), x fastest."""
    axis = torch.arange(size)
    return torch.cartesian_prod(axis, axis, axis).flip(1).contiguous()


def cells_around(vertices: Tensor, cells: int) -> Tensor:
    """Which of the voxels [cells, cells, cells] (z, y, x) have one of `vertices` [V, 3] as a corner."""
    present = torch.zeros(cells + 1, cells + 1, cells + 1, dtype=torch.bool, device=vertices.device)
    x, y, z = vertices.unbind(1)
    present[z, y, x] = True
    for _ in range(3):  # along each axis in turn
        present = (present[1:] | present[:-1]).permute(1, 2, 0)
    return present.contiguous()


def vertices_in(occupied: Tensor, cells: int) -> Tensor:
    """Vertices [V, 3] (x, y, z), on a grid of `cells` along an axis, in or on `occupied` voxels."""
    coarse, device = occupied.shape[0], occupied.device
    vertex = torch.arange(cells + 1, device=device)
    # A fine vertex on a face of a coarse voxel belongs to both neighbours.
    below = ((vertex * coarse - 1).clamp(min=0) // cells).clamp(max=coarse - 1)
    above = (vertex * coarse // cells).clamp(max=coarse - 1)
    found = []
    for first in range(0, cells + 1, _SLAB):
        layer = slice(first, first + _SLAB)
        part = occupied[below[layer]] | occupied[above[layer]]
        part = part[:, below] | part[:, above]
        part = part[:, :, below] | part[:, :, above]
        vertices = part.nonzero().flip(1)
        vertices[:, 2] += first
        found.append(vertices)
    return torch.cat(found)


def grown(cells: Tensor) -> Tensor:
    """`cells` [G, G, G] bool and all neighbours of theirs, those across edges and corners too."""
    for _ in range(3):  # along each axis in turn
        wider = cells.clone()
        wider[1:] |= cells[:-1]
        wider[:-1] |= cells[1:]
        cells = wider.permute(1, 2, 0)
    return cells.contiguous()


def voxels_over(cells: Tensor, count: int) -> Tensor:
    """Which voxels [count, count, count] of the unit cube share any space with `cells` [G, G, G] bool."""
    size = cells.shape[0]
    voxel = torch.arange(count, device=cells.device)
    first, last = voxel * size // count, ((voxel + 1) * size - 1) // count
    for _ in range(3):  # along each axis in turn
        found = cells[first]
        for step in range(1, int((last - first).max()) + 1):
            found = found | cells[torch.minimum(first + step, last)]
        cells = found.permute(1, 2, 0)
    return cells.contiguous()


def points_in(cells: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random points [count, 3] of the unit cube, even over `cells` [G, G, G] bool (z, y, x); [0, 3] without any."""
    cell = cells.nonzero().flip(1)
    if not len(cell):
        return torch.zeros(0, 3, device=cells.device)
    chosen = torch.randint(len(cell), (count,), generator=generator).to(cells.device)
    return (cell[chosen] + torch.rand(count, 3, generator=generator).to(cells.device)) / cells.shape[0]
