"""The plan of an unbounded ground: class maps of any window, drawn when they are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.class_map import ClassMap, pixel_centres
from data.palette import VOID
from data.plane_geometry import Window
from fields.errors import UserError

from ..blocks import OVERLAP, PIXELS, BlockFrame
from .grounds import Ground
from .neighbours import Index

MAX_INDEX = 2**15  # of a block, along each axis and in both directions
MAX_BLOCKS = 1_000_000  # that a plan may ask for
_STEP = round((1 - OVERLAP) * PIXELS)  # pixels between neighbouring blocks
_SHARED, _ALONE = slice(0, PIXELS - _STEP), slice(PIXELS - _STEP, None)  # pixels of a step, by who sees them
_STRETCH = 128  # blocks of a row looked at together


@dataclass(frozen=True, eq=False)
class Plan:
    """Pieces of ground over one another; where one has painted anything, later ones change nothing.

    So a scene keeps the plan that its blocks were made under when more ground is added to it.
    classes: names of the channels of the maps.
    """

    grounds: tuple[Ground, ...]
    classes: tuple[str, ...]

    @property
    def window(self) -> Window:
        """x0, z0, x1, z1 in metres around everything painted; empty when nothing is."""
        windows = np.array([ground.window for ground in self.grounds]).reshape(-1, 4)
        filled = windows[(windows[:, 2] > windows[:, 0]) & (windows[:, 3] > windows[:, 1])]
        if not len(filled):
            return 0.0, 0.0, 0.0, 0.0
        x0, z0 = filled[:, :2].min(0).tolist()
        x1, z1 = filled[:, 2:].max(0).tolist()
        return x0, z0, x1, z1

    def joined(self, other: Plan) -> Plan:
        """This plan, and the other one's where this one is void."""
        return Plan((*self.grounds, *other.grounds), self.classes)

    def masks(self, frame: BlockFrame, index: Index) -> Tensor:
        """Class maps of a block's window, uint8 [K, 32, 32]; it follows from the window's place alone."""
        maps = self._maps(frame.window(frame.centre(*index)), frame.metres_per_pixel)
        return torch.from_numpy(maps.astype(np.uint8))

    def seen(self, window: Window, metres_per_pixel: float) -> ClassMap:
        """The class at each pixel's centre as seen from above; `void` where nothing is painted.

        Raises:
            UserError: `E-LIMIT-LAYOUT`, `E-LAYOUT-WINDOW`.
        """
        x, z = pixel_centres(window, metres_per_pixel)
        indices = np.full((len(z), len(x)), VOID, np.uint8)
        for ground in self.grounds:
            indices = np.where(indices == VOID, ground.seen(window, metres_per_pixel).indices, indices)
        return ClassMap(indices, (window[0], window[1]), metres_per_pixel)

    def covering(self, frame: BlockFrame) -> list[Index]:
        """Blocks that show everything painted, row by row.

        Whether a block is one of them follows from the ground near it, so ground elsewhere does not change it.

        Raises:
            UserError: `E-LIMIT-BLOCKS` for more than `MAX_BLOCKS`, or blocks beyond `MAX_INDEX`.
        """
        x0, z0, x1, z1 = self.window
        columns, rows = (_span(low, high, frame.stride) for low, high in ((x0, x1), (z0, z1)))
        _check_extent(columns, rows)
        chosen = _chosen(np.concatenate([self._painted(frame, columns, k) for k in rows], axis=2))
        return [(columns[0] - 1 + i, rows[0] - 1 + k) for k, i in np.argwhere(chosen).tolist()]

    def _painted(self, frame: BlockFrame, columns: range, k: int) -> np.ndarray:
        """Whether anything is painted in each cell of a row, bool [2, 2, 1, C].

        Blocks cut the ground into cells of four kinds: [0, 0] only one block sees, [0, 1] it shares with the block
        before it along x, [1, 0] with the one before along z, [1, 1] with both and the one between them.
        """
        found = []
        for start in range(0, len(columns), _STRETCH):
            part = columns[start : start + _STRETCH]
            edges = (part[0] * frame.stride, k * frame.stride, (part[-1] + 1) * frame.stride, (k + 1) * frame.stride)
            maps = self._maps(edges, frame.metres_per_pixel)[:, :_STEP, : len(part) * _STEP]
            ground = maps.max(axis=0).reshape(_STEP, len(part), _STEP)
            bands = [
                ground[rows][..., side].any(axis=(0, 2)) for rows in (_ALONE, _SHARED) for side in (_ALONE, _SHARED)
            ]
            found.append(np.stack(bands).reshape(2, 2, 1, len(part)))
        return np.concatenate(found, axis=3)

    def _maps(self, window: Window, metres_per_pixel: float) -> np.ndarray:
        """bool [K, H, W]."""
        x, z = pixel_centres(window, metres_per_pixel)
        maps = np.zeros((len(self.classes), len(z), len(x)), bool)
        for ground in self.grounds:
            maps |= ground.masks(window, metres_per_pixel, self.classes) & ~maps.any(0)
        return maps


def check_index(index: Index, option: str) -> None:
    """Refuse a block that no scene can have.

    Raises:
        UserError: `E-LIMIT-BLOCKS`.
    """
    if max(map(abs, index)) > MAX_INDEX:
        raise UserError("E-LIMIT-BLOCKS", f"{option} is out of reach", got=f"{index[0]},{index[1]}",
                        expected=f"block numbers from -{MAX_INDEX} to {MAX_INDEX}",
                        fix="choose a nearer block")  # fmt: skip


def _span(low: float, high: float, stride: float) -> range:
    return range(math.floor(low / stride), math.floor(high / stride) + 1)


def _chosen(painted: np.ndarray) -> np.ndarray:
    """Blocks [R + 1, C + 1] for painted cells [2, 2, R, C]; row and column 0 are the ones before the first cells.

    First those that alone see something, then, for what is still in none, the last block that sees it.
    """
    _, _, rows, columns = painted.shape
    chosen = np.zeros((rows + 1, columns + 1), bool)
    for back_z, back_x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        seen = np.zeros((rows, columns), bool)
        for dz in range(back_z + 1):
            for dx in range(back_x + 1):
                seen |= chosen[1 - dz : rows + 1 - dz, 1 - dx : columns + 1 - dx]
        chosen[1:, 1:] |= painted[back_z, back_x] & ~seen
    return chosen


def _check_extent(columns: range, rows: range) -> None:
    far = max(abs(n) for axis in (columns, rows) for n in (axis.start, axis.stop))
    if far > MAX_INDEX or len(columns) * len(rows) > MAX_BLOCKS:
        raise UserError("E-LIMIT-BLOCKS", "plan is too large or too far from the origin",
                        got=f"blocks {columns.start},{rows.start} to {columns.stop - 1},{rows.stop - 1}",
                        expected=f"at most {MAX_BLOCKS} blocks with numbers from -{MAX_INDEX} to {MAX_INDEX}",
                        fix="check the plan's scale and origin, or split it")  # fmt: skip
