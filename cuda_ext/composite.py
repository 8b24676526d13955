"""Front-to-back compositing of packed samples (Mildenhall et al. 2020, equation 3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import with_nerfacc
from .accelerators import accelerator
from .engine import LIBRARY, expect, expect_runs, launch, native_for

MAX_CHANNELS = 32


def composite(
    density: Tensor, rgb: Tensor, start: Tensor, end: Tensor, offsets: Tensor, background: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colour and depth of R rays from S packed samples with C channels.

    density, start, end [S]; rgb [S, C]; offsets [R + 1] int64; background [R, C].
    Returns colour [R, C] over the background, opacity [R], depth [R] (expected distance, not divided
    by the opacity) and the weights [S] (not differentiated).
    """
    density = expect("composite", "density", density, (-1,))
    samples = density.shape[0]
    rgb = expect("composite", "rgb", rgb, (samples, -1), density)
    start = expect("composite", "start", start, (samples,), density)
    end = expect("composite", "end", end, (samples,), density)
    offsets = expect_runs("composite", offsets, -1, samples, density)
    background = expect("composite", "background", background, (offsets.shape[0] - 1, rgb.shape[1]), density)
    if rgb.shape[1] > MAX_CHANNELS:
        raise ValueError(f"composite: {rgb.shape[1]} channels, expected at most {MAX_CHANNELS}")
    nerfacc = accelerator("nerfacc", density)
    if nerfacc is not None:
        return with_nerfacc.composite(nerfacc, density, rgb, start, end, offsets, background)
    if not native_for(density.device):
        return composite_reference(density, rgb, start, end, offsets, background)
    color, light, depth, weights = torch.ops.fieldscape.composite(density, rgb, start, end, offsets, background)
    return color, 1 - light, depth, weights


