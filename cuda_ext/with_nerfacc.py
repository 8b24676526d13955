"""Marching and compositing through nerfacc's CUDA kernels, with the results of our own operators."""

from __future__ import annotations

import math
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .march import MarchSpace


def march(
    nerfacc: ModuleType,
    origins: Tensor,
    directions: Tensor,
    t: Tensor,
    t_end: Tensor,
    occupied: Tensor,
    space: MarchSpace,
    limit: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As `cuda_ext.march`, with `occupied` [G^3] bool in place of the bits.

    nerfacc keeps steps whose middle is inside its grid and before the far plane; ours starts before `t_end`, and a
    middle outside the box counts as in the box's last cell. So both ends move out: the far plane by half a step, the
    grid by copies of its outermost cells.

    Raises:
        ValueError: for contracted space, which nerfacc's grids do not cover.
    """
    if space.unbounded:
        raise ValueError("nerfacc: cannot march through contracted space")
    count = len(t)
    binaries, box = _widened(occupied, space)
    intervals, samples, _ = nerfacc.traverse_grids(
        origins,
        directions,
        binaries,
        box,
        near_planes=t,
        far_planes=t_end + 0.5 * space.step,
        step_size=space.step,
        cone_angle=0.0,
        traverse_steps_limit=limit,
    )
    ray = samples.ray_indices.long()
    start, end = intervals.vals[intervals.is_left], intervals.vals[intervals.is_right]
    offsets = torch.searchsorted(ray, torch.arange(count + 1, device=t.device))
    x = origins[ray] + (0.5 * (start + end))[:, None] * directions[ray]
    return ray, start, end, offsets, x, _onwards(t, t_end, end, offsets, limit)


def _onwards(t: Tensor, t_end: Tensor, end: Tensor, offsets: Tensor, limit: int) -> Tensor:
    """Where rays go on [R]: behind the last sample of those that took as many as they may, else at the end."""
    arrived = torch.maximum(t, t_end)
    if not len(end):
        return arrived
    last = end[(offsets[1:] - 1).clamp_min(0)]
    return torch.where(offsets.diff() >= limit, last, arrived)


def _widened(occupied: Tensor, space: MarchSpace) -> tuple[Tensor, Tensor]:
    """Cells [1, X, Y, Z] bool and their box [1, 6]: ours, with the outermost cells repeated for half a step."""
    g = space.resolution
    low, high = space.bounds.cpu().double()
    cells, ends = [], []
    for axis in range(3):
        size = float(high[axis] - low[axis]) / g
        more = math.ceil(0.5 * space.step / size)
        cells.append(torch.arange(-more, g + more, device=occupied.device).clamp(0, g - 1))
        ends.append((float(low[axis]) - more * size, float(high[axis]) + more * size))
    x, y, z = cells
    grid = occupied.view(g, g, g)[z[None, None, :], y[None, :, None], x[:, None, None]]
    box = torch.tensor([[*[a for a, _ in ends], *[b for _, b in ends]]], device=occupied.device)
    return grid[None].contiguous(), box


def composite(
    nerfacc: ModuleType, density: Tensor, rgb: Tensor, start: Tensor, end: Tensor, offsets: Tensor, background: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `cuda_ext.composite`."""
    count = len(background)
    ray = torch.repeat_interleave(torch.arange(count, device=density.device), offsets.diff())
    weights, _, _ = nerfacc.render_weight_from_density(start, end, density, ray_indices=ray, n_rays=count)
    values = torch.cat([rgb, torch.ones_like(density)[:, None], (0.5 * (start + end))[:, None]], dim=1)
    seen = nerfacc.accumulate_along_rays(weights, values=values, ray_indices=ray, n_rays=count)
    color, opacity, depth = seen[:, :-2], seen[:, -2], seen[:, -1]
    return color + (1 - opacity)[:, None] * background, opacity, depth, weights.detach()
