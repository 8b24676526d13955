"""nerfacc's grid traversal and packed compositing as its documentation defines them, in plain PyTorch.

Only what the adapter calls, for one grid, with positive steps: a ray steps from its near plane; steps whose middle lies
in an occupied cell of the box, before the far plane, are kept.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


def traverse_grids(
    rays_o: Tensor,
    rays_d: Tensor,
    binaries: Tensor,
    aabbs: Tensor,
    near_planes: Tensor,
    far_planes: Tensor,
    step_size: float,
    cone_angle: float,
    traverse_steps_limit: int,
) -> tuple[Any, Any, Tensor]:
    """Intervals (edges, shared where one ends as the next begins), samples (middles), and where each ray stopped."""
    assert binaries.dtype == torch.bool and binaries.dim() == 4 and aabbs.shape == (1, 6) and cone_angle == 0
    low, high = aabbs[0, :3], aabbs[0, 3:]
    one, two = (low - rays_o) / rays_d, (high - rays_o) / rays_d
    enter = torch.minimum(one, two).amax(1).maximum(near_planes)
    leave = torch.maximum(one, two).amin(1).minimum(far_planes)
    taken: list[list[tuple[float, float]]] = [[] for _ in rays_o]
    t = near_planes.clone()
    shape = torch.tensor(binaries.shape[1:])
    while bool((t + step_size / 2 < leave).any()):
        middle = t + step_size / 2
        place = (rays_o + middle[:, None] * rays_d - low) / (high - low)
        cell = (place * shape).long().clamp(torch.zeros(3, dtype=torch.long), shape - 1)
        hit = binaries[0, cell[:, 0], cell[:, 1], cell[:, 2]] & (middle >= enter) & (middle < leave)
        for ray in hit.nonzero()[:, 0].tolist():
            if len(taken[ray]) < traverse_steps_limit:
                taken[ray].append((float(t[ray]), float(t[ray] + step_size)))
        t = t + step_size
    return _intervals(taken), _samples(taken), t


def _samples(taken: list[list[tuple[float, float]]]) -> SimpleNamespace:
    rays = [ray for ray, steps in enumerate(taken) for _ in steps]
    middles = [(a + b) / 2 for steps in taken for a, b in steps]
    return SimpleNamespace(vals=torch.tensor(middles), ray_indices=torch.tensor(rays, dtype=torch.long))


def _intervals(taken: list[list[tuple[float, float]]]) -> SimpleNamespace:
    edges: list[tuple[float, bool, bool]] = []  # value, begins an interval, ends one
    for steps in taken:
        previous = None
        for a, b in steps:
            if previous == a:
                edges[-1] = (a, True, True)
            else:
                edges.append((a, True, False))
            edges.append((b, False, True))
            previous = b
    values, left, right = zip(*edges, strict=True) if edges else ((), (), ())
    return SimpleNamespace(
        vals=torch.tensor(values, dtype=torch.float32),
        is_left=torch.tensor(left, dtype=torch.bool),
        is_right=torch.tensor(right, dtype=torch.bool),
    )


def render_weight_from_density(
    t_starts: Tensor, t_ends: Tensor, sigmas: Tensor, ray_indices: Tensor, n_rays: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, transmittance and opacity of every sample."""
    depth = sigmas * (t_ends - t_starts)
    parts = [depth[ray_indices == ray] for ray in range(n_rays)]
    transmittance = torch.cat([torch.exp(-(torch.cumsum(part, 0) - part)) for part in parts])
    alpha = 1 - torch.exp(-depth)
    return transmittance * alpha, transmittance, alpha


def accumulate_along_rays(weights: Tensor, values: Tensor, ray_indices: Tensor, n_rays: int) -> Tensor:
    """Weighted sums of values [S, D] along rays, [R, D]."""
    return torch.zeros(n_rays, values.shape[1]).index_add(0, ray_indices, weights[:, None] * values)
