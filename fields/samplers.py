"""Where along its ray a field is looked at: what a sampler is, and the one that skips nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .cameras import Rays
from .samples import Samples


class Sampler(Protocol):
    """Chooses intervals of rays; `OccupancyGrid` and `UniformSampler` are samplers."""

    def sample(self, rays: Rays, start: Tensor, end: Tensor, limit: int) -> tuple[Samples, Tensor, Tensor]:
        """At most `limit` intervals of each ray from start [R], none of which begins at end [R] or later.

        Returns the samples, their midpoints x [S, 3], and where each ray goes on [R]: at its end or later when
        there is nothing left to sample.
        """
        ...


@dataclass(frozen=True)
class UniformSampler:
    """Steps of one length from start to end, the last one cut off there: all of a ray, occupied or not."""

    step: float  # scene units

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise ValueError(f"uniform sampler: step {self.step}, expected a positive length")

    def sample(self, rays: Rays, start: Tensor, end: Tensor, limit: int) -> tuple[Samples, Tensor, Tensor]:
        """See `Sampler.sample`."""
        steps = ((end - start) / self.step).nan_to_num(0.0).ceil().clamp(0, limit).long()
        offsets = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
        ray = torch.repeat_interleave(torch.arange(len(steps), device=steps.device), steps)
        order = torch.arange(len(ray), device=ray.device) - offsets[ray]
        first = start[ray] + order * self.step
        last = torch.minimum(start[ray] + (order + 1) * self.step, end[ray])
        samples = Samples(ray, first, last, offsets)
        onwards = torch.maximum(torch.minimum(start + steps * self.step, end), start)
        return samples, samples.positions(rays.origins, rays.directions), onwards
