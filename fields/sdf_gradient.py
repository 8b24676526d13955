"""Gradients of signed distances from differences: smooth where single grid cells are rough."""

from __future__ import annotations

import torch
from torch import Tensor

from .volume import Volume

_TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))


def sdf_gradient(field: Volume, x: Tensor, reach: float) -> Tensor:
    """Gradient [N, 3] of the distance at x [N, 3] from four values around each, differentiable in the field.

    `reach`, scene units along each axis, should be about half a grid cell or more: differences of float32
    values much closer together are noise.
    """
    corners = torch.tensor(_TETRAHEDRON, device=x.device)
    around = (x[:, None] + reach * corners).reshape(-1, 3)
    values = field.sdf(around).view(-1, len(corners), 1)
    return (values * corners).sum(dim=1) / (len(corners) * reach)
