"""A scene without any file: sphere-traced, lit, shadowed and shaded in plain torch.

It is the built-in example and a test's ground truth: exact geometry, view-dependent colour, thin parts.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from fields.cameras import Rays

from .analytic_shapes import BOUNDS, CREAM, SHAPES, Point

_CHUNK = 1 << 17  # rays at a time; many, because late steps see only the few that graze an edge
_STEPS = 64
_HIT = 5e-4  # scene units
_PATIENCE = 1.04  # a ray that crawls along a surface sees it from a little farther off at every step
_METAL = 0.1  # reflectance at normal incidence, above that of any paint
_MARGIN = 0.02  # space around the shapes inside `bounds`
_KEY = torch.nn.functional.normalize(torch.tensor([0.52, -0.42, 0.80]), dim=0)  # towards the lamp
_KEY_COLOUR = torch.tensor([1.85, 1.64, 1.34])
_SKY, _HORIZON, _BOUNCE = (
    torch.tensor([0.30, 0.36, 0.46]), torch.tensor([0.50, 0.48, 0.46]), torch.tensor([0.20, 0.15, 0.11])
)  # fmt: skip


class AnalyticScene:
    """Shapes of `analytic_shapes` under one lamp and a sky. z is up; everything lies in `bounds`."""

    bounds: Tensor  # [2, 3]

    def __init__(self) -> None:
        margin = torch.tensor([[-_MARGIN], [_MARGIN]])
        self.bounds = torch.tensor(BOUNDS) + margin

    @torch.no_grad()
    def sdf(self, x: Tensor) -> Tensor:
        """Signed distance [N] at `x` [N, 3], scene units, negative inside; exact outside the shapes."""
        return _distance(_parts(x))

    @torch.no_grad()
    def albedo(self, x: Tensor) -> Tensor:
        """Painted colour [N, 3] of the shape nearest to `x` [N, 3], linear light in [0, 1]."""
        return _surface(_parts(x))[0]

    @torch.no_grad()
    def trace(self, rays: Rays) -> Tensor:
        """Distance [R] along each ray to the first surface, infinity where there is none."""
        return torch.cat([self._trace(chunk) for chunk in _chunks(rays)])

    @torch.no_grad()
    def shade(self, rays: Rays) -> Tensor:
        """What each ray sees: RGBA [R, 4] in [0, 1], sRGB, alpha 0 or 1."""
        return torch.cat([self._shade(chunk) for chunk in _chunks(rays)])

    def _trace(self, rays: Rays) -> Tensor:
        """Sphere tracing (Hart 1996), in which only rays still under way are evaluated."""
        start, end = _through_box(rays, self.bounds)
        reached = torch.full_like(start, torch.inf)
        active = (start < end).nonzero()[:, 0]
        t = start[active]
        origin, direction, stop = _parts(rays.origins[active]), _parts(rays.directions[active]), end[active]
        for step in range(_STEPS):
            distance = _distance(_along(origin, direction, t))
            hit = distance < _HIT * _PATIENCE**step
            t = t + distance
            go_on = ~hit & (t < stop)
            reached[active[hit]] = t[hit]
            active, t, stop = active[go_on], t[go_on], stop[go_on]
            if len(active) == 0:
                break
            origin, direction = _pick(origin, go_on), _pick(direction, go_on)
        return reached

    def _shade(self, rays: Rays) -> Tensor:
        t = self._trace(rays)
        hit = t.isfinite().nonzero()[:, 0]
        rgba = torch.zeros(len(rays), 4)
        if len(hit):
            x = rays.origins[hit] + t[hit, None] * rays.directions[hit]
            rgba[hit, :3] = _to_srgb(_tone(_lit(x, rays.directions[hit])))
            rgba[hit, 3] = 1.0
        return rgba


def _chunks(rays: Rays) -> list[Rays]:
    """At least one chunk, so that no rays give empty results."""
    return [rays[i : i + _CHUNK] for i in range(0, max(len(rays), 1), _CHUNK)]


def _lit(x: Tensor, direction: Tensor) -> Tensor:
    """Linear light [N, 3] that leaves the surface at `x` against `direction`.

    Lambert under lamp and sky, Blinn-Phong highlight, and a mirrored sky by Schlick's Fresnel term.
    """
    normal = _normal(x)
    colour, shine, sharpness, mirror = _surface(_parts(x))
    off = _parts(x + 4 * _HIT * normal)
    openness = _ambient_occlusion(off, _parts(normal)).unsqueeze(-1)
    facing = (normal @ _KEY).clamp(min=0)
    lamp = (facing * _soft_shadow(off, facing > 0)).unsqueeze(-1) * _KEY_COLOUR
    up = normal[:, 2:] * 0.5 + 0.5
    ambient = openness * torch.lerp(_BOUNCE, _SKY, up)
    half = torch.nn.functional.normalize(_KEY - direction, dim=-1)
    highlight = shine * (normal * half).sum(-1).clamp(min=0) ** sharpness
    cosine = -(normal * direction).sum(-1, keepdim=True).clamp(-1, 0)
    reflected = direction + 2 * cosine * normal
    mirror = mirror.unsqueeze(-1)
    tint = torch.where(mirror > _METAL, colour, 1.0)  # metals colour what they mirror
    fresnel = mirror + (1 - mirror) * 0.35 * (1 - cosine) ** 5
    gleam = tint * fresnel * openness * _sky(reflected)
    return colour * (lamp + ambient) + lamp * highlight.unsqueeze(-1) + gleam


def _sky(direction: Tensor) -> Tensor:
    """What a polished surface mirrors: a studio with a bright window, above a wooden table."""
    height = direction[:, 2:]
    room = torch.lerp(_HORIZON, _SKY * 1.3, height.clamp(0, 1))
    ground = torch.tensor(CREAM) * 0.35
    window = torch.sigmoid((direction[:, :1] * -0.6 + direction[:, 1:2] * -0.55 + height * 0.6 - 0.72) * 40)
    return torch.lerp(ground, room, torch.sigmoid(height * 14)) + 1.6 * window


def _ambient_occlusion(x: Point, normal: Point) -> Tensor:
    """Openness [N] in [0, 1] from five distances along the normal (Evans 2006)."""
    blocked = torch.zeros_like(x[0])
    for k in range(5):
        reach = 0.02 + 0.075 * k
        free = _distance(_along(x, normal, torch.tensor(reach)))
        blocked += (reach - free).clamp(min=0) * 0.72**k
    return (1 - 1.7 * blocked).clamp(min=0.06)


def _soft_shadow(x: Point, wanted: Tensor) -> Tensor:
    """Share of the lamp [N] that reaches `x`: penumbra from the nearest miss (Quilez, "Soft shadows")."""
    light = torch.zeros_like(x[0])
    active = wanted.nonzero()[:, 0]
    origin, direction = _pick(x, active), _parts(_KEY)
    share, t = torch.ones(len(active)), torch.full((len(active),), 0.012)
    for _ in range(40):
        distance = _distance(_along(origin, direction, t))
        share = torch.minimum(share, 14 * distance / t)
        t = t + distance.clamp(0.012, 0.18)
        go_on = (share > 0.004) & (origin[2] + t * direction[2] < BOUNDS[1][2])
        done = ~go_on
        light[active[done]] = share[done]
        active, share, t = active[go_on], share[go_on], t[go_on]
        if len(active) == 0:
            break
        origin = _pick(origin, go_on)
    light[active] = share
    light = light.clamp(0, 1)
    return light * light * (3 - 2 * light)


def _normal(x: Tensor) -> Tensor:
    """Unit normals [N, 3] from four distances at the corners of a tetrahedron."""
    corners = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    parts = [corner * _distance(_parts(x + 1e-3 * corner)).unsqueeze(-1) for corner in corners]
    gradient = torch.stack(parts).sum(0)
    return torch.nn.functional.normalize(gradient, dim=-1)


def _distance(x: Point) -> Tensor:
    return reduce(torch.minimum, (shape.distance(x) for shape in SHAPES))


def _surface(x: Point) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Albedo [N, 3], shine, sharpness and mirror [N] of the nearest shape."""
    nearest = torch.stack([shape.distance(x) for shape in SHAPES]).argmin(0)
    colour = torch.empty(len(nearest), 3)
    for index, shape in enumerate(SHAPES):
        chosen = (nearest == index).nonzero()[:, 0]
        if len(chosen):
            colour[chosen] = shape.albedo(_pick(x, chosen))
    gloss = torch.tensor([(shape.shine, shape.sharpness, shape.mirror) for shape in SHAPES])[nearest]
    return colour, gloss[:, 0], gloss[:, 1], gloss[:, 2]


def _through_box(rays: Rays, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Entry and exit distances [R] of the box (slab method); entry >= exit for a miss."""
    tiny = torch.where(rays.directions.abs() < 1e-9, 1e-9, rays.directions)
    low, high = (bounds[0] - rays.origins) / tiny, (bounds[1] - rays.origins) / tiny
    start = torch.minimum(low, high).amax(-1).clamp(min=0)
    return start, torch.maximum(low, high).amin(-1)


def _parts(x: Tensor) -> Point:
    a, b, c = x.t().contiguous()
    return a, b, c


def _pick(x: Point, index: Tensor) -> Point:
    return x[0][index], x[1][index], x[2][index]


def _along(origin: Point, direction: Point, t: Tensor) -> Point:
    a, b, c = (torch.addcmul(o, d, t) for o, d in zip(origin, direction, strict=True))
    return a, b, c


def _tone(light: Tensor) -> Tensor:
    """Filmic shoulder: linear in the dark, bright light bends towards 1 and never clips hard."""
    return light * (1 + 0.18 * light) / (1 + 0.62 * light)


def _to_srgb(light: Tensor) -> Tensor:
    """Linear light to the sRGB curve (IEC 61966-2-1)."""
    light = light.clamp(0, 1)
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