def composite_reference(
    density: Tensor, rgb: Tensor, start: Tensor, end: Tensor, offsets: Tensor, background: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The specification of `composite`, in plain PyTorch."""
    count = offsets.shape[0] - 1
    ray = torch.repeat_interleave(torch.arange(count, device=density.device), offsets.diff())
    thickness = density * (end - start)
    before = _before(thickness, ray, offsets)
    transmittance = torch.exp(-before)
    weights = transmittance * -torch.expm1(-thickness)
    opacity = density.new_zeros(count).index_add(0, ray, weights)
    depth = density.new_zeros(count).index_add(0, ray, weights * 0.5 * (start + end))
    color = background.new_zeros(background.shape).index_add(0, ray, weights[:, None] * rgb)
    return color + (1 - opacity)[:, None] * background, opacity, depth, weights.detach()


def _before(thickness: Tensor, ray: Tensor, offsets: Tensor) -> Tensor:
    """Optical thickness in front of every sample on its own ray; double, as the sum runs over all rays."""
    total = torch.cat([thickness.new_zeros(1, dtype=torch.float64), torch.cumsum(thickness.double(), 0)])
    return (total[:-1] - total[offsets[ray]]).to(thickness.dtype)


def visible(
    density: Tensor, start: Tensor, end: Tensor, offsets: Tensor, light: Tensor, stop: float
) -> tuple[Tensor, Tensor]:
    """How many of its first samples each ray [R] sees by more than `stop` of the light (int32).

    `light` [R] is the transmittance before the first sample; the light left behind the last one seen is
    returned beside the counts. Not differentiated.
    """
    density = expect("visible", "density", density.detach(), (-1,))
    start = expect("visible", "start", start, (density.shape[0],), density)
    end = expect("visible", "end", end, (density.shape[0],), density)
    offsets = expect_runs("visible", offsets, -1, density.shape[0], density)
    light = expect("visible", "light", light, (offsets.shape[0] - 1,), density).clone()
    if native_for(density.device):
        count = torch.empty(light.shape, dtype=torch.int32, device=density.device)
        launch("visible", density.device, density, start, end, offsets, len(light), stop, light, count)
        return count, light
    return _visible_reference(density, start, end, offsets, light, stop)


def _visible_reference(
    density: Tensor, start: Tensor, end: Tensor, offsets: Tensor, light: Tensor, stop: float
) -> tuple[Tensor, Tensor]:
    ray = torch.repeat_interleave(torch.arange(len(light), device=density.device), offsets.diff())
    thickness = density * (end - start)
    seen = light[ray] * torch.exp(-_before(thickness, ray, offsets)) > stop
    count = torch.zeros(len(light), dtype=torch.int32, device=density.device).index_add(0, ray, seen.int())
    spent = density.new_zeros(len(light)).index_add(0, ray, thickness * seen)
    return count, light * torch.exp(-spent)


LIBRARY.define(
    "composite(Tensor density, Tensor rgb, Tensor start, Tensor end, Tensor offsets, Tensor background)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)
LIBRARY.define(
    "composite_backward(Tensor rgb, Tensor start, Tensor end, Tensor offsets, Tensor background,"
    " Tensor weights, Tensor light, Tensor gcolor, Tensor glight, Tensor gdepth) -> (Tensor, Tensor)"
)


def _forward(
    density: Tensor, rgb: Tensor, start: Tensor, end: Tensor, offsets: Tensor, background: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rays, channels = background.shape
    color, weights = torch.empty_like(background), torch.empty_like(density)
    light, depth = density.new_empty(rays), density.new_empty(rays)
    launch(
        "composite_forward",
        density.device,
        density,
        rgb,
        start,
        end,
        offsets,
        background,
        rays,
        channels,
        color,
        light,
        depth,
        weights,
    )
    return color, light, depth, weights


def _backward(
    rgb: Tensor,
    start: Tensor,
    end: Tensor,
    offsets: Tensor,
    background: Tensor,
    weights: Tensor,
    light: Tensor,
    gcolor: Tensor,
    glight: Tensor,
    gdepth: Tensor,
) -> tuple[Tensor, Tensor]:
    rays, channels = background.shape
    gdensity, grgb = torch.empty_like(weights), torch.empty_like(rgb)
    launch(
        "composite_backward",
        rgb.device,
        rgb,
        start,
        end,
        offsets,
        background,
        weights,
        light,
        gcolor.contiguous(),
        glight.contiguous(),
        gdepth.contiguous(),
        rays,
        channels,
        gdensity,
        grgb,
    )
    return gdensity, grgb


for _device in ("CPU", "CUDA"):
    LIBRARY.impl("composite", _forward, _device)
    LIBRARY.impl("composite_backward", _backward, _device)


@torch.library.register_fake("fieldscape::composite", lib=LIBRARY)
def _(
    density: Tensor, rgb: Tensor, start: Tensor, end: Tensor, offsets: Tensor, background: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rays = background.shape[0]
    return (torch.empty_like(background), density.new_empty(rays), density.new_empty(rays), torch.empty_like(density))


@torch.library.register_fake("fieldscape::composite_backward", lib=LIBRARY)
def _(
    rgb: Tensor,
    start: Tensor,
    end: Tensor,
    offsets: Tensor,
    background: Tensor,
    weights: Tensor,
    light: Tensor,
    gcolor: Tensor,
    glight: Tensor,
    gdepth: Tensor,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(weights), torch.empty_like(rgb)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, rgb, start, end, offsets, background = inputs
    ctx.mark_non_differentiable(output[3])
    ctx.save_for_backward(rgb, start, end, offsets, background, output[3], output[1])


def _differentiate(ctx: Any, gcolor: Tensor, glight: Tensor, gdepth: Tensor, _: Tensor) -> tuple[Any, ...]:
    gdensity, grgb = torch.ops.fieldscape.composite_backward(*ctx.saved_tensors, gcolor, glight, gdepth)
    gbackground = gcolor * ctx.saved_tensors[6][:, None] if ctx.needs_input_grad[5] else None
    return gdensity, grgb, None, None, None, gbackground


torch.library.register_autograd("fieldscape::composite", _differentiate, setup_context=_remember, lib=LIBRARY)
