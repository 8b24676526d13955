"""Teaching signed distance from signed distance: where to look, and what counts as an error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..distance_pool import POOL, DistancePool, SurfacePoints, near_and_uniform
from ..sdf_gradient import sdf_gradient
from ..sdf_loss import eikonal_loss, normal_loss, relative_error, sdf_loss
from ..volume import Volume

_STRIDES = 3  # towards the surface, of points drawn in the cells around it
_LOOKED_AT, _HARD, _CHUNK = 1 << 16, 16, 1 << 14  # points looked at for hard ones, and one in how many is
_ARRIVED = 0.5  # marching steps from the surface


@dataclass(frozen=True)
class DistanceOptions:
    """Weights of the loss; lengths are shares of the longest side of the student's box.

    `tolerance`: errors count relative to the distance plus this. `slope` weighs the squared error of the gradient,
    at a share `slope_share` of the points, from differences over `slope_reach`: smoother surfaces, which come later.
    """

    tolerance: float = 0.01
    slope: float = 0.0
    slope_share: float = 0.125
    slope_reach: float = 1 / 512


def distance_loss(
    student: Volume, x: Tensor, sdf: Tensor, normals: Tensor | None = None, options: DistanceOptions | None = None
) -> Tensor:
    """Relative error of the student's distances at x [N, 3], and error of their gradient at some of the points.

    The relative error grows without bound only in relation to the distance, so the far field cannot outweigh the
    surface, and within the tolerance around it a wrong sign costs most.

    Args:
        sdf: the teacher's distances [N].
        normals: the teacher's gradients [K, 3] at the first K points (`distance_normals`), towards which the student's
            are drawn; without them only the gradient's length is.
    """
    options = options or DistanceOptions()
    loss = sdf_loss(student, x, sdf, options.tolerance)
    if options.slope == 0:
        return loss
    reach = options.slope_reach * student.space.extent
    if normals is not None:
        return loss + options.slope * normal_loss(student, x[: len(normals)], normals, reach)
    return loss + options.slope * eikonal_loss(student, x[: slope_points(len(x), options)], reach)


def slope_points(count: int, options: DistanceOptions) -> int:
    """At how many of `count` points the gradient is compared."""
    return min(count, max(1, round(options.slope_share * count)))


@torch.no_grad()
def distance_normals(teacher: Volume, x: Tensor, reach: float) -> Tensor:
    """The teacher's gradients [N, 3] at x [N, 3], of length one; `reach`: see `sdf_gradient`, scene units."""
    return normalize(sdf_gradient(teacher, x, reach), dim=-1)


@torch.no_grad()
def distance_points(teacher: Volume, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Positions [count, 3], near the teacher's surface at two scales and uniform in its box, and distances [count]."""
    x = near_and_uniform(_surface_of(teacher), _box(teacher), count, generator)
    return x, teacher.evaluate_geometry(x)


@torch.no_grad()
def uniform_distances(teacher: Volume, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Positions [count, 3] anywhere in the teacher's box, and its distances [count] there."""
    low, high = _box(teacher)
    x = low + (high - low) * torch.rand(count, 3, generator=generator).to(low)
    return x, teacher.evaluate_geometry(x)


@torch.no_grad()
def distance_pool(teacher: Volume, size: int = POOL, seed: int = 0) -> DistancePool:
    """Many `distance_points`, made once: the source of a distillation or of `fields.fit_sdf`."""
    return DistancePool(_surface_of(teacher), teacher.evaluate_geometry, _box(teacher), size, seed)


@torch.no_grad()
def hardest_points(student: Volume, pool: DistancePool, generator: torch.Generator) -> Tensor:
    """Rows of the pool, of some drawn at random, where the student's distances are most wrong.

    A bubble far from the surface takes up so little of the box that few points would ever be drawn in it.
    """
    rows = pool.draw(_LOOKED_AT, generator)
    errors = []
    for part in rows.split(_CHUNK):
        x, sdf = pool.take(part)
        errors.append(relative_error(student, x, sdf, DistanceOptions.tolerance))
    return rows[torch.cat(errors).topk(_LOOKED_AT // _HARD).indices.cpu()]


@torch.no_grad()
def surface_points(teacher: Volume, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` points [N, 3] on the teacher's surface, spread about evenly.

    Points of the occupied cells, which lie around the surface, walk to it along the gradient; those that do not
    arrive are left out.
    """
    reach, found, missing = 0.5 * teacher.space.step, [], count
    for _ in range(4):
        x = teacher.occupancy.random_positions(missing, generator)
        for _ in range(_STRIDES):
            parts = [_stride(teacher, part, reach) for part in x.split(1 << 15)]
            x = torch.cat(parts) if parts else x
        arrived = (teacher.evaluate_geometry(x).abs() < _ARRIVED * teacher.space.step) & teacher.space.contains(x)
        found.append(x[arrived])
        missing -= int(arrived.sum())
        if missing == 0 or not len(x):
            break
    return torch.cat(found)


def _stride(teacher: Volume, x: Tensor, reach: float) -> Tensor:
    """One step of Newton's method to where the distance is zero."""
    slope = sdf_gradient(teacher, x, reach)
    length = slope.square().sum(dim=-1, keepdim=True)
    return x - teacher.sdf(x)[:, None] * slope / length.clamp_min(0.25)


def _surface_of(teacher: Volume) -> SurfacePoints:
    return lambda count, generator: surface_points(teacher, count, generator)


def _box(teacher: Volume) -> Tensor:
    return teacher.space.bounds.to(teacher.device)
