"""Axis-aligned boxes [2, 3] (low, high): what lies in them, how far they are, what they share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def in_box(x: Tensor, box: Tensor) -> Tensor:
    """Which positions [N, 3] lie in the box, faces included, bool [N]."""
    return ((x >= box[0]) & (x <= box[1])).all(dim=-1)


def box_distance(x: Tensor, box: Tensor) -> Tensor:
    """Exact signed distance [N] to the box's surface at x [N, 3], negative inside."""
    beyond = torch.maximum(box[0] - x, x - box[1])  # [N, 3] past each pair of faces
    return beyond.clamp_min(0).norm(dim=-1) + beyond.amax(dim=-1).clamp_max(0)


def shared_box(boxes: Sequence[Tensor]) -> Tensor | None:
    """What all boxes have in common; None where that has no volume."""
    low = torch.stack([box[0] for box in boxes]).amax(dim=0)
    high = torch.stack([box[1] for box in boxes]).amin(dim=0)
    return torch.stack([low, high]) if bool((low < high).all()) else None


def box_around(x: Tensor) -> Tensor:
    """Smallest box that holds positions [N, 3]."""
    flat = x.reshape(-1, 3)
    return torch.stack([flat.amin(dim=0), flat.amax(dim=0)])


def corners_of(box: Tensor) -> Tensor:
    """The eight corners [8, 3]."""
    return torch.cartesian_prod(*[box[:, axis] for axis in range(3)])
