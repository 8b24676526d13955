"""A whole model whose untrained networks make uneven floors, for tests of the commands on scenes."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from scene_blocks import woken

from data.palette import World, legend
from scenegen.blocks import BlockFrame
from scenegen.decoder import TriplaneDecoder
from scenegen.model_folder import save_models
from scenegen.models import TriplaneVAE, build_denoiser

_KEPT: list[tempfile.TemporaryDirectory[str]] = []
_CHANNELS, _RESOLUTION, _LATENT = 4, 16, 4
_FLOOR = 0.9  # block units: half of the floor's depth below the block's middle comes from each upright plane


@functools.cache
def floor_model(world: World = "room") -> Path:
    """A model folder with decoder, VAE and denoiser, made once; do not change it."""
    _KEPT.append(tempfile.TemporaryDirectory(prefix="fieldscape-tests-"))
    classes = [entry.name for entry in legend(world)]
    notes = {"world": world, "frame": asdict(BlockFrame()), "classes": classes, "prediction": "sample"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = build_denoiser(
            "conv", latent_channels=2, resolution=_LATENT, classes=len(classes), widths=(16, 32), condition_width=8
        )
        vae = TriplaneVAE(
            _CHANNELS, _RESOLUTION, latent_channels=2, latent_resolution=_LATENT, widths=(8, 16, 16), heads=2
        )
        decoder = TriplaneDecoder(_CHANNELS, _RESOLUTION, width=8, layers=1)
    models = {"decoder": _first_channel(decoder), "vae": _floor(woken(vae)), "denoiser": woken(denoiser)}
    return save_models(Path(_KEPT[-1].name) / "model", models, card="# Floors\n", notes=notes)


def _floor(vae: TriplaneVAE) -> TriplaneVAE:
    """Decodes to a height above a floor in both upright planes, with a few per cent of noise."""
    height = (torch.linspace(-1, 1, _RESOLUTION) + _FLOOR) / 2
    vae.plane_mean.zero_()
    vae.plane_mean[0, 0] = height[:, None]  # rows of xy are y
    vae.plane_mean[2, 0] = height[None, :]  # columns of yz are y
    vae.plane_deviation.fill_(0.01)
    return vae


def _first_channel(decoder: TriplaneDecoder) -> TriplaneDecoder:
    """Distance = the planes' first channel."""
    first, last = decoder.network[0], decoder.network[-1]
    for layer in (first, last):
        layer.weight.data.zero_()
        layer.bias.data.zero_()
    first.weight.data[0, 0], first.weight.data[1, 0] = 1.0, -1.0
    last.weight.data[0, 0], last.weight.data[0, 1] = 1.0, -1.0
    return decoder
