"""Pictures of signed-distance fields by sphere tracing (Hart 1996)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .cameras import Cameras, Rays
from .sdf_gradient import sdf_gradient
from .shading import shade_clay
from .volume import Volume

# A fitted distance is not exact: strides are shorter than it says, and crossings are found afterwards.
_STEP_SHARE = 0.9
_MAX_STEPS = 256
_BISECTIONS = 12
_CLOSE = 0.02  # of a marching step: this near, a ray has arrived
_SHORTEST = 0.1  # of a marching step: no shorter stride, so that grazing rays go on
_NORMAL_REACH = 0.75  # of a marching step
_CHUNK_RAYS = 1 << 16

Paint = Literal["clay", "field"]


@dataclass(frozen=True)
class Hit:
    """Where R rays meet the surface; without a hit, `t` is where the ray leaves the box, the rest zero."""

    t: Tensor  # [R] scene units
    hit: Tensor  # [R] bool
    x: Tensor  # [R, 3] scene units
    normals: Tensor  # [R, 3] unit, towards the outside


@torch.no_grad()
def sphere_trace(field: Volume, rays: Rays, *, near: float = 0.0, normals: bool = True) -> Hit:
    """First crossing of every ray into the inside of a field of kind `sdf`.

    Rays stride by the distance until they are close, or inside: then the crossing is bisected, so that an
    overestimated distance costs no hole. A ray that begins inside hits at its beginning.

    Args:
        near: nothing is looked at closer to the ray's origin, scene units.
        normals: whether to spend a gradient on every hit.
    """
    parts = [
        _trace(field, rays[begin : begin + _CHUNK_RAYS], near, normals)
        for begin in range(0, max(1, len(rays)), _CHUNK_RAYS)
    ]
    return Hit(*[torch.cat([getattr(part, name) for part in parts]) for name in ("t", "hit", "x", "normals")])


def _trace(field: Volume, rays: Rays, near: float, normals: bool) -> Hit:
    t, end = field.space.clip(rays.origins, rays.directions, near)
    hit = torch.zeros_like(t, dtype=torch.bool)
    before = t.clone()
    close, shortest = _CLOSE * field.space.step, _SHORTEST * field.space.step
    active = (t < end).nonzero()[:, 0]
    for _ in range(_MAX_STEPS):
        if not len(active):
            break
        distance = field.sdf(_along(rays, t, active))
        arrived = distance < close
        hit[active[arrived]] = True
        active, distance = active[~arrived], distance[~arrived]
        before[active] = t[active]
        t[active] += (_STEP_SHARE * distance).clamp_min(shortest)
        active = active[t[active] < end[active]]
    t[~hit] = end[~hit].clamp_min(0)
    found = hit.nonzero()[:, 0]
    t[found] = _bisect(field, rays, before[found], t[found], found)
    x, n = torch.zeros_like(rays.origins), torch.zeros_like(rays.origins)
    x[found] = _along(rays, t, found)
    if normals and len(found):
        n[found] = _normals(field, x[found])
    return Hit(t, hit, x, n)


def _normals(field: Volume, x: Tensor) -> Tensor:
    """Unit normals [K, 3] over about a grid cell: the exact gradient also shows single rough cells."""
    reach = _NORMAL_REACH * field.space.step
    parts = [sdf_gradient(field, part, reach) for part in x.split(_CHUNK_RAYS // 4)]
    return normalize(torch.cat(parts), dim=-1)


def _along(rays: Rays, t: Tensor, index: Tensor) -> Tensor:
    """Positions [K, 3] at distances t[index] along the rays chosen by index [K]."""
    return rays.origins[index] + t[index, None] * rays.directions[index]


def _bisect(field: Volume, rays: Rays, outside: Tensor, inside: Tensor, index: Tensor) -> Tensor:
    """Crossings [K] between distances `outside` [K] and `inside` [K] along the rays of index [K].

    Rays that arrived without crossing keep `inside`, which is within tolerance of the surface.
    """
    origins, directions = rays.origins[index], rays.directions[index]
    for _ in range(_BISECTIONS if len(index) else 0):
        middle = 0.5 * (outside + inside)
        beyond = field.sdf(origins + middle[:, None] * directions) < 0
        inside, outside = torch.where(beyond, middle, inside), torch.where(beyond, outside, middle)
    return inside


def render_sdf_view(
    field: Volume,
    cameras: Cameras,
    index: int,
    *,
    background: float = 1.0,
    what: Sequence[str] = ("rgb",),
    near: float = 0.0,
    paint: Paint = "clay",
) -> dict[str, Tensor]:
    """One camera's pictures of a field of kind `sdf`, as `render_view` names them.

    `rgb` and `normal` [H, W, 3], `depth` and `opacity` [H, W]. `paint`: "clay" shades the bare shape,
    "field" shows the field's own colours.
    """
    width, height = cameras.size[index].tolist()
    rays = cameras.view(index).to(field.device)
    hit = sphere_trace(field, rays, near=near)
    pictures = {"depth": hit.t, "opacity": hit.hit.float(), "normal": hit.normals}
    if "rgb" in what:
        pictures["rgb"] = _paint(field, rays, hit, background, paint)
    return {name: pictures[name].reshape(height, width, -1).squeeze(-1) for name in what}


@torch.no_grad()
def _paint(field: Volume, rays: Rays, hit: Hit, background: float, paint: Paint) -> Tensor:
    """Colours [R, 3] of all rays over a grey background."""
    rgb = torch.full_like(rays.origins, background)
    seen = hit.hit.nonzero()[:, 0]
    if len(seen):
        x, directions = hit.x[seen], rays.view_directions[seen]
        if paint == "field":
            rgb[seen] = field.evaluate(x, directions).rgb
        else:
            rgb[seen] = shade_clay(field, x, hit.normals[seen], directions)
    return rgb
