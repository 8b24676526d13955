"""How well neighbouring blocks agree where they overlap.

Neighbours read the same lattice, so their distances are compared node by node. Only what stands on the ground is
looked at: the ground itself agrees by nature and would make every figure look good.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from fields.progress import Clock, Progress

from ..adherence import FLOOR_MARGIN
from ..evaluate import layout_figures
from .materials import BlockPlan
from .mesh_figures import mesh_figures
from .neighbours import Index
from .surface import SceneSurface

MAX_RING = 5
_PAIRS: tuple[Index, ...] = ((1, 0), (0, 1), (1, 1), (1, -1))
_NEAR_CELLS, _CLOSE_CELLS = 2.0, 1.0  # of the lattice: where distances, and where normals are compared
_MM = 1000.0

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Seam:
    """Two solids in the overlap of two blocks, as sums, so that seams of all sizes can be put together.

    gap: metres, over `near` nodes; angle: degrees, over `close` nodes; chamfer: metres, of one of `pairs`.
    """

    gap: float = 0.0
    near: int = 0
    both: int = 0
    either: int = 0
    angle: float = 0.0
    close: int = 0
    chamfer: float = 0.0
    pairs: int = 0

    def __add__(self, other: Seam) -> Seam:
        return Seam(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def figures(self) -> Figures:
        """Means; None where nothing stands in any overlap."""
        return {
            "gap_mm": _ratio(_MM * self.gap, self.near),
            "sign_iou": _ratio(self.both, self.either),
            "normal_deg": _ratio(self.angle, self.close),
            "chamfer_mm": _ratio(_MM * self.chamfer, self.pairs),
            "pairs": self.pairs,
        }


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def compare(first: np.ndarray, second: np.ndarray, cell: float, width: float) -> Seam:
    """Two grids of distances [X, Y, Z] in metres at the same nodes, `cell` apart.

    BlockFusion's overlap Chamfer distance (section 5.3) is the mean way from the surface of either to the other's;
    where only one of them has any surface, that counts as `width`, the overlap's.
    """
    least = np.minimum(np.abs(first), np.abs(second))
    near = least < _NEAR_CELLS * cell
    solid, other = first < 0, second < 0
    if not (solid.any() or other.any()):
        return Seam()
    close = np.maximum(np.abs(first), np.abs(second)) < _CLOSE_CELLS * cell
    angles = _angles(first, second, close)
    return Seam(
        gap=float(np.abs(first - second)[near].sum(dtype=np.float64)),
        near=int(near.sum()),
        both=int((solid & other).sum()),
        either=int((solid | other).sum()),
        angle=float(angles.sum()),
        close=len(angles),
        chamfer=_chamfer(crossings(first) * cell, crossings(second) * cell, width),
        pairs=1,
    )


def crossings(grid: np.ndarray) -> np.ndarray:
    """Where the edges of a lattice cross the surface, float64 [P, 3] in nodes: evenly spread over it."""
    found = []
    for axis in range(3):
        a, b = (np.moveaxis(grid, axis, 0)[part].astype(np.float64) for part in (slice(None, -1), slice(1, None)))
        place = np.argwhere((a < 0) != (b < 0))
        low, high = a[tuple(place.T)], b[tuple(place.T)]
        points = place.astype(np.float64)
        points[:, 0] += low / (low - high)
        found.append(np.insert(points[:, 1:], axis, points[:, 0], axis=1))
    return np.concatenate(found)


def _angles(first: np.ndarray, second: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Degrees between the slopes of two grids at the nodes `where` both have one."""
    slopes = [np.stack([part[where] for part in np.gradient(grid)], axis=1) for grid in (first, second)]
    lengths = [np.linalg.norm(slope, axis=1) for slope in slopes]
    there = (lengths[0] > 0) & (lengths[1] > 0)
    cosine = (slopes[0] * slopes[1]).sum(axis=1)[there] / (lengths[0] * lengths[1])[there]
    return np.degrees(np.arccos(cosine.clip(-1, 1)))


def _chamfer(first: np.ndarray, second: np.ndarray, width: float) -> float:
    if not (len(first) and len(second)):
        return width if len(first) or len(second) else 0.0
    there, back = cKDTree(second).query(first)[0], cKDTree(first).query(second)[0]
    return float(there.mean() + back.mean()) / 2


@dataclass(frozen=True, eq=False)
class Overlap:
    """Two blocks' distances in metres at the nodes above the ground that both have: low <= (a, c) < high."""

    blocks: tuple[Index, Index]
    low: Index
    high: Index
    grids: tuple[np.ndarray, np.ndarray]  # [X, Y, Z] each


def overlapping_pairs(finished: Collection[Index]) -> list[tuple[Index, Index]]:
    """Blocks that overlap, each pair once."""
    there = frozenset(finished)
    pairs = [((i, k), (i + di, k + dk)) for i, k in sorted(there) for di, dk in _PAIRS]
    return [pair for pair in pairs if pair[1] in there]


def overlap_of(surface: SceneSurface, blocks: tuple[Index, Index]) -> Overlap:
    """The overlap of two blocks that are neighbours."""
    spans = [_shared(b - a, surface.cells, surface.stride) for a, b in zip(*blocks, strict=True)]
    bottom, first = _first_standing(surface), blocks[0]
    own, theirs = (
        surface.grid(block)[spans[0][n], bottom:, spans[1][n]] * surface.frame.half for n, block in enumerate(blocks)
    )
    at = (first[0] * surface.stride, first[1] * surface.stride)
    low = (at[0] + spans[0][0].start, at[1] + spans[1][0].start)
    return Overlap(blocks, low, (low[0] + own.shape[0], low[1] + own.shape[2]), (own, theirs))


