"""Features of many tri-planes at once, differentiable twice: an SDF's loss looks at its gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ext.engine import native_for
from cuda_ext.planes import PLANE_AXES, along, triplane_lookup


def plane_features(planes: Tensor, x: Tensor) -> Tensor:
    """Summed bilinear features [B, N, C] of `planes` [B, 3, C, R, R] at x [B, N, 3] in [-1, 1].

    Columns of a plane lie along the first of its `PLANE_AXES`, rows along the second; outer vertices lie on
    the block's faces, which positions outside are moved to. Planes that are stored with channels last are not copied.
    """
    last = planes.permute(0, 1, 3, 4, 2).contiguous()  # [B, 3, R, R, C]
    u = (x + 1) / 2
    if x.device.type == "cpu" and native_for(x.device):
        return torch.stack([triplane_lookup(*pair).sum(1) for pair in zip(last, u, strict=True)])
    return _gathered(last, u)


def _gathered(planes: Tensor, u: Tensor) -> Tensor:
    """The same in plain PyTorch, for all blocks in one go: what a GPU is good at."""
    blocks, _, rows, _, channels = planes.shape
    flat, points = u.reshape(-1, 3), u.shape[1]
    first = torch.arange(blocks, device=u.device).repeat_interleave(points) * (3 * rows * rows)  # [B N]
    table = planes.reshape(-1, channels)
    total = flat.new_zeros(len(flat), channels)
    for plane, (across, down) in enumerate(PLANE_AXES):
        column, right = along(flat[:, across], rows)
        row, lower = along(flat[:, down], rows)
        index = (row[:, :, None] * rows + column[:, None, :]).flatten(1) + plane * rows * rows + first[:, None]
        weight = (lower[:, :, None] * right[:, None, :]).flatten(1)  # [B N, 4]
        total = total + (torch.nn.functional.embedding(index, table) * weight[..., None]).sum(1)
    return total.view(blocks, points, channels)
