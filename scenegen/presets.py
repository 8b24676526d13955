"""Sizes of everything from blocks to diffusion, as one ladder: `tiny` for two cores, `small` for one GPU, `paper`."""

from __future__ import annotations

from dataclasses import dataclass

from fields.errors import UserError


@dataclass(frozen=True)
class DataPreset:
    """Procedural scenes, block crops from each, share of scenes held out, and samples stored for a block."""

    scenes: int
    crops: int = 2
    held_out: float = 0.25
    samples: int = 16_384


@dataclass(frozen=True)
class FitPreset:
    """Tri-planes [3, channels, resolution, resolution] under a decoder channels-width-...-width-1.

    levels: resolutions from coarse to fine. joint_blocks, joint_steps: the subset that the decoder is trained on.
    steps: of every block under the frozen decoder, with `points` samples each. batch: blocks at a time.
    """

    channels: int
    resolution: int
    width: int
    layers: int
    levels: tuple[int, ...]
    joint_blocks: int
    joint_steps: int
    steps: int
    points: int
    batch: int = 16


@dataclass(frozen=True)
class VaePreset:
    """Tri-plane VAE: channels at each scale, attention layers over all planes' tokens, latent, training.

    steps: of the whole VAE. improve_steps: after them, of the way back alone, from latents that stay as they are.
    """

    widths: tuple[int, ...]
    attention: int
    latent_channels: int
    latent_resolution: int
    batch: int
    steps: int
    improve_steps: int
    learning_rate: float = 2e-3
    patch: int = 1  # vertices of a plane, along each side, in one token


@dataclass(frozen=True)
class DiffusionPreset:
    """Denoiser: channels at each scale, residual and mid attention layers; training; steps of sampling."""

    widths: tuple[int, ...]
    residual: int
    attention: int
    batch: int
    steps: int
    sampling_steps: int
    ema: float = 0.999
    learning_rate: float = 2e-3


@dataclass(frozen=True)
class Preset:
    """One rung of the ladder."""

    data: DataPreset
    fit: FitPreset
    vae: VaePreset
    diffusion: DiffusionPreset


PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        DataPreset(scenes=700, held_out=0.2),
        FitPreset(8, 32, 64, 2, (8, 16, 32), joint_blocks=64, joint_steps=800, steps=350, points=2048),
        VaePreset((16, 48, 64), 1, 8, 8, batch=16, steps=5500, improve_steps=2000, learning_rate=5e-3),
        DiffusionPreset((64, 128), 1, 2, batch=16, steps=5500, sampling_steps=20, learning_rate=8e-3),
    ),
    "small": Preset(
        DataPreset(scenes=1500, samples=65_536),
        FitPreset(16, 64, 64, 3, (16, 32, 64), joint_blocks=64, joint_steps=600, steps=600, points=8192, batch=32),
        VaePreset((64, 96, 128), 2, 4, 16, batch=32, steps=12_000, improve_steps=21_600),
        DiffusionPreset((96, 160, 256), 2, 4, batch=128, steps=15_000, sampling_steps=100, ema=0.9995),
    ),
    "paper": Preset(
        DataPreset(scenes=9123, crops=6, held_out=0.05, samples=400_000),
        FitPreset(32, 128, 128, 3, (4, 8, 16, 32, 64, 128), joint_blocks=64, joint_steps=1200, steps=1200,
                  points=204_800, batch=4),
        VaePreset((128, 512, 512, 1024, 1024, 1024), 16, 2, 32, batch=8, steps=480_000, improve_steps=864_000,
                  learning_rate=5e-4),
        DiffusionPreset((256, 256, 512), 2, 6, batch=64, steps=400_000, sampling_steps=1000, ema=0.9999,
                        learning_rate=5e-4),
    ),
}  # fmt: skip


def preset_named(name: str) -> Preset:
    """The rung called `name`.

    Raises:
        UserError: `E-USAGE-PRESET`.
    """
    if name not in PRESETS:
        raise UserError(
            "E-USAGE-PRESET",
            "no such preset",
            got=name,
            expected=" ".join(PRESETS),
            fix="use --preset tiny",
        )
    return PRESETS[name]
