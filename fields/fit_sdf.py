"""Fitting a signed-distance field to points whose distances are known."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cuda_ext import quiet_torch

from .budget import Budget
from .field import Field
from .fit import REPORT_STEPS, FitState
from .progress import Progress
from .sdf_loss import distance_rate, eikonal_loss, sdf_loss
from .volume import SURFACE_STEPS


class DistanceSource(Protocol):
    """Where the points of a fit come from: `data.mesh_sdf.MeshSDF`, or an analytic shape."""

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Positions [N, 3] and signed distances [N], scene units, negative inside, drawn anew."""
        ...


@dataclass(frozen=True)
class SDFOptions:
    """What a fit of distances may vary; lengths are shares of the longest side of the field's box.

    `tolerance`: errors count relative to the distance plus this. `eikonal` weighs the squared
    deviation of the gradient's length from one at a share `eikonal_share` of the points, from differences
    over `eikonal_reach`; it doubles the cost of a step, and smooths what few steps leave rough.
    """

    batch: int = 1 << 14
    tolerance: float = 0.01
    eikonal: float = 0.0
    eikonal_share: float = 0.125
    eikonal_reach: float = 1 / 512


def fit_sdf(
    field: Field,
    source: DistanceSource,
    budget: Budget,
    *,
    seed: int = 0,
    state: FitState | None = None,
    options: SDFOptions | None = None,
) -> Generator[Progress, None, None]:
    """Fit `field`, of kind `sdf`, in place to the distances of `source`; yields every 16 steps.

    Only geometry is fitted: the appearance network stays as it is. Ends after the budget, with `log_beta` set
    to half a marching step and the occupancy grid built from the final field. With a `FitState` it goes on
    from there; a run that ends by steps then gives the same bits as an unbroken one.

    Raises:
        TypeError: for a density field.
        UserError: `E-NAN-FIT` when steps keep producing numbers that are not finite.
    """
    if field.kind != "sdf":
        raise TypeError("fit_sdf: this is a density field, expected kind='sdf'")
    options = options or SDFOptions()
    state = state or FitState(field, seed)
    _spare_appearance(state)
    started = time.perf_counter() - state.elapsed
    while not budget.done(state.step, state.elapsed):
        fraction = budget.fraction(state.step, state.elapsed)
        if field.backend.grow(fraction):
            state.renew_optimiser()
            _spare_appearance(state)
        with quiet_torch():
            _step(field, source, state, options, distance_rate(fraction, hold=0.3))
        state.step += 1
        state.elapsed = time.perf_counter() - started
        if state.step % REPORT_STEPS == 0:
            yield _report(state, budget)
            started = time.perf_counter() - state.elapsed  # time outside the generator does not count
    _prepare_rendering(field, seed)
    yield _report(state, budget)


def _step(field: Field, source: DistanceSource, state: FitState, options: SDFOptions, rate: float) -> None:
    x, sdf = source.sample(options.batch, state.generator)
    x, sdf = x.to(field.device), sdf.to(field.device)
    loss = sdf_loss(field, x, sdf, options.tolerance)
    total = loss
    if options.eikonal > 0:
        some = x[: math.ceil(options.eikonal_share * len(x))]
        reach = options.eikonal_reach * field.space.extent
        total = total + options.eikonal * eikonal_loss(field, some, reach)
    penalty = field.backend.penalty()
    if penalty is not None:
        total = total + penalty
    total.backward()
    if state.guard.admits(state.step, state.optimiser.collect()):
        state.optimiser.step(rate * state.guard.rate)
        value = float(loss.detach())
        state.loss = value if state.loss == 0 else 0.98 * state.loss + 0.02 * value


def _spare_appearance(state: FitState) -> None:
    """No weight decay: where nothing else gives a gradient, Adam makes full steps of it, down to zero."""
    for group in state.optimiser.groups:
        group.decay = 0.0


@torch.no_grad()
def _prepare_rendering(field: Field, seed: int) -> None:
    space = field.space
    field.log_beta.fill_(math.log(SURFACE_STEPS * space.step / space.extent))
    field.occupancy.rebuild(field, torch.Generator().manual_seed(seed))


def _report(state: FitState, budget: Budget) -> Progress:
    return Progress(
        state.step,
        budget.steps or 0,
        "fit",
        state.elapsed,
        budget.remaining(state.step, state.elapsed),
        state.loss,
        {"relative_error": state.loss},
    )
