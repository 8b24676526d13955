"""Denoisers: noisy latents, a time and a floor plan to a prediction of the same shape as the latents.

What is predicted (the clean latents, the velocity) is the scheduler's business, not the network's.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from .condition import CONDITIONS
from .layers import ConvBlock, MixingLayer, PlaneEmbedding, Upsample, activation_of, fold, norm, silent, unfold

_LEAST_DEVIATION = 1e-4


class ConvDenoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A U-Net over folded planes with attention among the planes in its middle.

    After BlockFusion's (Wu et al. 2024, section 4.3), with weights shared among the planes. It also looks at what
    finished neighbours have fixed already, so that a new block goes with them. Latents are normalised outside, by
    `normalised` and `restored`: the figures travel with the weights.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        resolution: int = 8,
        classes: int = 9,
        layout_size: int = 32,
        widths: Sequence[int] = (48, 96),
        blocks: int = 1,
        middle_layers: int = 2,
        heads: int = 4,
        condition: str = "concat",
        condition_width: int = 24,
        attention: str = "softmax",
        activation: str = "silu",
    ) -> None:
        super().__init__()
        factor = 2 ** (len(widths) - 1)
        if resolution % factor:
            raise ValueError(f"latent resolution {resolution} is not a multiple of {factor}")
        if condition not in CONDITIONS:
            raise ValueError(f"condition {condition!r}, expected one of {' '.join(CONDITIONS)}")
        wide = 4 * widths[0]
        self.latent_shape = (3, latent_channels, resolution, resolution)
        self.register_buffer("latent_mean", torch.zeros(latent_channels, 1, 1))
        self.register_buffer("latent_deviation", torch.ones(latent_channels, 1, 1))
        self.plan = CONDITIONS[condition](classes, layout_size, resolution, condition_width, activation)
        self.planes = PlaneEmbedding(wide)
        self.time = nn.Sequential(nn.Linear(widths[0], wide), activation_of(activation), nn.Linear(wide, wide))
        self.time_width = widths[0]
        self.unet = _UNet(2 * latent_channels + 1 + condition_width, latent_channels, widths, blocks, wide, activation)
        self.middle = nn.ModuleList(
            MixingLayer(f"middle.{k}", widths[-1], resolution // factor, heads, wide, attention, activation)
            for k in range(middle_layers)
        )

    def normalise_to(self, mean: Tensor, deviation: Tensor) -> None:
        """Take over the latents' mean and deviation, [c] each."""
        self.latent_mean[:, 0, 0] = mean
        self.latent_deviation[:, 0, 0] = deviation.clamp_min(_LEAST_DEVIATION)

    def normalised(self, latent: Tensor) -> Tensor:
        """Latents [..., c, r, r] of the VAE as diffusion sees them, with deviation 1."""
        return (latent - self.latent_mean) / self.latent_deviation

    def restored(self, latent: Tensor) -> Tensor:
        """The inverse of `normalised`."""
        return latent * self.latent_deviation + self.latent_mean

    def forward(
        self,
        noisy: Tensor,
        time: Tensor,
        layout: Tensor,
        planned: Tensor,
        context: Tensor | None = None,
        skip: Container[str] = (),
    ) -> Tensor:
        """Prediction [B, 3, c, r, r].

        Args:
            noisy: normalised latents with noise, [B, 3, c, r, r].
            time: step of the noise schedule, [B].
            layout: class maps [B, K, H, W], 0 to 1.
            planned: bool [B]; False: the plan is not looked at.
            context: normalised latents that are known already, zero elsewhere, and where they are (1),
                [B, 3, c + 1, r, r]; nothing is known by default.
            skip: names of sublayers to leave out.
        """
        waves = get_timestep_embedding(time, self.time_width, flip_sin_to_cos=True, downscale_freq_shift=0)
        embedding = self.planes(self.time(waves.to(noisy.dtype)))
        if context is None:
            context = noisy.new_zeros(1).expand(len(noisy), 3, noisy.shape[2] + 1, *noisy.shape[3:])
        parts = (noisy, context.to(noisy.dtype), self.plan(layout, planned).to(noisy.dtype))
        x = fold(torch.cat(parts, dim=2))
        x, kept = self.unet.down(x, embedding, skip)
        for layer in self.middle:
            x = layer(x, embedding, skip)
        return unfold(self.unet.up(x, kept, embedding, skip)).float()


@dataclass(frozen=True)
class _Level:
    width: int
    below: int  # width of the next coarser level, its own at the bottom


class _UNet(nn.Module):
    def __init__(
        self, channels: int, out: int, widths: Sequence[int], blocks: int, embedding: int, activation: str
    ) -> None:
        super().__init__()
        levels = [_Level(w, below) for w, below in zip(widths, (*widths[1:], widths[-1]), strict=True)]

        def block(name: str, width: int, wide: int) -> ConvBlock:
            return ConvBlock(name, width, wide, embedding, activation)

        self.start = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.falling, self.rising = nn.ModuleList(), nn.ModuleList()
        self.halves, self.doubles = nn.ModuleList(), nn.ModuleList()
        for k, level in enumerate(levels):
            self.falling.append(nn.ModuleList(block(f"down.{k}.{i}", level.width, level.width) for i in range(blocks)))
            self.rising.append(
                nn.ModuleList(block(f"up.{k}.{i}", 2 * level.width, level.width) for i in range(blocks + 1))
            )
        for level in levels[:-1]:
            self.halves.append(nn.Conv2d(level.width, level.below, 3, stride=2, padding=1))
            self.doubles.append(Upsample(level.below, level.width))
        self.out = nn.Sequential(
            norm(widths[0]), activation_of(activation), silent(nn.Conv2d(widths[0], out, 3, padding=1))
        )

    def down(self, x: Tensor, embedding: Tensor, skip: Container[str]) -> tuple[Tensor, list[Tensor]]:
        x = self.start(x)
        kept: list[Tensor] = []
        for k, blocks in enumerate(cast(list[nn.ModuleList], self.falling)):
            x = self.halves[k - 1](x) if k else x
            kept.append(x)
            for block in blocks:
                x = block(x, embedding, skip)
                kept.append(x)
        return x, kept

    def up(self, x: Tensor, kept: list[Tensor], embedding: Tensor, skip: Container[str]) -> Tensor:
        waiting = list(kept)
        for k, blocks in reversed(list(enumerate(cast(list[nn.ModuleList], self.rising)))):
            for block in blocks:
                x = block(torch.cat((x, waiting.pop()), dim=1), embedding, skip)
            x = self.doubles[k - 1](x) if k else x
        return self.out(x)


DENOISERS: dict[str, type[ConvDenoiser]] = {"conv": ConvDenoiser}


def build_denoiser(backbone: str, **config: Any) -> ConvDenoiser:
    """A new denoiser of the registry; raises `ValueError` for a backbone or setting that it does not have."""
    if backbone not in DENOISERS:
        raise ValueError(f"denoiser {backbone!r}, expected one of {' '.join(DENOISERS)}")
    return DENOISERS[backbone](**config)
