"""Latents of new blocks that go with what is known already: few-step DDIM with RePaint's resampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fields.errors import UserError

from ..models import ConvDenoiser
from ..sampling import predict
from ..schedulers import PREDICTIONS, TRAIN_STEPS, noise_schedule, sampler
from .neighbours import Known

CLEAN = -1  # the time of latents without noise
_MOST_RESAMPLES = 100
_FEWEST = 8  # blocks evaluated at a time: products of smaller matrices go other ways on a CPU, and round otherwise

Noise = Callable[[int], Tensor]  # draw n of noise for every block, [B, 3, c, r, r]


@dataclass(frozen=True)
class GrowOptions:
    """How blocks are drawn.

    resamples, jump: go back `jump` of the `steps` and through them again, so often in all that each is done
    `resamples` times (1: never); the more, the better new parts go with known ones. guidance: 1 follows the plan as
    learned, more exaggerates it, 0 ignores it. prediction: what the denoiser was trained for.
    """

    steps: int = 20
    resamples: int = 1
    jump: int = 5
    guidance: float = 2.0
    prediction: str = "sample"

    def __post_init__(self) -> None:
        """Raises `UserError`: `E-USAGE-STEPS`, `-RESAMPLES`, `-JUMP`, `-GUIDANCE`, `-PREDICTION`."""
        _within("STEPS", "number of sampling steps", self.steps, 1, TRAIN_STEPS)
        _within("RESAMPLES", "number of resamples", self.resamples, 1, _MOST_RESAMPLES)
        _within("JUMP", "jump", self.jump, 1, TRAIN_STEPS if self.resamples == 1 else max(1, self.steps - 1))
        if not (math.isfinite(self.guidance) and 0 <= self.guidance <= 100):
            raise UserError("E-USAGE-GUIDANCE", "no such guidance", got=self.guidance, expected="0 to 100",
                            fix="use 1")  # fmt: skip
        if self.prediction not in PREDICTIONS:
            raise UserError("E-USAGE-PREDICTION", "unknown prediction type", got=self.prediction,
                            expected=" ".join(PREDICTIONS), fix="use sample")  # fmt: skip


def _within(code: str, what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UserError(f"E-USAGE-{code}", f"no such {what}", got=value, expected=f"{low} to {high}",
                        fix="leave the option out, or give a number in that range")  # fmt: skip


@dataclass(frozen=True)
class Step:
    """From one time of the noise schedule to another, by the denoiser or by fresh noise."""

    time: int
    next_time: int
    kind: Literal["denoise", "renoise"]


def sampling_times(steps: int) -> list[int]:
    """Times from the noisiest to CLEAN, `steps` + 1 of them, evenly spaced from the end of the schedule."""
    schedule: Any = sampler("ddim")  # its annotations are at odds with its use
    schedule.set_timesteps(steps)
    return [*schedule.timesteps.tolist(), CLEAN]


def resampling_plan(steps: int, resamples: int = 1, jump: int = 1) -> list[Step]:
    """What is done one after the other to get from noise to latents.

    RePaint's schedule (Lugmayr et al. 2022, section 4.2 and appendix B) over few steps: at every `jump`-th time
    it goes back by `jump` steps and comes down again, `resamples` - 1 times.
    """
    times = sampling_times(steps)[::-1]  # by level, 0 is clean
    left = dict.fromkeys(range(0, steps - jump, jump), resamples - 1)
    level, plan = steps, []
    while level > 0 or left.get(level):
        if left.get(level):
            left[level] -= 1
            plan.append(Step(times[level], times[level + jump], "renoise"))
            level += jump
        else:
            plan.append(Step(times[level], times[level - 1], "denoise"))
            level -= 1
    return plan


@torch.no_grad()
def extrapolate(
    denoiser: ConvDenoiser, plans: Tensor, known: Sequence[Known], noise: Noise, options: GrowOptions
) -> Tensor:
    """Latents [B, 3, c, r, r] of the VAE for blocks with plans [B, K, S, S], on the CPU.

    Known cells come out as they are, bit for bit. A block's result does not depend (but for rounding) on what else
    is in the batch: blocks of which nothing is known need no resampling, and get none.
    """
    latent = torch.stack([one.latent for one in known])
    mask = torch.stack([one.mask for one in known])
    bound = mask.flatten(1).any(1)
    found = torch.empty_like(latent)
    for part in (~bound, bound):
        rows = part.nonzero()[:, 0]
        if len(rows):
            more = rows.repeat(-(-_FEWEST // len(rows)))[: max(_FEWEST, len(rows))]
            drawn = _drawn(denoiser, plans[more], Known(latent[more], mask[more]), _of(noise, more), options)
            found[rows] = drawn[: len(rows)]
    return torch.where(mask, latent, found)


def _of(noise: Noise, rows: Tensor) -> Noise:
    """Noise of some of the blocks."""
    return lambda draw: noise(draw)[rows]


def _drawn(denoiser: ConvDenoiser, plans: Tensor, known: Known, noise: Noise, options: GrowOptions) -> Tensor:
    """Latents of blocks that all know something or all know nothing; `known` is stacked."""
    device = next(denoiser.parameters()).device
    mask, plans = known.mask.to(device), plans.to(device).float()
    target = denoiser.normalised(known.latent.to(device)) * mask
    bound = bool(mask.any())
    context = torch.cat((target, mask.to(target)), dim=2) if bound else None
    steps = resampling_plan(options.steps, options.resamples if bound else 1, options.jump)
    level, draw = NoiseLevels(options.prediction), 0
    fresh = noise(draw).to(device)
    noisy = torch.where(mask, level.noised(target, CLEAN, steps[0].time, fresh), fresh)
    for step in steps:
        if step.kind == "renoise":
            draw += 1
            noisy = level.noised(noisy, step.time, step.next_time, noise(draw).to(device))
            continue
        found = predict(denoiser, noisy, torch.tensor(step.time, device=device), plans, options.guidance, context)
        clean = torch.where(mask, target, level.clean(found, noisy, step.time))
        noisy = level.denoised(clean, noisy, step)
    return denoiser.restored(noisy).cpu()


class NoiseLevels:
    """Changes of the noise in latents x = sqrt(a) clean + sqrt(1 - a) noise, with a of the time."""

    def __init__(self, prediction: str) -> None:
        schedule = noise_schedule(prediction)
        self._kept = [*schedule.alphas_cumprod.double().tolist(), 1.0]  # the last one, at -1, is that of CLEAN
        self._velocity = prediction == "v_prediction"

    def clean(self, found: Tensor, noisy: Tensor, time: int) -> Tensor:
        """Clean latents from what the denoiser said of `noisy`."""
        if not self._velocity:
            return found
        kept = self._kept[time]
        return math.sqrt(kept) * noisy - math.sqrt(1 - kept) * found

    def denoised(self, clean: Tensor, noisy: Tensor, step: Step) -> Tensor:
        """Song et al. 2021, equation 12 without fresh noise: the same noise, less of it.

        Where `clean` is known, `noisy` holds its noise already, so known cells stay on their own way.
        """
        kept, later = self._kept[step.time], self._kept[step.next_time]
        noise = (noisy - math.sqrt(kept) * clean) / math.sqrt(1 - kept)
        return math.sqrt(later) * clean + math.sqrt(1 - later) * noise

    def noised(self, latent: Tensor, time: int, next_time: int, noise: Tensor) -> Tensor:
        """Latents of `time` with fresh noise added up to `next_time` (Ho et al. 2020, equation 4)."""
        kept = self._kept[next_time] / self._kept[time]
        return math.sqrt(kept) * latent + math.sqrt(1 - kept) * noise
