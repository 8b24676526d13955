"""Rotation, uniform scale and translation: what moves a volume and keeps distances proportional."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Similarity:
    """x -> scale * rotation @ x + shift, from a part's own coordinates to the scene's."""

    rotation: Tensor  # [3, 3], determinant 1
    scale: float
    shift: Tensor  # [3]

    @classmethod
    def create(
        cls,
        *,
        scale: float = 1.0,
        degrees: Sequence[float] = (0.0, 0.0, 0.0),
        move: Sequence[float] = (0.0, 0.0, 0.0),
        about: Sequence[float] | Tensor = (0.0, 0.0, 0.0),
    ) -> Similarity:
        """Scale and turn about the point `about`, then move.

        Args:
            scale: more than 0.
            degrees: angles about the x, y and z axes, applied in that order.
            move: scene units.

        Raises:
            ValueError: for a scale that is not positive and finite.
        """
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"similarity: scale {scale}, expected more than 0")
        rotation = torch.eye(3, dtype=torch.float64)
        for axis, angle in enumerate(degrees):
            rotation = _turn(axis, math.radians(angle)) @ rotation
        centre = torch.as_tensor(about, dtype=torch.float64).cpu()
        shift = centre + torch.tensor(move, dtype=torch.float64) - scale * rotation @ centre
        return cls(rotation.float(), scale, shift.float())

    @cached_property
    def is_identity(self) -> bool:
        return self.scale == 1 and torch.equal(self.rotation.cpu(), torch.eye(3)) and not bool(self.shift.any())

    def apply(self, x: Tensor) -> Tensor:
        """Positions [..., 3] in the part's coordinates to the scene's."""
        return self.scale * x @ self.rotation.to(x.device).T + self.shift.to(x.device)

    def invert(self, x: Tensor) -> Tensor:
        """Positions [..., 3] in the scene to the part's coordinates."""
        if self.is_identity:
            return x
        return (x - self.shift.to(x.device)) @ self.rotation.to(x.device) / self.scale

    def invert_directions(self, directions: Tensor) -> Tensor:
        """Unit directions [..., 3] in the scene as the part sees them."""
        return directions @ self.rotation.to(directions.device)


def _turn(axis: int, angle: float) -> Tensor:
    """Right-handed rotation [3, 3] about a coordinate axis."""
    u, v = (axis + 1) % 3, (axis + 2) % 3
    turn = torch.eye(3, dtype=torch.float64)
    turn[u, u] = turn[v, v] = _exact(math.cos(angle))
    turn[v, u] = _exact(math.sin(angle))
    turn[u, v] = -turn[v, u]
    return turn


def _exact(value: float) -> float:
    """Quarter turns without rounding, so that boxes stay boxes."""
    whole = round(value)
    return float(whole) if abs(value - whole) < 1e-15 else value


IDENTITY = Similarity.create()
