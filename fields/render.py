"""Volume rendering of any field: colour, depth, opacity and normals of rays and of whole views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cuda_ext import composite, quiet_torch, spherical_harmonics
from cuda_ext.render_loss import DensityRule, reached, render_loss

from .cameras import Cameras, Rays
from .field import Field
from .occupancy import FIT_STRIDE
from .samplers import Sampler
from .samples import Samples
from .volume import MAX_LOG_DENSITY, Volume

# A ray ends when less light than this is left; samples it cannot reach are dropped.
STOP_LIGHT = 1e-4
_DARK = 1e-3  # the same in pictures: a quarter of a step of 8 bits
MAX_SAMPLES = 1024  # of one ray while training
_WAVES = (8, 8, 16, 32, 64)  # samples of each ray looked at before opaque rays are dropped
_FAINT = 5e-4  # samples that add less than this are not coloured when rendering
_CHUNK_RAYS = 1 << 15


@dataclass(frozen=True)
class RayOutput:
    """What R rays see."""

    color: Tensor  # [R, C] over the background
    opacity: Tensor  # [R]
    depth: Tensor  # [R] expected distance of what is seen, scene units; far end where nothing is
    samples: int = 0  # field evaluations spent


def march_rays(
    field: Volume, rays: Rays, jitter: Tensor | float, near: float, sampler: Sampler | None = None
) -> tuple[Samples, Tensor]:
    """All samples of rays in occupied cells (or as `sampler` says), and their positions x [S, 3].

    `jitter` in [0, 1) moves each ray's first sample by part of a step.
    """
    start, end = field.space.clip(rays.origins, rays.directions, near)
    sampler = sampler or field.occupancy
    samples, x, _ = sampler.sample(rays, start + jitter * field.space.step, end, MAX_SAMPLES)
    return samples, x


def march_visible(field: Volume, rays: Rays, jitter: Tensor, near: float) -> tuple[Samples, Tensor]:
    """As `march_rays` for learning: longer steps, and none far behind what the occupancy grid knows as walls."""
    start, end = field.space.clip(rays.origins, rays.directions, near)
    start = start + jitter * (FIT_STRIDE * field.space.step)
    samples, x, _ = field.occupancy.sample_visible(rays, start, end, MAX_SAMPLES)
    return samples, x


def render_samples(
    field: Volume, rays: Rays, samples: Samples, x: Tensor, features: Tensor, background: Tensor
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Colour [R, 3], opacity [R] and depth [R] of rays from given samples at x with their features, with gradients.

    Samples that no light reaches get neither colour nor gradient; the last value counts the others.
    """
    density = field.density_of(features, x)
    seen = reached(density, samples.start, samples.end, samples.offsets, samples.ray, STOP_LIGHT)
    samples = samples.take(seen)
    rgb = field.color_of(features.index_select(0, seen), rays.view_directions, samples.ray)
    color, opacity, depth, _ = composite(
        density.index_select(0, seen), rgb, samples.start, samples.end, samples.offsets, background
    )
    return color, opacity, depth, len(seen)


def pixel_loss(
    field: Field, rays: Rays, samples: Samples, x: Tensor, features: Tensor, wanted: Tensor, background: Tensor
) -> Tensor:
    """Mean squared error of the rays' colours against `wanted` [R, 3], 0-dim, with gradients.

    `features` are those of the samples at x.
    """
    appearance = field.appearance
    if field.kind != "density":
        return torch.nn.functional.mse_loss(render_samples(field, rays, samples, x, features, background)[0], wanted)
    rule = DensityRule(MAX_LOG_DENSITY, 1 / field.space.extent, STOP_LIGHT)
    return render_loss(
        features,
        spherical_harmonics(rays.view_directions, appearance.degree),
        appearance.weights,
        appearance.widths,
        samples.start,
        samples.end,
        samples.offsets,
        wanted,
        background,
        rule,
    )