def seam_of(surface: SceneSurface, overlap: Overlap) -> tuple[Seam, Seam]:
    """How two blocks agree, and how the blended surface agrees with each of them."""
    width = (surface.cells - surface.stride) * surface.cell
    blended = surface.values(overlap.low, overlap.high)[:, 1 + _first_standing(surface) : -1] * surface.frame.half
    moved = [compare(grid, blended, surface.cell, width) for grid in overlap.grids]
    return compare(*overlap.grids, surface.cell, width), moved[0] + moved[1]


def _shared(step: int, cells: int, stride: int) -> tuple[slice, slice]:
    low, high = slice(0, cells - stride), slice(stride, cells)
    return {-1: (low, high), 0: (slice(0, cells), slice(0, cells)), 1: (high, low)}[step]


def _first_standing(surface: SceneSurface) -> int:
    """The first layer of nodes that lies well above the ground."""
    return int(np.ceil((FLOOR_MARGIN - surface.frame.floor) / surface.cell - 0.5))


def seam_report(
    surface: SceneSurface, plan: BlockPlan, start: Collection[Index] = ()
) -> Generator[Progress, None, dict[str, Any]]:
    """All figures of a scene as JSON values; the return value.

    seams: neighbours in their overlaps. blended: the blended surface beside those of the blocks, in the same places.
    layout: how all blocks keep to the plan. rings: see `ring_report`. mesh: see `mesh_figures`.

    Raises:
        UserError: `E-MC-NAN`, and what reading a block raises.
    """
    first = set(start) or {_middle(surface.finished)}
    seams, blended = yield from _seams_by_ring(surface, first)
    layouts = yield from layout_by_ring(surface, plan, first)
    mesh = yield from mesh_figures(surface)
    return {
        "seams": sum(seams.values(), Seam()).figures(),
        "blended": sum(blended.values(), Seam()).figures(),
        "layout": layout_of(surface, plan, surface.finished),
        "rings": _ring_rows(seams, layouts),
        "mesh": mesh,
    }


def ring_report(
    surface: SceneSurface, plan: BlockPlan, start: Collection[Index]
) -> Generator[Progress, None, list[dict[str, Any]]]:
    """Seams and layout by distance in blocks from `start`, to tell drift, in constant memory; the return value.

    Raises:
        UserError: as `seam_report`.
    """
    seams, _ = yield from _seams_by_ring(surface, start)
    return _ring_rows(seams, (yield from layout_by_ring(surface, plan, start)))


def _seams_by_ring(
    surface: SceneSurface, start: Collection[Index]
) -> Generator[Progress, None, tuple[dict[int, Seam], dict[int, Seam]]]:
    """Seams between blocks, and of blocks with the blended surface; each belongs to the ring of its outer block."""
    seams: dict[int, Seam] = {}
    blended: dict[int, Seam] = {}
    clock, pairs = Clock(), overlapping_pairs(surface.finished)
    for step, blocks in enumerate(pairs, 1):
        seam, moved = seam_of(surface, overlap_of(surface, blocks))
        ring = max(_ring(block, start) for block in blocks)
        seams[ring], blended[ring] = seams.get(ring, Seam()) + seam, blended.get(ring, Seam()) + moved
        yield clock.report(step, len(pairs), "seams")
    return seams, blended


def _ring_rows(seams: Mapping[int, Seam], layouts: Mapping[int, Figures]) -> list[dict[str, Any]]:
    return [{"ring": n, **seams.get(n, Seam()).figures(), **found} for n, found in layouts.items()]


def _middle(finished: Collection[Index]) -> Index:
    centre = np.mean(list(finished), axis=0)
    return min(finished, key=lambda index: (float(np.abs(np.array(index) - centre).max()), index))


def _ring(block: Index, start: Collection[Index]) -> int:
    """Blocks between `block` and the nearest of `start`, `MAX_RING` standing for all farther ones."""
    return min(MAX_RING, min(max(abs(block[0] - i), abs(block[1] - k)) for i, k in start))


def layout_by_ring(
    surface: SceneSurface, plan: BlockPlan, start: Collection[Index]
) -> Generator[Progress, None, dict[int, Figures]]:
    """`layout_of` the blocks of each ring around `start`, and their number; the return value."""
    members: dict[int, list[Index]] = {}
    for block in sorted(surface.finished):
        members.setdefault(_ring(block, start), []).append(block)
    clock, found = Clock(), {}
    for step, (ring, blocks) in enumerate(sorted(members.items()), 1):
        scores = layout_of(surface, plan, blocks)
        found[ring] = {"blocks": len(blocks), **{f"layout_{name}": value for name, value in scores.items()}}
        yield clock.report(step, len(members), "layout")
    return found


def layout_of(surface: SceneSurface, plan: BlockPlan, blocks: Collection[Index]) -> Figures:
    """How well blocks keep to their windows of the plan, each on its own, over all their pixels.

    iou, recall, spill: see `scenegen.adherence`; None where no furniture is painted or stands.
    """
    planes = torch.stack([surface.planes_of(block) for block in sorted(blocks)])
    layout = torch.stack([plan.masks(surface.frame, block) for block in sorted(blocks)])
    scores = layout_figures(surface.decoder, planes, layout, surface.frame, plan.classes)
    return {name: None if np.isnan(scores[name]) else float(scores[name]) for name in ("iou", "recall", "spill")}
