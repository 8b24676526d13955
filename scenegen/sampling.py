"""Latents from noise under floor plans, and their planes."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fields.errors import UserError
from fields.progress import Clock, Progress

from .models import ConvDenoiser, TriplaneVAE
from .schedulers import TRAIN_STEPS, sampler


@dataclass(frozen=True)
class SamplingOptions:
    """How latents are drawn; `prediction` is what the denoiser was trained for.

    guidance: 1 follows the plan as learned, more exaggerates it, 0 ignores it.
    """

    sampler: str = "ddim"
    steps: int = 20
    guidance: float = 2.0
    prediction: str = "sample"
    batch: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= TRAIN_STEPS:
            raise UserError("E-USAGE-STEPS", "no such number of sampling steps", got=self.steps,
                            expected=f"1 to {TRAIN_STEPS}", fix="use 50")  # fmt: skip


@torch.no_grad()
def sample_latents(
    denoiser: ConvDenoiser, layout: Tensor, seeds: Sequence[int], options: SamplingOptions
) -> Generator[Progress, None, Tensor]:
    """Latents [B, 3, c, r, r] of the VAE for plans [B, K, S, S]: the generator's return value, on the CPU.

    Every block draws from a generator of its own seed, so it comes out the same (to rounding) in any batch.

    Raises:
        UserError: `E-USAGE-SAMPLER`, `E-USAGE-PREDICTION`.
    """
    sampler(options.sampler, options.prediction)
    if len(seeds) != len(layout):
        raise ValueError(f"{len(seeds)} seeds for {len(layout)} plans")
    clock, found = Clock(), []
    total = -(-len(layout) // options.batch) * options.steps
    for start in range(0, len(layout), options.batch):
        part = slice(start, start + options.batch)
        for step in _denoise(denoiser, layout[part], seeds[part], options):
            if isinstance(step, Tensor):
                found.append(step)
            else:
                yield clock.report(len(found) * options.steps + step, total, "sample")
    return torch.cat(found)


def _denoise(
    denoiser: ConvDenoiser, layout: Tensor, seeds: Sequence[int], options: SamplingOptions
) -> Iterator[int | Tensor]:
    """Numbers of finished steps, and the latents in the end."""
    device = next(denoiser.parameters()).device
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    schedule: Any = sampler(options.sampler, options.prediction)  # their annotations are at odds with their use
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # DPM-Solver hands a tensor to NumPy the old way
        schedule.set_timesteps(options.steps, device=device)
    noisy = torch.stack([torch.randn(denoiser.latent_shape, generator=g) for g in generators]).to(device)
    plan = layout.float().to(device)
    draws = {"generator": generators} if options.sampler == "ddpm" else {}  # the others are deterministic
    for done, time in enumerate(schedule.timesteps, 1):
        noisy = _step(denoiser, schedule, noisy, time, plan, options.guidance, draws)
        yield done
    yield denoiser.restored(noisy).cpu()


def _step(
    denoiser: ConvDenoiser,
    schedule: Any,
    noisy: Tensor,
    time: Tensor,
    plan: Tensor,
    guidance: float,
    draws: dict[str, Any],
) -> Tensor:
    found = predict(denoiser, schedule.scale_model_input(noisy, time), time, plan, guidance)
    return schedule.step(found, time, noisy, **draws).prev_sample


def predict(
    denoiser: ConvDenoiser,
    noisy: Tensor,
    time: Tensor,
    plan: Tensor,
    guidance: float,
    context: Tensor | None = None,
) -> Tensor:
    """The denoiser's prediction with classifier-free guidance (Ho and Salimans 2022, equation 6 with w + 1).

    `context` [B, 3, c + 1, r, r] is as in `ConvDenoiser.forward`; guidance is towards the plan only.
    """
    times = time.expand(len(noisy))
    planned = torch.ones(len(noisy), dtype=torch.bool, device=noisy.device)
    if guidance in (0.0, 1.0):
        return denoiser(noisy, times, plan, planned if guidance else ~planned, context)
    twice = None if context is None else context.repeat(2, 1, 1, 1, 1)
    either = torch.cat((planned, ~planned))
    both = denoiser(noisy.repeat(2, 1, 1, 1, 1), times.repeat(2), plan.repeat(2, 1, 1, 1), either, twice)
    with_plan, without = both.chunk(2)
    return without + guidance * (with_plan - without)


@torch.no_grad()
def decode_latents(vae: TriplaneVAE, latents: Tensor, batch: int = 16) -> Tensor:
    """Planes [B, 3, C, R, R] of latents, on the CPU."""
    device = next(vae.parameters()).device
    return torch.cat([vae.decode(part.to(device)).cpu() for part in latents.split(batch)])
