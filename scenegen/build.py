"""Networks of a preset, reproducible by seed."""

from __future__ import annotations

import math

import torch

from .blocks import PIXELS
from .models import ConvDenoiser, TriplaneVAE, build_denoiser
from .presets import Preset

_HEAD_WIDTH = 32  # channels of one attention head, at most


def new_vae(preset: Preset, seed: int = 0) -> TriplaneVAE:
    """An untrained VAE for the planes of `preset`."""
    sizes = preset.vae
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TriplaneVAE(
            preset.fit.channels,
            preset.fit.resolution,
            sizes.latent_channels,
            sizes.latent_resolution,
            sizes.widths,
            sizes.attention,
            heads_of(sizes.widths[-1]),
            patch=sizes.patch,
        )


def new_denoiser(preset: Preset, classes: int, seed: int = 0, backbone: str = "conv") -> ConvDenoiser:
    """An untrained denoiser for the latents of `preset` under plans with `classes` channels."""
    sizes = preset.diffusion
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_denoiser(
            backbone,
            latent_channels=preset.vae.latent_channels,
            resolution=preset.vae.latent_resolution,
            classes=classes,
            layout_size=PIXELS,
            widths=sizes.widths,
            blocks=sizes.residual,
            middle_layers=sizes.attention,
            heads=heads_of(sizes.widths[-1]),
            condition_width=sizes.widths[0] // 2,
        )


def heads_of(width: int) -> int:
    """Attention heads for so many channels: as few as keep a head at 32 channels, among the divisors."""
    return next(heads for heads in range(max(1, math.ceil(width / _HEAD_WIDTH)), width + 1) if width % heads == 0)