@torch.no_grad()
def render_rays(
    field: Volume,
    rays: Rays,
    background: float | Tensor = 1.0,
    near: float = 0.0,
    normals: bool = False,
    sampler: Sampler | None = None,
) -> RayOutput:
    """Render rays without gradients; with `normals`, colour has six channels (rgb, normal).

    The field is looked at in its occupied cells, or where `sampler` says.
    """
    sampler = sampler or field.occupancy
    parts = []
    for begin in range(0, max(1, len(rays)), _CHUNK_RAYS):
        chunk = slice(begin, begin + _CHUNK_RAYS)
        behind = background[chunk] if isinstance(background, Tensor) else background
        with quiet_torch(unless=field.wide):
            parts.append(_render_chunk(field, rays[chunk], behind, near, normals, sampler))
    return RayOutput(
        torch.cat([p.color for p in parts]),
        torch.cat([p.opacity for p in parts]),
        torch.cat([p.depth for p in parts]),
        sum(p.samples for p in parts),
    )


def _render_chunk(
    field: Volume, rays: Rays, background: float | Tensor, near: float, normals: bool, sampler: Sampler
) -> RayOutput:
    count, device = len(rays), rays.origins.device
    t, end = field.space.clip(rays.origins, rays.directions, near)
    channels = 6 if normals else 3
    color = torch.zeros(count, channels, device=device)
    light, depth = torch.ones(count, device=device), torch.zeros(count, device=device)
    alive = (t < end).nonzero()[:, 0]
    evaluations, wave = 0, 0
    while len(alive):
        limit = _WAVES[min(wave, len(_WAVES) - 1)]
        here, last = rays[alive], end.index_select(0, alive)
        samples, x, t_next = sampler.sample(here, t.index_select(0, alive), last, limit)
        features = field.features(x)
        density = field.density_of(features, x)
        part = _shade(field, here, samples, x, features, density, light.index_select(0, alive), normals)
        color.index_add_(0, alive, part[0])
        depth.index_add_(0, alive, part[1])
        light.index_copy_(0, alive, part[2])
        t.index_copy_(0, alive, t_next)
        alive = alive[(part[2] > _DARK) & (t_next < last)]
        evaluations += len(x)
        wave += 1
    opacity = 1 - light
    mean = torch.where(opacity > 1e-3, depth / opacity.clamp_min(1e-3), end.clamp_min(0))
    color[:, :3] += light[:, None] * background
    return RayOutput(color, opacity, mean, evaluations)


def _shade(
    field: Volume,
    rays: Rays,
    samples: Samples,
    x: Tensor,
    features: Tensor,
    density: Tensor,
    light: Tensor,
    normals: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """One wave's share of colour and depth, and the light left behind it."""
    zeros = torch.zeros(len(rays), 1, device=x.device)
    distance = samples.middle[:, None]
    _, opacity, depth, weights = composite(density, distance, samples.start, samples.end, samples.offsets, zeros)
    arriving = weights * light.index_select(0, samples.ray)
    seen = (arriving > _FAINT).nonzero()[:, 0]
    ray = samples.ray.index_select(0, seen)
    value = field.color_of(features.index_select(0, seen), rays.view_directions, ray)
    if normals:
        value = torch.cat([value, field.normals(x.index_select(0, seen))], dim=1)
    color = torch.zeros(len(rays), value.shape[1], device=x.device)
    color.index_add_(0, ray, arriving.index_select(0, seen)[:, None] * value)
    return color, light * depth, light * (1 - opacity)


def render_view(
    field: Volume,
    cameras: Cameras,
    index: int,
    *,
    background: float = 1.0,
    what: Sequence[str] = ("rgb",),
    near: float = 0.0,
) -> dict[str, Tensor]:
    """One camera's pictures by name: `rgb` and `normal` [H, W, 3], `depth` and `opacity` [H, W]."""
    width, height = cameras.size[index].tolist()
    out = render_rays(field, cameras.view(index).to(field.device), background, near, "normal" in what)
    pictures = {
        "rgb": out.color[:, :3].clamp(0, 1),
        "normal": out.color[:, 3:],
        "depth": out.depth,
        "opacity": out.opacity,
    }
    return {name: pictures[name].reshape(height, width, -1).squeeze(-1) for name in what}
