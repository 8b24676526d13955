"""Where a field lives: its box in scene units, and how space outside the box is treated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cuda_ext.march import MarchSpace, contract, uncontract

from .views import Contraction

# Marching steps along the box's diagonal, and the growth of a step with distance where space is contracted.
STEPS_ALONG_DIAGONAL = 512
UNBOUNDED_CONE = 1 / 128
_FAR_DIAGONALS = 16  # where rays of an unbounded space end: 3 % of the cube lies beyond


@dataclass(frozen=True, eq=False)
class Space:
    """Maps scene positions to the unit cube in which backends work.

    `none`: the box is the whole scene. `unbounded`: all space is contracted, the box keeps the middle half
    of every axis. `ndc`: as `none`, in the normalised device coordinates that the capture's rays come in.
    """

    bounds: Tensor  # [2, 3] low, high, scene units
    contraction: Contraction = "none"

    @cached_property
    def extent(self) -> float:
        """Longest side of the box, scene units: densities are stored relative to it."""
        return float((self.bounds[1] - self.bounds[0]).max())

    @cached_property
    def diagonal(self) -> float:
        return float((self.bounds[1] - self.bounds[0]).norm())

    @cached_property
    def step(self) -> float:
        """Marching step, scene units."""
        return self.diagonal / STEPS_ALONG_DIAGONAL

    @property
    def unbounded(self) -> bool:
        return self.contraction == "unbounded"

    @cached_property
    def _to_box(self) -> Tensor:
        """Shift and scale [2, 3] from scene positions to box coordinates."""
        scale = 1 / (self.bounds[1] - self.bounds[0])
        return torch.stack([-self.bounds[0] * scale, scale])

    def to_unit(self, x: Tensor) -> Tensor:
        """Scene positions [..., 3] -> unit cube; outside the box of a bounded space it leaves [0, 1]."""
        shift, scale = self._to_box.to(x.device)
        u = torch.addcmul(shift, x, scale)
        return contract(u) if self.unbounded else u

    def to_scene(self, u: Tensor) -> Tensor:
        """Inverse of `to_unit` inside the cube."""
        low, high = self.bounds.to(u.device)
        if self.unbounded:
            u = uncontract(u)
        return low + u * (high - low)

    def contains(self, x: Tensor) -> Tensor:
        """Which positions [N, 3] lie in the field's domain, [N] bool."""
        if self.unbounded:
            return torch.ones(x.shape[0], dtype=torch.bool, device=x.device)
        low, high = self.bounds.to(x.device)
        return ((x >= low) & (x <= high)).all(dim=-1)

    def march_space(self, resolution: int) -> MarchSpace:
        """The marching parameters for an occupancy grid of this resolution."""
        cone = UNBOUNDED_CONE if self.unbounded else 0.0
        return MarchSpace(self.bounds, resolution, self.unbounded, self.step, cone)

    def clip(
        self, origins: Tensor, directions: Tensor, near: float, box: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Where rays [R] enter and leave the domain: (t [R], t_end [R]), empty where t >= t_end.

        With a `box` [2, 3] inside the domain, that part of it; an unbounded domain is left as it is.
        """
        if self.unbounded:
            start = torch.full_like(origins[:, 0], max(near, self.step))
            return start, torch.full_like(start, _FAR_DIAGONALS * self.diagonal)
        low, high = (self.bounds if box is None else box).to(origins.device)
        inverse = 1 / torch.where(directions.abs() < 1e-12, torch.full_like(directions, 1e-12), directions)
        first, second = (low - origins) * inverse, (high - origins) * inverse
        start = torch.minimum(first, second).amax(dim=1).clamp_min(near)
        return start, torch.maximum(first, second).amin(dim=1)
