"""A plain look for shapes without colours: clay under a key light, the sky, and a light at the camera."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .volume import Volume

_CLAY = (0.66, 0.58, 0.50)  # linear
_AMBIENT, _KEY, _SKY, _GROUND, _HEAD = 0.5, 0.85, (0.62, 0.68, 0.78), (0.32, 0.28, 0.25), 0.22
_KEY_DIRECTION = (0.45, 0.8, 0.4)  # from the surface to the light, y up
_GLOSS, _GLOSS_POWER = 0.10, 24.0
_OCCLUSION_REACH = 0.08  # of the box's extent
_OCCLUSION_STEPS = 5
_OCCLUSION_STRENGTH = 0.85
_SHADOW_REACH = 0.6  # of the box's extent
_SHADOW_STEPS = 32
_SHADOW_SHARPNESS = 12.0  # larger: a smaller light, harder shadows
_CHUNK = 1 << 16


@torch.no_grad()
def shade_clay(field: Volume, x: Tensor, normals: Tensor, directions: Tensor) -> Tensor:
    """sRGB colours [N, 3] of surface points x [N, 3] with unit normals, seen along unit directions [N, 3]."""
    parts = [
        _shade(field, *part)
        for part in zip(x.split(_CHUNK), normals.split(_CHUNK), directions.split(_CHUNK), strict=True)
    ]
    return torch.cat(parts) if parts else torch.zeros_like(x)


def _shade(field: Volume, x: Tensor, normals: Tensor, directions: Tensor) -> Tensor:
    key = normalize(x.new_tensor(_KEY_DIRECTION), dim=0)
    lit = (normals @ key).clamp_min(0)
    lit = lit * soft_shadow(field, x, normals, key)
    open_sky = occlusion(field, x, normals)
    up = (0.5 + 0.5 * normals[:, 1:2]) * open_sky[:, None]
    ambient = _AMBIENT * (up * x.new_tensor(_SKY) + (open_sky[:, None] - up) * x.new_tensor(_GROUND))
    head = (-(normals * directions).sum(dim=-1)).clamp_min(0)
    half = normalize(key - directions, dim=-1)
    gloss = _GLOSS * lit * (normals * half).sum(dim=-1).clamp_min(0) ** _GLOSS_POWER
    light = (_KEY * lit + _HEAD * head * (0.5 + 0.5 * open_sky))[:, None] + ambient
    return linear_to_srgb(light * x.new_tensor(_CLAY) + gloss[:, None])


def occlusion(field: Volume, x: Tensor, normals: Tensor) -> Tensor:
    """How open the surface is [N] in (0, 1]: distances along the normal against those of a plane.

    Five values at growing heights, the near ones counting most (Evans 2006, "Fast approximations for
    global illumination on dynamic scenes").
    """
    closed, weight, total = torch.zeros_like(x[:, 0]), 1.0, 0.0
    for k in range(1, _OCCLUSION_STEPS + 1):
        height = _OCCLUSION_REACH * field.space.extent * (k / _OCCLUSION_STEPS) ** 2
        missing = (1 - field.sdf(x + height * normals) / height).clamp(0, 1)
        closed, total = closed + weight * missing, total + weight
        weight *= 0.8
    return 1 - _OCCLUSION_STRENGTH * closed / total


def soft_shadow(field: Volume, x: Tensor, normals: Tensor, light: Tensor) -> Tensor:
    """Share [N] of a distant light that reaches x: the narrowest angle on the way to `light` [3], in [0, 1].

    Sphere tracing towards the light keeps the least distance over way travelled (Quilez 2010, "Free penumbra
    shadows for raymarching distance fields"). Points that face away are dark without tracing.
    """
    share = torch.zeros_like(x[:, 0])
    active = ((normals @ light) > 0).nonzero()[:, 0]
    share[active] = 1.0
    step, reach = field.space.step, _SHADOW_REACH * field.space.extent
    origin = x + 1.5 * step * normals
    t = torch.full_like(share, step)
    for _ in range(_SHADOW_STEPS):
        if not len(active):
            break
        distance = field.sdf(origin[active] + t[active, None] * light)
        share[active] = torch.minimum(share[active], (_SHADOW_SHARPNESS * distance / t[active]).clamp(0, 1))
        t[active] += distance.clamp_min(step)
        active = active[(share[active] > 1e-3) & (t[active] < reach)]
    return share * share * (3 - 2 * share)


def linear_to_srgb(light: Tensor) -> Tensor:
    """Linear light [..., 3] to sRGB in [0, 1] (IEC 61966-2-1)."""
    light = light.clamp(0, 1)
    curve = 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, 12.92 * light, curve)
