"""Volume rendering of any field: colour, depth, opacity and normals of rays and of whole views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cuda_ext import composite, keep_first, visible

from .cameras import Cameras, Rays
from .field import Field
from .samples import Samples

# A ray ends when less light than this is left; samples it cannot reach are dropped.
STOP_LIGHT = 1e-4
_MAX_SAMPLES = 1024  # of one ray while training
_WAVES = (8, 8, 16, 32, 64)  # samples of each ray looked at before opaque rays are dropped
_FAINT = 1e-4  # samples that add less than this are not coloured when rendering
_CHUNK_RAYS = 1 << 14


@dataclass(frozen=True)
class RayOutput:
    """What R rays see."""

    color: Tensor  # [R, C] over the background
    opacity: Tensor  # [R]
    depth: Tensor  # [R] expected distance of what is seen, scene units; far end where nothing is
    samples: int = 0  # field evaluations spent


def sample_rays(field: Field, rays: Rays, jitter: Tensor | float, near: float) -> tuple[Samples, Tensor, int]:
    """The samples of rays that light reaches, their positions x [S, 3], and how many were looked at.

    `jitter` in [0, 1) moves each ray's first sample by part of a step.
    """
    start, end = field.space.clip(rays.origins, rays.directions, near)
    start = start + jitter * field.space.step
    samples, x, _ = field.occupancy.sample(rays, start, end, _MAX_SAMPLES)
    with torch.no_grad():
        density = field.density_of(field.features(x), x)
    light = torch.ones(len(rays), device=x.device)
    count, _ = visible(density, samples.start, samples.end, samples.offsets, light, STOP_LIGHT)
    ray, first, last, offsets, kept = keep_first(count, samples.offsets, samples.start, samples.end, x)
    return Samples(ray, first, last, offsets), kept, len(x)


def render_samples(field: Field, rays: Rays, samples: Samples, x: Tensor, background: Tensor
                   ) -> tuple[Tensor, Tensor, Tensor]:
    """Colour [R, 3], opacity [R] and depth [R] of rays from given samples, with gradients."""
    features = field.features(x)
    density = field.density_of(features, x)
    rgb = field.color_of(features, rays.view_directions, samples.ray)
    color, opacity, depth, _ = composite(density, rgb, samples.start, samples.end, samples.offsets, background)
    return color, opacity, depth


@torch.no_grad()
def render_rays(field: Field, rays: Rays, background: float | Tensor = 1.0, near: float = 0.0,
                normals: bool = False) -> RayOutput:
    """Render rays without gradients; with `normals`, colour has six channels (rgb, normal)."""
    parts = []
    for begin in range(0, max(1, len(rays)), _CHUNK_RAYS):
        chunk = slice(begin, begin + _CHUNK_RAYS)
        behind = background[chunk] if isinstance(background, Tensor) else background
        parts.append(_render_chunk(field, rays[chunk], behind, near, normals))
    return RayOutput(torch.cat([p.color for p in parts]), torch.cat([p.opacity for p in parts]),
                     torch.cat([p.depth for p in parts]), sum(p.samples for p in parts))


def _render_chunk(field: Field, rays: Rays, background: float | Tensor, near: float, normals: bool) -> RayOutput:
    count, device = len(rays), rays.origins.device
    t, end = field.space.clip(rays.origins, rays.directions, near)
    channels = 6 if normals else 3
    color = torch.zeros(count, channels, device=device)
    light, depth = torch.ones(count, device=device), torch.zeros(count, device=device)
    alive = (t < end).nonzero()[:, 0]
    evaluations, wave = 0, 0
    while len(alive):
        limit = _WAVES[min(wave, len(_WAVES) - 1)]
        here = rays[alive]
        samples, x, t_next = field.occupancy.sample(here, t[alive], end[alive], limit)
        features = field.features(x)
        density = field.density_of(features, x)
        part = _shade(field, here, samples, x, features, density, light[alive], normals)
        color[alive] += part[0]
        depth[alive] += part[1]
        light[alive] = part[2]
        t[alive] = t_next
        alive = alive[(part[2] > STOP_LIGHT) & (t_next < end[alive])]
        evaluations += len(x)
        wave += 1
    opacity = 1 - light
    mean = torch.where(opacity > 1e-3, depth / opacity.clamp_min(1e-3), end.clamp_min(0))
    color[:, :3] += light[:, None] * background
    return RayOutput(color, opacity, mean, evaluations)


def _shade(field: Field, rays: Rays, samples: Samples, x: Tensor, features: Tensor, density: Tensor,
           light: Tensor, normals: bool) -> tuple[Tensor, Tensor, Tensor]:
    """One wave's share of colour and depth, and the light left behind it."""
    zeros = torch.zeros(len(rays), 1, device=x.device)
    distance = samples.middle[:, None]
    _, opacity, depth, weights = composite(density, distance, samples.start, samples.end, samples.offsets, zeros)
    arriving = weights * light.index_select(0, samples.ray)
    seen = arriving > _FAINT
    ray = samples.ray[seen]
    value = field.color_of(features[seen], rays.view_directions, ray)
    if normals:
        value = torch.cat([value, field.normals(x[seen])], dim=1)
    color = torch.zeros(len(rays), value.shape[1], device=x.device)
    color.index_add_(0, ray, arriving[seen][:, None] * value)
    return color, light * depth, light * (1 - opacity)


def render_view(field: Field, cameras: Cameras, index: int, *, background: float = 1.0,
                what: Sequence[str] = ("rgb",), near: float = 0.0) -> dict[str, Tensor]:
    """One camera's pictures by name: `rgb` and `normal` [H, W, 3], `depth` and `opacity` [H, W]."""
    width, height = cameras.size[index].tolist()
    out = render_rays(field, cameras.view(index).to(field.device), background, near, "normal" in what)
    pictures = {"rgb": out.color[:, :3].clamp(0, 1), "normal": out.color[:, 3:], "depth": out.depth,
                "opacity": out.opacity}
    return {name: pictures[name].reshape(height, width, -1).squeeze(-1) for name in what}
