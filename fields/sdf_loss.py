"""How far a signed-distance field is from what it should be."""

from __future__ import annotations

import torch
from torch import Tensor

from .budget import decayed_rate
from .sdf_gradient import sdf_gradient
from .volume import Volume


def distance_rate(fraction: float, hold: float) -> float:
    """Learning-rate factor where distances are learnt: 1 for the first `hold` of the run, then down to nearly nothing.

    The gradient of a relative error is as long beside the wanted distance as far from it, so that a surface comes to
    rest only as far as steps become short.
    """
    return decayed_rate(fraction, hold, last=0.003)


def sdf_loss(field: Volume, x: Tensor, sdf: Tensor, tolerance: float) -> Tensor:
    """Mean relative error at positions x [N, 3] with distances [N] (Instant-NGP, section 5.2).

    |f - d| / (|d| + tolerance * extent): a surface is where distances are small, so errors count most there.
    """
    return relative_error(field, x, sdf, tolerance).mean()


def relative_error(field: Volume, x: Tensor, sdf: Tensor, tolerance: float) -> Tensor:
    """What `sdf_loss` is the mean of, [N]."""
    return (field.sdf(x) - sdf).abs() / (sdf.abs() + tolerance * field.space.extent)


def eikonal_loss(field: Volume, x: Tensor, reach: float) -> Tensor:
    """Mean of (|gradient| - 1)^2 at x [N, 3] (Gropp et al. 2020, equation 2).

    `reach`: see `sdf_gradient`, scene units.
    """
    gradient = sdf_gradient(field, x, reach)
    return (torch.sqrt((gradient * gradient).sum(dim=-1) + 1e-12) - 1).square().mean()


def normal_loss(field: Volume, x: Tensor, normals: Tensor, reach: float) -> Tensor:
    """Mean squared difference of the gradient at x [N, 3] and unit normals [N, 3]: direction and length at once.

    `reach`: see `sdf_gradient`, scene units.
    """
    return (sdf_gradient(field, x, reach) - normals).square().sum(dim=-1).mean()
