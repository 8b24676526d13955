"""One distance over all blocks of a scene, on one global lattice.

f = sum(w f) / sum(w) over the blocks that cover a place, with weights that rise and fall as a smoothstep over the
overlaps: they sum to one wherever neighbours are there, and have a continuous slope. Blocks read the lattice at
nodes of their own (it is half a cell off their faces), so a block is evaluated once, whatever is asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fields.errors import UserError

from ..block_set import Decoder
from ..block_surface import grid_sdf
from ..blocks import OVERLAP, BlockFrame
from .neighbours import Index

CELLS = 64  # of the lattice along a block's side
OUTSIDE = 1000.0  # block units: so far outside that the caps of a scene lie next to its last nodes
_MAX_CELLS = 256
_CACHED_BYTES = 32 * 2**20
_LEAST_CACHED = 12  # blocks: three rows of what two chunks side by side read


def check_cells(cells: int) -> int:
    """`cells` of a block's side, when neighbouring blocks share nodes at that.

    Raises:
        UserError: `E-USAGE-CELLS`.
    """
    if cells % 4 or not 8 <= cells <= _MAX_CELLS:
        raise UserError("E-USAGE-CELLS", "blocks cannot be meshed at this resolution", got=cells,
                        expected=f"a multiple of 4 from 8 to {_MAX_CELLS}", fix=f"use {CELLS}")  # fmt: skip
    return cells


def blend_weights(cells: int) -> np.ndarray:
    """Weights float32 [cells] of a block at its nodes along one axis; with the next block's they sum to 1."""
    t = (np.arange(cells) + 0.5) / cells
    edge = np.minimum(1, np.minimum(t, 1 - t) / OVERLAP)
    return (edge * edge * (3 - 2 * edge)).astype(np.float32)


def node_axis(cells: int) -> Tensor:
    """Block units of a block's nodes along one axis, [cells]."""
    return (torch.arange(cells) + 0.5) * (2.0 / cells) - 1.0


@dataclass(eq=False)
class SceneSurface:
    """The blended distance of finished blocks, in constant memory.

    planes_of: planes [3, C, R, R] of a finished block; the same at every call. Node (a, b, c) of the lattice lies at
    (a + 1/2, b + 1/2, c + 1/2) cells from x = z = 0 and the blocks' lower faces; `stride` nodes further the next
    block begins.
    """

    frame: BlockFrame
    finished: frozenset[Index]
    planes_of: Callable[[Index], Tensor]
    decoder: Decoder
    cells: int = CELLS
    _pool: np.ndarray = field(init=False, repr=False)  # one piece: memory in many would come apart
    _slots: OrderedDict[Index, int] = field(default_factory=OrderedDict, init=False, repr=False)

    def __post_init__(self) -> None:
        count = check_cells(self.cells) ** 3
        self._pool = np.empty((max(_LEAST_CACHED, _CACHED_BYTES // (4 * count)), *[self.cells] * 3), np.float32)

    @property
    def cell(self) -> float:
        """Metres between nodes."""
        return self.frame.size / self.cells

    @property
    def stride(self) -> int:
        """Nodes between the beginnings of neighbouring blocks."""
        return round((1 - OVERLAP) * self.cells)

    @property
    def across(self) -> int:
        """Chunks in a strip, three rows of which read no more blocks than are kept: see `chunks_of`."""
        return len(self._pool) // 3 - 2

    def grid(self, index: Index) -> np.ndarray:
        """Distances of one finished block at its nodes, float32 [cells, cells, cells] in block units.

        The array is overwritten when some other blocks have been asked for.

        Raises:
            UserError: `E-MC-NAN`.
        """
        if index not in self._slots:
            found = self._evaluated(index)
            full = len(self._slots) == len(self._pool)
            self._slots[index] = self._slots.popitem(last=False)[1] if full else len(self._slots)
            self._pool[self._slots[index]] = found
        self._slots.move_to_end(index)
        return self._pool[self._slots[index]]

    def _evaluated(self, index: Index) -> np.ndarray:
        found = grid_sdf(self.decoder, self.planes_of(index), [node_axis(self.cells)] * 3).numpy()
        if not np.isfinite(found).all():
            raise UserError("E-MC-NAN", "block's distances are not finite", where=f"block {index[0]},{index[1]}",
                            got=f"{int((~np.isfinite(found)).sum())} bad values", expected="finite values",
                            fix="make the block again: fieldscape scene redo")  # fmt: skip
        return found

    def values(self, low: Index, high: Index) -> np.ndarray:
        """Blended distances at nodes low <= (a, c) < high and all heights, one layer more below and above.

        float32 [A, cells + 2, C] in block units; `OUTSIDE` where no block is. A node's value does not depend on the
        window it is asked for in.
        """
        shape = high[0] - low[0], self.cells, high[1] - low[1]
        total, weights = np.zeros(shape, np.float32), np.zeros((shape[0], shape[2]), np.float32)
        profile = blend_weights(self.cells)
        for index in self.touching(low, high):
            inner, own = zip(*(self._spans(*axis) for axis in zip(index, low, high, strict=True)), strict=True)
            weight = profile[own[0], None] * profile[None, own[1]]
            total[inner[0], :, inner[1]] += weight[:, None, :] * self.grid(index)[own[0], :, own[1]]
            weights[inner] += weight
        found = np.full((shape[0], self.cells + 2, shape[2]), np.float32(OUTSIDE))
        inside = np.broadcast_to((weights > 0)[:, None, :], shape)
        np.divide(total, weights[:, None, :], out=found[:, 1:-1], where=inside)
        return found

    def touching(self, low: Index, high: Index) -> list[Index]:
        """Finished blocks with nodes in low <= (a, c) < high, in order."""
        columns, rows = (
            range((start - self.cells) // self.stride + 1, (end - 1) // self.stride + 1)
            for start, end in zip(low, high, strict=True)
        )
        return [(i, k) for i in columns for k in rows if (i, k) in self.finished]

    def _spans(self, number: int, low: int, high: int) -> tuple[slice, slice]:
        """The nodes that block `number` has between low and high along one axis, in the window's count and its own."""
        begin = number * self.stride
        first, last = max(low, begin), min(high, begin + self.cells)
        return slice(first - low, last - low), slice(first - begin, last - begin)
