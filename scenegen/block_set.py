"""What trainings draw from: fitted blocks with their plans and distance samples, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fields.errors import UserError

from .augment import SYMMETRIES
from .store import Block, BlockStore

# (planes [B, 3, C, R, R], points [B, N, 3]) -> signed distances [B, N] in block units
Decoder = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class BlockSet:
    """N blocks; points and distances in block units."""

    planes: Tensor  # [N, 3, C, R, R], any floating type
    layout: Tensor  # [N, K, S, S], 0 or 1
    points: Tensor  # [N, P, 3]
    sdf: Tensor  # [N, P], clamped

    def __post_init__(self) -> None:
        count = len(self.planes)
        same = all(len(part) == count for part in (self.layout, self.points, self.sdf))
        if count == 0 or not same or self.points.shape != (*self.sdf.shape, 3):
            raise ValueError("planes, layout, points and sdf are not of the same blocks")

    def __len__(self) -> int:
        return len(self.planes)


def load_blocks(samples: BlockStore, fitted: BlockStore, blocks: Sequence[Block]) -> BlockSet:
    """Blocks of a fitted store with the samples that their planes were fitted to.

    Raises:
        UserError: `E-BLOCKS-EMPTY`, `E-BLOCKS-SETTINGS`, `E-CKPT-…`.
    """
    if not blocks:
        raise UserError("E-BLOCKS-EMPTY", "store has no such blocks", where=fitted.folder, expected="one at least",
                        fix="prepare and fit more scenes")  # fmt: skip
    theirs = {(b.shard, b.row): (b.scene, b.centre) for b in samples.blocks()}
    if any(theirs.get((b.shard, b.row)) != (b.scene, b.centre) for b in blocks):
        raise UserError("E-BLOCKS-SETTINGS", "planes were fitted to other samples", where=fitted.folder,
                        expected=f"planes of {samples.folder}", fix="name the samples that were fitted")  # fmt: skip
    drawn = samples.gather(blocks, ("points", "sdf"))
    return BlockSet(**fitted.gather(blocks, ("planes", "layout")), **drawn)


def move(tensor: Tensor, method: str, symmetries: Sequence[int]) -> Tensor:
    """Each entry of `tensor` [B, ...] moved by its own symmetry; `method` is planes, layout or points."""
    moved = [getattr(SYMMETRIES[k], method)(part) for k, part in zip(symmetries, tensor, strict=True)]
    return torch.stack(moved)
