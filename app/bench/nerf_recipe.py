"""NeRF's own way of training, as a line to compare with."""

from __future__ import annotations

import time
from collections.abc import Generator

from torch import Tensor

from cuda_ext import Adam, ParameterGroup
from fields.budget import Budget
from fields.field import Field
from fields.fit import PixelCursor, PixelSource
from fields.progress import Progress
from fields.render import pixel_loss
from fields.samplers import UniformSampler
from fields.views import Capture

_RAYS, _SAMPLES = 1024, 64
_RATE, _LAST_RATE = 5e-4, 0.1  # the last one a share of the first
_REPORT_STEPS = 16


def nerf_sampler(field: Field) -> UniformSampler:
    """All of a ray, empty or not."""
    return UniformSampler(field.space.diagonal / _SAMPLES)


def nerf_steps(field: Field, capture: Capture, budget: Budget, seed: int) -> Generator[Progress, None, None]:
    """Fit a density field in place as Mildenhall et al. 2020 do (section 5.3); yields every 16 steps.

    Random rays of all photos, up to 64 samples over the whole of each, no occupancy grid; Adam at 5e-4, falling to a
    tenth. Their second network and its 128 finer samples are left out, which makes a step four times cheaper.
    """
    source, sampler = PixelSource(capture, PixelCursor(seed), field.space, capture.near), nerf_sampler(field)
    trained: list[Tensor] = [p for p in field.parameters() if p.requires_grad]
    optimiser = Adam([ParameterGroup(trained, _RATE)], (0.9, 0.999), 1e-8)
    step, elapsed, loss = 0, 0.0, 0.0
    while not budget.done(step, elapsed):
        began = time.perf_counter()
        drawn, *values = source.draw(_RAYS)
        rays = drawn.to(field.device)
        start, end, wanted, behind = (value.to(field.device) for value in values)
        samples, x, _ = sampler.sample(rays, start, end, _SAMPLES)
        error = pixel_loss(field, rays, samples, x, field.features(x), wanted, behind)
        error.backward()
        optimiser.collect()
        optimiser.step(_LAST_RATE ** budget.fraction(step, elapsed))
        step, loss = step + 1, float(error.detach())
        elapsed += time.perf_counter() - began
        if step % _REPORT_STEPS == 0 or budget.done(step, elapsed):
            yield Progress(step, budget.steps or 0, "nerf", elapsed, budget.remaining(step, elapsed), loss)
