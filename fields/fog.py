"""What keeps empty space empty even where no occupancy grid hides it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .space import Space

FOG = 0.01  # opacity, at most, of a path as long as the box through space that should be empty


def empty_log_density(space: Space) -> float:
    """Log-density, per scene unit, that is as good as nothing."""
    return math.log(-math.log1p(-FOG) / space.diagonal)


def fog_loss(log_density: Tensor, empty: float) -> Tensor:
    """Mean squared excess of log-densities [N] over what is as good as nothing."""
    return torch.relu(log_density - empty).square().mean() if len(log_density) else log_density.sum()
