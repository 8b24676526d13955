"""The tri-plane VAE: three planes of features to three small planes of latents and back.

After BlockFusion (Wu et al. 2024), section 4.2, with weights shared among the planes, GroupNorm, and attention
over the tokens of all three planes where the resolution is lowest.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ..augment import SYMMETRIES
from .layers import ConvBlock, MixingLayer, PlaneEmbedding, Upsample, activation_of, fold, norm, silent, unfold

_LOG_VARIANCE = (-12.0, 4.0)  # relative to the prior's
_FIRST_LOG_VARIANCE = -5.0  # so that the signal is not drowned before it is learned
_EMBEDDING = 32
_LEAST_DEVIATION = 1e-3
_SPLIT = 256  # blocks looked at together


@dataclass(frozen=True)
class Posterior:
    """Independent normal distributions of the latents, in fp32. Half precision overflows in the exponential."""

    mean: Tensor  # [B, 3, c, r, r]
    log_variance: Tensor  # [B, 3, c, r, r]
    prior_deviation: float

    @property
    def deviation(self) -> Tensor:
        """Standard deviation, [B, 3, c, r, r]."""
        return torch.exp(0.5 * self.log_variance)

    def sample(self, noise: Tensor) -> Tensor:
        """Latents for standard normal `noise` of the same shape."""
        return self.mean + self.deviation * noise

    def kl(self) -> Tensor:
        """Mean divergence in nats per latent number from N(0, prior_deviation^2) (Kingma and Welling 2014)."""
        excess = self.log_variance - 2 * math.log(self.prior_deviation)
        return 0.5 * (self.mean.square() / self.prior_deviation**2 + excess.exp() - 1 - excess).mean()


class TriplaneVAE(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Compresses planes [B, 3, C, R, R] to latents [B, 3, c, r, r].

    Tokens are patches of patch x patch vertices: a network at the planes' own resolution would be narrow and slow.
    There is a width for each scale from R / patch down by halves; scales below r, if any, lie inside encoder and
    decoder.

    The prior is N(0, 0.25^2), BlockFusion's. That is a matter of scale only (diffusion divides by the latents'
    measured deviation), but what a fresh convolution puts out is larger than such a posterior's noise, so
    training starts from an auto-encoder rather than from noise.
    """

    @register_to_config
    def __init__(
        self,
        plane_channels: int = 8,
        resolution: int = 32,
        latent_channels: int = 4,
        latent_resolution: int = 8,
        widths: Sequence[int] = (16, 48, 64),
        attention_layers: int = 1,
        heads: int = 4,
        attention: str = "softmax",
        activation: str = "silu",
        prior_deviation: float = 0.25,
        patch: int = 1,
    ) -> None:
        super().__init__()
        finest = resolution // patch
        level = round(math.log2(finest / latent_resolution))  # scale of the latents
        bottom = finest // 2 ** (len(widths) - 1)
        if latent_resolution * 2**level * patch != resolution or not 0 <= level < len(widths) or bottom < 1:
            raise ValueError(
                f"patches of {patch} and {len(widths)} scales do not lead from {resolution} to {latent_resolution}"
            )
        self.prior_deviation = prior_deviation
        self.latent_shape = (3, latent_channels, latent_resolution, latent_resolution)
        self.register_buffer("plane_mean", torch.zeros(3, plane_channels, resolution, resolution))
        self.register_buffer("plane_deviation", torch.ones(3, plane_channels, 1, 1))
        self.embedding = PlaneEmbedding(_EMBEDDING)

        def funnel(name: str, first: int, last: int) -> _Funnel:
            mixing = (widths[-1], bottom, heads, _EMBEDDING, attention, activation)
            layers = nn.ModuleList(MixingLayer(f"{name}.mix.{k}", *mixing) for k in range(attention_layers))
            return _Funnel(name, widths, first, last, layers, activation)

        self.patch = patch
        self.planes_in = nn.Conv2d(plane_channels * patch**2, widths[0], 3, padding=1)
        self.encoder = funnel("encoder", 0, level)
        self.latent_out = _head(widths[level], nn.Conv2d(widths[level], 2 * latent_channels, 1), activation)
        self.latent_in = nn.Conv2d(latent_channels, widths[level], 3, padding=1)
        self.decoder = funnel("decoder", level, 0)
        out = silent(nn.Conv2d(widths[0], plane_channels * patch**2, 3, padding=1))
        self.planes_out = _head(widths[0], out, activation)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-arg]  # what convolutions are faster in

    def normalise_to(self, planes: Tensor) -> None:
        """Take the mean block, over `planes` [N, 3, C, R, R] and symmetries, and the deviation of channels from it.

        Fitted planes have much in common, their start above all: the network need not learn that. A quarter turn
        exchanges xy and yz, so these two share their deviations.
        """
        mean = planes.mean(0, dtype=torch.float32)
        mean = torch.stack([symmetry.planes(mean) for symmetry in SYMMETRIES]).mean(0)
        squares = [(part.float() - mean).square().mean((-1, -2)).sum(0) for part in planes.split(_SPLIT)]
        variance = torch.stack(squares).sum(0) / len(planes)  # [3, C]
        upright = variance[[0, 2]].mean(0)
        deviation = torch.stack((upright, variance[1], upright)).sqrt().clamp_min(_LEAST_DEVIATION)
        self.plane_mean.copy_(mean)
        self.plane_deviation.copy_(deviation[..., None, None])

    def fix_latents(self) -> None:
        """From now on only the way back from latents is trained: generators of these latents stay valid."""
        self.requires_grad_(False)
        for part in (self.latent_in, self.decoder, self.planes_out):
            part.requires_grad_(True)

    def normalised(self, planes: Tensor) -> Tensor:
        """Planes less the mean block, with the deviation 1 in every channel."""
        return (planes - self.plane_mean) / self.plane_deviation

    def encode(self, planes: Tensor, skip: Container[str] = ()) -> Posterior:
        """Posterior of the latents of planes [B, 3, C, R, R]."""
        embedding = self.embedding(batch=len(planes))
        patches = pixel_unshuffle(fold(self.normalised(planes)), self.patch)
        x = self.encoder(self.planes_in(_channels_last(patches)), embedding, skip)
        mean, excess = unfold(self.latent_out(x)).float().chunk(2, dim=2)
        log_variance = (excess + _FIRST_LOG_VARIANCE).clamp(*_LOG_VARIANCE) + 2 * math.log(self.prior_deviation)
        return Posterior(mean, log_variance, self.prior_deviation)

    def decode(self, latent: Tensor, skip: Container[str] = ()) -> Tensor:
        """Planes [B, 3, C, R, R] of latents [B, 3, c, r, r]."""
        embedding = self.embedding(batch=len(latent))
        x = self.latent_in(_channels_last(fold(latent / self.prior_deviation)))
        patches = self.planes_out(self.decoder(x, embedding, skip))
        found = unfold(pixel_shuffle(patches, self.patch)).float()
        return found * self.plane_deviation + self.plane_mean

    def forward(
        self, planes: Tensor, noise: Tensor | None = None, slack: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Planes decoded from a sample of the posterior (its mean without `noise`), its mean and log-variance.

        slack: how far the latents that are decoded are off besides, of their shape.
        """
        posterior = self.encode(planes)
        latent = posterior.mean if noise is None else posterior.sample(noise)
        return self.decode(latent if slack is None else latent + slack), posterior.mean, posterior.log_variance


class _Funnel(nn.Module):
    """Falls from the scale `first` to the coarsest, mixes the planes there, and rises to the scale `last`.

    What was seen on the way down is added on the way up.
    """

    def __init__(
        self, name: str, widths: Sequence[int], first: int, last: int, layers: nn.ModuleList, activation: str
    ) -> None:
        super().__init__()

        def block(kind: str, level: int, width: int) -> ConvBlock:
            return ConvBlock(f"{name}.{kind}.{level}", width, widths[level], _EMBEDDING, activation)

        bottom = len(widths) - 1
        falling, rising = range(first, bottom), range(bottom - 1, last - 1, -1)
        self.first, self.rises, self.mixing = first, rising, layers
        self.falling = nn.ModuleList(
            block("down", level, widths[max(level - 1, first)]) for level in range(first, bottom + 1)
        )
        self.halves = nn.ModuleList(nn.Conv2d(widths[k], widths[k], 3, stride=2, padding=1) for k in falling)
        self.doubles = nn.ModuleList(Upsample(widths[k + 1], widths[k]) for k in rising)
        self.rising = nn.ModuleList(block("up", level, widths[level]) for level in rising)

    def forward(self, x: Tensor, embedding: Tensor, skip: Container[str]) -> Tensor:
        kept = {}
        for step, block in enumerate(self.falling):
            x = block(x, embedding, skip)
            if step < len(self.halves):
                kept[self.first + step] = x
                x = self.halves[step](x)
        for layer in self.mixing:
            x = layer(x, embedding, skip)
        for level, double, block in zip(self.rises, self.doubles, self.rising, strict=True):
            x = double(x)
            x = block(x + kept[level] if level in kept else x, embedding, skip)
        return x


def _channels_last(stack: Tensor) -> Tensor:
    return stack.contiguous(memory_format=torch.channels_last)


def _head(width: int, last: nn.Module, activation: str) -> nn.Sequential:
    return nn.Sequential(norm(width), activation_of(activation), last)
