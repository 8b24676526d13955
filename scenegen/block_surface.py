"""Blocks as grids of distances: their surface points, and what stands on their floor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .block_set import Decoder

_CHUNK = 1 << 13  # points; layers of more of them at a time leave the cache: slower, and a tenth of a gigabyte


@torch.no_grad()
def grid_sdf(decoder: Decoder, planes: Tensor, axes: Sequence[Tensor]) -> Tensor:
    """Distances [X, Y, Z] of one block's planes [3, C, R, R] at the product of three lists of block units."""
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    flat = points.reshape(1, -1, 3)
    parts = [decoder(planes[None], part)[0] for part in flat.split(_CHUNK, dim=1)]
    return torch.cat(parts).reshape(points.shape[:-1])


def lattice_axes(resolution: int) -> list[Tensor]:
    """Three lists of block units from face to face, `resolution` cells each."""
    return [torch.linspace(-1.0, 1.0, resolution + 1)] * 3


def surface_points(sdf: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray | None:
    """Points [count, 3] spread evenly over the zero level of a block's grid; None where it has none."""
    from skimage.measure import marching_cubes

    if not (sdf.min() < 0 < sdf.max()):
        return None
    spacing = tuple(2.0 / (n - 1) for n in sdf.shape)
    vertices, faces, _, _ = marching_cubes(sdf, 0.0, spacing=spacing)
    corners = vertices[faces].astype(np.float64) - 1.0  # [F, 3, 3]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if not areas.sum() > 0:
        return None
    chosen = corners[generator.choice(len(faces), count, p=areas / areas.sum())]
    a, b = generator.random((2, count, 1))
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    return chosen[:, 0] + a * (chosen[:, 1] - chosen[:, 0]) + b * (chosen[:, 2] - chosen[:, 0])


def occupied_columns(decoder: Decoder, planes: Tensor, low: float, high: float, size: int, levels: int = 24) -> Tensor:
    """Whether anything stands between two heights (block units), at pixel centres: bool [size, size], rows z."""
    across = _pixel_centres(size)
    sdf = grid_sdf(decoder, planes, (across, torch.linspace(low, high, levels), across))
    return (sdf < 0).any(1).T


def column_heights(decoder: Decoder, planes: Tensor, size: int, levels: int = 48) -> Tensor:
    """Height of the topmost solid at pixel centres, 0 at the block's bottom to 1 at its top: [size, size], rows z."""
    across = _pixel_centres(size)
    sdf = grid_sdf(decoder, planes, (across, torch.linspace(-1.0, 1.0, levels), across))
    rank = torch.linspace(0.0, 1.0, levels)[None, :, None]
    return torch.where(sdf < 0, rank, 0.0).amax(1).T


def _pixel_centres(size: int) -> Tensor:
    return (torch.arange(size) + 0.5) * (2.0 / size) - 1.0
