"""What a student is told at each level, and how densities are compared.

Fang et al. 2023, "One is All: Bridging the Gap Between Neural Radiance Fields Architectures with Progressive
Volume Distillation", sections 3.2 and 3.3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..space import Space
from ..volume import Volume

# Opacity of one marching step: below the first it cannot be seen, beyond the second it hides everything.
FAINT_STEP, SOLID_STEP = 1e-4, 0.98
_LEAST_SPREAD = 1e-4  # variance below which features are as good as constant
_UNSEEN_SHARE = 0.1  # weight of a sample that no light leaves, beside the mean of those that are seen


def visible_range(space: Space) -> tuple[float, float]:
    """Logarithms of the densities, per scene unit, between which a difference can be seen."""
    return math.log(-math.log1p(-FAINT_STEP) / space.step), math.log(-math.log1p(-SOLID_STEP) / space.step)


def log_density(volume: Volume, geometry: Tensor, density: Tensor) -> Tensor:
    """Logarithm of the density [N] per scene unit, without clamps."""
    return geometry if volume.kind == "density" else torch.log(density.clamp_min(1e-20))


def clamped_difference(value: Tensor, wanted: Tensor, low: float, high: float) -> Tensor:
    """`value` less `wanted` [N] after both are clamped, with the gradient of `value` left whole.

    Beyond a bound there is no difference to a wanted value beyond it too, hence nothing to learn; to any other
    value there is one, and a clamp's own gradient would be zero: nothing could ever bring `value` back.
    """
    return value + (value.clamp(low, high) - value).detach() - wanted.clamp(low, high)


def weighted(error: Tensor, share: Tensor | None) -> Tensor:
    """Mean of errors [N], or their mean weighted by `share` [N]."""
    if share is None:
        return error.mean() if len(error) else error.sum()
    return (share * error).sum() / share.sum().clamp_min(1e-6)


def seen_share(weights: Tensor) -> Tensor:
    """What samples count for from their compositing weights [N]: those that make the picture most.

    PVD-AL keeps the heaviest 30 % of samples; this keeps all, the rest faintly, so that none drifts.
    """
    return weights + _UNSEEN_SHARE * weights.mean()


def spread(wanted: Tensor) -> Tensor:
    """Standard deviation of features [N, A] over N, in the mean of A, 0-dim: what their errors are measured by."""
    return wanted.var(dim=0, correction=0).mean().clamp_min(_LEAST_SPREAD).sqrt()
