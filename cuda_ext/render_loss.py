"""The loss of pixels straight from the features of their samples, as one operator with its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .accelerators import HALF, accelerator
from .composite import composite, visible
from .engine import expect, expect_runs, launch, native_for
from .mlp import MAX_WIDTH, mlp, weight_count


@dataclass(frozen=True)
class DensityRule:
    """density = scale * exp(min(log_density, max_log)); rays end when less than `stop` light is left."""

    max_log: float
    scale: float
    stop: float


class ClampedExp(torch.autograd.Function):
    """exp with its argument clamped above; past the clamp the gradient only leads back down."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, highest: float) -> Tensor:
        y = torch.exp(x.clamp_max(highest))
        ctx.save_for_backward(x, y)
        ctx.highest = highest
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None]:
        x, y = ctx.saved_tensors
        gx = gy * y
        return torch.where((x >= ctx.highest) & (gx < 0), torch.zeros_like(gx), gx), None


def reached(density: Tensor, start: Tensor, end: Tensor, offsets: Tensor, ray: Tensor, stop: float) -> Tensor:
    """Indices (rising) of the samples that more than `stop` of the light reaches."""
    count, _ = visible(density, start, end, offsets, density.new_ones(offsets.shape[0] - 1), stop)
    last = offsets[:-1] + count
    return (torch.arange(len(ray), device=ray.device) < last.index_select(0, ray)).nonzero()[:, 0]


def render_loss(
    features: Tensor,
    harmonics: Tensor,
    weights: Tensor | None,
    widths: tuple[int, ...],
    start: Tensor,
    end: Tensor,
    offsets: Tensor,
    wanted: Tensor,
    background: Tensor,
    rule: DensityRule,
) -> Tensor:
    """Mean squared error of R pixels (0-dim) against `wanted` [R, 3], composited over `background` [R, 3].

    features [S, 1 + A] (log-density, appearance), harmonics [R, D] of the rays' view directions, a colour
    network of `widths` (A + D, ..., 3) with flat `weights`, samples start, end [S] and offsets [R + 1].
    Without a network (None and no widths), appearance [3, D] holds each colour's coefficients of the harmonics.
    Samples that light does not reach get no colour and no gradient. Differentiable in features and weights.
    """
    features = expect("render_loss", "features", features, (-1, -1))
    samples, channels = features.shape
    harmonics = expect("render_loss", "harmonics", harmonics, (-1, -1), features)
    rays = harmonics.shape[0]
    if weights is not None:
        weights = expect("render_loss", "weights", weights, (weight_count(widths),), features)
    start = expect("render_loss", "start", start, (samples,), features)
    end = expect("render_loss", "end", end, (samples,), features)
    offsets = expect_runs("render_loss", offsets, rays, samples, features)
    wanted = expect("render_loss", "wanted", wanted, (rays, 3), features)
    background = expect("render_loss", "background", background, (rays, 3), features)
    if weights is None and channels - 1 != 3 * harmonics.shape[1]:
        raise ValueError(f"render_loss: {channels - 1} coefficients, expected 3 * {harmonics.shape[1]}")
    if weights is not None and (widths[0] != channels - 1 + harmonics.shape[1] or widths[-1] != 3):
        raise ValueError(f"render_loss: widths {widths}, expected {channels - 1 + harmonics.shape[1]}, ..., 3")
    arguments = features, harmonics, weights, widths, start, end, offsets, wanted, background, rule
    if features.device.type == "cpu" and max(widths, default=0) <= MAX_WIDTH and native_for(features.device):
        return _RenderLoss.apply(*arguments)
    return render_loss_reference(*arguments)


def render_loss_reference(
    features: Tensor,
    harmonics: Tensor,
    weights: Tensor | None,
    widths: tuple[int, ...],
    start: Tensor,
    end: Tensor,
    offsets: Tensor,
    wanted: Tensor,
    background: Tensor,
    rule: DensityRule,
) -> Tensor:
    """The specification of `render_loss`, composed of the other operators."""
    density = rule.scale * ClampedExp.apply(features[:, 0], rule.max_log)
    ray = torch.repeat_interleave(torch.arange(len(wanted), device=features.device), offsets.diff())
    seen = reached(density, start, end, offsets, ray, rule.stop)
    ray = ray.index_select(0, seen)
    appearance, directions = features.index_select(0, seen)[:, 1:], harmonics.index_select(0, ray)
    if weights is None:
        rgb = torch.sigmoid(torch.einsum("ncd,nd->nc", appearance.unflatten(1, (3, -1)), directions))
    else:
        rgb = torch.sigmoid(mlp(torch.cat([appearance, directions], dim=1), weights, widths))
    kept = torch.searchsorted(ray, torch.arange(len(wanted) + 1, device=features.device))
    color = composite(
        density.index_select(0, seen), rgb, start.index_select(0, seen), end.index_select(0, seen), kept, background
    )[0]
    return torch.nn.functional.mse_loss(color, wanted)


class _RenderLoss(torch.autograd.Function):
    """Loss and gradient come out of one pass; backward only scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        harmonics: Tensor,
        weights: Tensor | None,
        widths: tuple[int, ...],
        start: Tensor,
        end: Tensor,
        offsets: Tensor,
        wanted: Tensor,
        background: Tensor,
        rule: DensityRule,
    ) -> Tensor:
        loss = torch.zeros(1, dtype=torch.float64)
        gfeatures = torch.empty_like(features)
        gweights = None if weights is None else torch.empty_like(weights)
        shape = np.asarray(widths, dtype=np.int32)
        launch(
            "render_loss",
            features.device,
            features,
            harmonics,
            weights,
            shape.ctypes.data,
            max(0, len(widths) - 1),
            start,
            end,
            offsets,
            wanted,
            background,
            len(wanted),
            features.shape[0],
            features.shape[1] - 1,
            rule.max_log,
            rule.scale,
            rule.stop,
            int(accelerator(HALF, features) is not None),
            loss,
            gfeatures,
            gweights,
        )
        ctx.save_for_backward(gfeatures, gweights)
        return loss[0].float()

    @staticmethod
    def backward(ctx: Any, gloss: Tensor) -> tuple[Any, ...]:
        gfeatures, gweights = ctx.saved_tensors
        if float(gloss) == 1.0:  # the loss itself, as nearly always: spares a pass over the gradient
            return gfeatures, None, gweights, *[None] * 7
        return gfeatures * gloss, None, None if gweights is None else gweights * gloss, *[None] * 7
