"""Training a denoiser on latents under floor plans."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from fields.budget import Budget
from fields.progress import Progress

from .augment import SYMMETRIES
from .block_set import move
from .latents import LatentSet
from .models import ConvDenoiser
from .schedulers import TRAIN_STEPS, noise_schedule, target_of
from .training import Losses, Share, TrainOptions, TrainState, precision, share_of, train
from .world.neighbours import OFFSETS, known_mask


@dataclass(frozen=True)
class DiffusionOptions(TrainOptions):
    """`prediction`: sample (the clean latents) or v_prediction."""

    prediction: str = "sample"
    dropout: float = 0.1  # share of plans that are withheld: makes guidance possible (Ho and Salimans 2022)
    alone: float = 0.5  # share of blocks that are made without neighbours; the others with any number


def train_diffusion(
    state: TrainState[ConvDenoiser], latents: LatentSet, options: DiffusionOptions, budget: Budget
) -> Generator[Progress, None, None]:
    """Train `state.model` in place; a new state takes the normalisation of latents from them.

    Raises:
        UserError: `E-NAN-FIT`, `E-USAGE-BATCH`, `E-USAGE-BUDGET`, `E-USAGE-PREDICTION`.
    """
    schedule = noise_schedule(options.prediction)
    if state.step == 0:
        state.model.normalise_to(*latents.channel_figures())
    share = share_of(state, options, budget)

    def losses_of(_: float) -> Losses:
        batch = _draw(latents, state, share, options)
        return _losses(state.model, share.network, batch, schedule, options)

    yield from train(state, losses_of, budget, "diffusion")


@dataclass(frozen=True)
class _Batch:
    latent: Tensor  # [B, 3, c, r, r]
    layout: Tensor  # [B, K, S, S]
    planned: Tensor  # bool [B]
    fixed: Tensor  # bool [B, 3, 1, r, r]: what neighbours have fixed already
    noise: Tensor  # [B, 3, c, r, r]
    time: Tensor  # [B]


def _draw(latents: LatentSet, state: TrainState[ConvDenoiser], share: Share, options: DiffusionOptions) -> _Batch:
    """Copies of blocks, each at a time from its own part of the schedule, so that every batch spans it."""
    generator, count = state.generator, options.batch
    index = torch.randint(len(latents), (count,), generator=generator)
    turns = torch.randint(len(SYMMETRIES), (count,), generator=generator)
    time = (torch.rand(count, generator=generator) + torch.arange(count)) * (TRAIN_STEPS / count)
    planned = torch.rand(count, generator=generator) >= options.dropout
    fixed = _neighbourhoods(count, latents.mean.shape[-1], options.alone, generator)
    within, noise = torch.randn(2, count, *state.model.latent_shape, generator=generator)
    latent = latents.mean[index, turns] + latents.deviation[index, turns] * within
    layout = move(latents.layout[index], "layout", turns.tolist())
    tensors = (latent, layout.float(), planned, fixed, noise, time.long().clamp_max(TRAIN_STEPS - 1))
    return _Batch(*(tensor[share.part].to(state.device) for tensor in tensors))


def _neighbourhoods(count: int, resolution: int, alone: float, generator: torch.Generator) -> Tensor:
    """What random sets of neighbours would fix, bool [count, 3, 1, r, r]."""
    share = torch.rand(count, 1, generator=generator) * (torch.rand(count, 1, generator=generator) >= alone)
    there = torch.rand(count, len(OFFSETS), generator=generator) < share
    chosen = [[offset for offset, is_there in zip(OFFSETS, row, strict=True) if is_there] for row in there.tolist()]
    return torch.stack([known_mask(offsets, resolution) for offsets in chosen])


def _losses(
    model: ConvDenoiser, network: nn.Module, batch: _Batch, schedule: DDPMScheduler, options: DiffusionOptions
) -> Losses:
    clean = model.normalised(batch.latent)
    noisy = schedule.add_noise(clean, batch.noise, batch.time)  # type: ignore[arg-type]
    with precision(noisy.device, options.bfloat16):
        context = torch.cat((clean * batch.fixed, batch.fixed.to(clean)), dim=2)
        found = network(noisy, batch.time, batch.layout, batch.planned, context)
    return {"loss": mse_loss(found, target_of(schedule, clean, batch.noise, batch.time))}
