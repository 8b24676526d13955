"""Gradients of signed distances from differences: smooth where single grid cells are rough."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .volume import Volume

_TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))
_NORMAL_REACH = 0.75  # of a marching step


def sdf_gradient(field: Volume, x: Tensor, reach: float) -> Tensor:
    """Gradient [N, 3] of the distance at x [N, 3], differentiable in the field; `reach`: see `gradient_of`."""
    return gradient_of(field.sdf, x, reach)


def gradient_of(function: Callable[[Tensor], Tensor], x: Tensor, reach: float) -> Tensor:
    """Gradient [N, 3] of `function` ([M, 3] to [M]) at x [N, 3] from four values around each.

    `reach`, scene units along each axis, should be about half a grid cell or more: differences of float32
    values much closer together are noise.
    """
    corners = torch.tensor(_TETRAHEDRON, device=x.device)
    around = (x[:, None] + reach * corners).reshape(-1, 3)
    values = function(around).view(-1, len(corners), 1)
    return (values * corners).sum(dim=1) / (len(corners) * reach)


def normals_by_differences(volume: Volume, x: Tensor) -> Tensor:
    """`Volume.normals` for volumes that autograd cannot look through; zero where geometry is constant."""
    gradient = gradient_of(lambda y: volume.geometry(volume.features(y), y), x, _NORMAL_REACH * volume.space.step)
    return (1.0 if volume.kind == "sdf" else -1.0) * normalize(gradient, dim=-1)
