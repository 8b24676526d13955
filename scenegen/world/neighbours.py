"""What a block shares with those beside it, plane by plane.

Two blocks share a plane exactly where they agree along the axis that it leaves out: the ground plane with all eight
neighbours, an upright plane with the two neighbours along its own horizontal axis (after BlockFusion, section 4.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fields.planes import PLANE_AXES

from ..blocks import OVERLAP

Index = tuple[int, int]  # (i, k): number of a block along x and z, or the difference of two
OFFSETS: tuple[Index, ...] = tuple((di, dk) for dk in (-1, 0, 1) for di in (-1, 0, 1) if (di, dk) != (0, 0))


@dataclass(frozen=True, eq=False)
class Known:
    """Latents that are given already, and where: zero and False elsewhere."""

    latent: Tensor  # [3, c, r, r]
    mask: Tensor  # bool [3, 1, r, r]

    @property
    def context(self) -> Tensor:
        """Both as channels, [3, c + 1, r, r]."""
        return torch.cat((self.latent, self.mask.to(self.latent)), dim=1)


def overlap_cells(resolution: int) -> int:
    """Cells of a latent plane, along one side, that a block shares with the next one."""
    return round(OVERLAP * resolution)


def known_from(neighbours: Mapping[Index, Tensor], shape: tuple[int, ...]) -> Known:
    """What finished neighbours fix of a block with latents of `shape` (3, c, r, r).

    `neighbours` maps the offset of each to its latents. Where several know a cell they agree, to the bit, when they
    were made one after the other; a mean would round.
    """
    latent, mask = torch.zeros(shape), known_mask(neighbours, shape[-1])
    for offset in sorted(neighbours):
        for plane, own, theirs in _shared(offset, shape[-1]):
            latent[(plane, slice(None), *own)] = neighbours[offset][(plane, slice(None), *theirs)]
    return Known(latent, mask)


def known_mask(offsets: Iterable[Index], resolution: int) -> Tensor:
    """Where blocks at `offsets` would fix a block, bool [3, 1, r, r]."""
    mask = torch.zeros(3, 1, resolution, resolution, dtype=torch.bool)
    for offset in offsets:
        for plane, own, _ in _shared(offset, resolution):
            mask[(plane, 0, *own)] = True
    return mask


def _shared(offset: Index, resolution: int) -> Iterable[tuple[int, tuple[slice, slice], tuple[slice, slice]]]:
    """(plane, own (rows, columns), the neighbour's rows and columns) of every plane shared with it."""
    steps = (offset[0], 0, offset[1])  # along x, y, z
    for plane, (across, down) in enumerate(PLANE_AXES):
        left_out = 3 - across - down
        if steps[left_out] == 0:
            columns, rows = _bands(steps[across], resolution), _bands(steps[down], resolution)
            yield plane, (rows[0], columns[0]), (rows[1], columns[1])


def _bands(step: int, resolution: int) -> tuple[slice, slice]:
    """The cells along one axis that a block shares with one `step` further, in its own count and the other's."""
    low, high = slice(0, overlap_cells(resolution)), slice(resolution - overlap_cells(resolution), resolution)
    if step not in (-1, 0, 1):
        raise ValueError(f"blocks {step} apart do not overlap")
    return ((low, high), (slice(None), slice(None)), (high, low))[step + 1]
