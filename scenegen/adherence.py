"""Whether furniture stands where the plan says, with the score against other blocks' plans beside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

FLOOR_MARGIN = 0.05  # metres above the floor where furniture begins


def layout_scores(occupied: Tensor, layout: Tensor, furniture: Sequence[int], walls: Sequence[int]) -> dict[str, float]:
    """Mean scores of B blocks.

    Pixels of walls, doors and windows and those beside them count neither way: the distance has no labels, and a
    wall is no furniture.

    Args:
        occupied: what stands on the floor, bool [B, S, S] (rows z, columns x).
        layout: class maps [B, K, S, S].
        furniture, walls: channels of `layout`.

    Returns:
        iou: of what stands there and what is painted; recall: share of the painted that is covered; spill: share of
        what stands more than a pixel beside the painted; shuffled: `iou` against the next block's plan.
    """
    painted, barrier = _union(layout, furniture), _dilated(_union(layout, walls))
    found, wanted = occupied & ~barrier, painted & ~barrier
    other = wanted.roll(1, 0)
    return {
        "iou": _ratio(found & wanted, found | wanted),
        "recall": _ratio(found & wanted, wanted),
        "spill": _ratio(found & ~_dilated(wanted), found),
        "shuffled": _ratio(found & other, found | other),
    }


def class_recall(occupied: Tensor, layout: Tensor, channels: Sequence[int]) -> list[float]:
    """Share of each class's painted pixels that something stands on; NaN where none is painted."""
    return [_ratio(occupied & layout[:, k].bool(), layout[:, k].bool()) for k in channels]


def _ratio(part: Tensor, whole: Tensor) -> float:
    """Over the pixels of all blocks together, NaN without any."""
    count = int(whole.sum())
    return int(part.sum()) / count if count else float("nan")


def _union(layout: Tensor, channels: Sequence[int]) -> Tensor:
    return layout[:, list(channels)].bool().any(1)


def _dilated(maps: Tensor) -> Tensor:
    return max_pool2d(maps.to(torch.float32), 3, stride=1, padding=1).bool()
