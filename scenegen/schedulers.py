"""Noise schedules and samplers, from diffusers: linear variance over 1,000 steps, nothing clipped."""

from __future__ import annotations

from typing import Any

from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from fields.errors import UserError

TRAIN_STEPS = 1000
PREDICTIONS = ("sample", "v_prediction")  # the clean latents (BlockFusion), or Salimans and Ho's velocity
_SCHEDULE = {"num_train_timesteps": TRAIN_STEPS, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}

Scheduler = DDPMScheduler | DDIMScheduler | DPMSolverMultistepScheduler


def noise_schedule(prediction: str = "sample") -> DDPMScheduler:
    """What trainings add noise by (Ho et al. 2020, section 4).

    Raises:
        UserError: `E-USAGE-PREDICTION`.
    """
    return DDPMScheduler(**_SCHEDULE, **_common(prediction), variance_type="fixed_small")


def sampler(name: str, prediction: str = "sample") -> Scheduler:
    """A sampler by name: ddpm (ancestral), ddim (Song et al. 2021) or dpm (DPM-Solver++, Lu et al. 2022).

    Raises:
        UserError: `E-USAGE-SAMPLER`, `E-USAGE-PREDICTION`.
    """
    if name == "ddpm":
        return noise_schedule(prediction)
    if name == "ddim":
        return DDIMScheduler(**_SCHEDULE, **_common(prediction), timestep_spacing="trailing", set_alpha_to_one=True)
    if name == "dpm":
        return DPMSolverMultistepScheduler(
            **_SCHEDULE, prediction_type=_checked(prediction), solver_order=2, timestep_spacing="trailing"
        )
    raise UserError("E-USAGE-SAMPLER", "unknown sampler", got=name, expected=" ".join(SAMPLERS), fix="use ddim")


SAMPLERS = ("ddpm", "ddim", "dpm")


def target_of(schedule: DDPMScheduler, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """What the network is to predict at `time` [B], by the schedule's prediction type."""
    if schedule.config["prediction_type"] == "sample":
        return clean
    return schedule.get_velocity(clean, noise, time)  # type: ignore[arg-type]


def _common(prediction: str) -> dict[str, Any]:
    return {"prediction_type": _checked(prediction), "clip_sample": False}


def _checked(prediction: str) -> str:
    if prediction not in PREDICTIONS:
        raise UserError("E-USAGE-PREDICTION", "unknown prediction type", got=prediction,
                        expected=" ".join(PREDICTIONS), fix="use sample")  # fmt: skip
    return prediction
