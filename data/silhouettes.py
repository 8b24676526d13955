"""The box of an object from the outlines in its photos (visual hull)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fields.views import Background, Views

from .framing import Focus
from .projection import project

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_MAX_VIEWS = 40
_PASSES = ((32, 64), (32, 128), (40, 320))  # (grid points an axis, silhouette cells along the longer side)
_AGREEMENT = 0.92  # share of the telling views that must have a point inside the outline
_MARGIN = 0.04  # of the box diagonal
_POINT_AGREEMENT, _POINT_PERCENTILES, _POINT_MARGIN, _MIN_POINTS = 0.9, (0.5, 99.5), 0.1, 30
_PLAIN = 8  # grey levels by which a foreground pixel differs from a plain background


def silhouette(views: Views, index: int, background: Background) -> Mask:
    """Foreground of one photo [H, W]: its alpha, or what differs from the white or black behind."""
    width, height = views.cameras.size[index].tolist()
    start = int(views.starts[index])
    pixels = views.pixels[start : start + width * height].numpy().reshape(height, width, 4)
    if background == "white":
        return np.asarray((pixels[..., :3] < 255 - _PLAIN).any(axis=-1))
    if background == "black":
        return np.asarray((pixels[..., :3] > _PLAIN).any(axis=-1))
    return np.asarray(pixels[..., 3] > 127)


def object_bounds(
    views: Views,
    background: Background,
    focus: Focus,
    depths: tuple[float, float] | None,
    points: Array | None,
) -> Array:
    """Box [2, 3] around an object photographed with alpha, masks or a plain background.

    The visual hull within what the cameras see, cut to the reconstructed points on the object
    where there are any (a hull has a cone under an object that was seen only from above).
    Without a hull: what the cameras see, within the depths that the capture states.
    """
    half = focus.half_view
    if depths is not None:
        half = min(half, max(focus.distance - depths[0], depths[1] - focus.distance, 0.1 * half))
    chosen = np.unique(
        np.linspace(0, len(views) - 1, min(len(views), _MAX_VIEWS)).round().astype(int)
    ).tolist()
    outlines = {index: outline for index in chosen if (outline := silhouette(views, index, background)).any()}
    box = focus.box(1.3 * focus.half_view)
    for resolution, cells in _PASSES:
        carved = _carve(views, outlines, box, resolution, cells)
        if carved is None:
            box = focus.box(half)
            break
        box = carved
    box = _padded(box, _MARGIN)
    return _cut_to_points(views, outlines, box, points)


def _carve(views: Views, outlines: dict[int, Mask], box: Array, resolution: int, cells: int) -> Array | None:
    """Box of the grid points that nearly all outlines contain, or None when none does."""
    axes = [np.linspace(low, high, resolution) for low, high in box.T]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    coarse = {index: _pooled(outline, cells) for index, outline in outlines.items()}
    if len(outlines) < 2:
        return None
    kept = _agreed(views, coarse, grid, _AGREEMENT, max(2, len(outlines) // 4))
    if len(kept) < 8:
        return None
    step = (box[1] - box[0]) / (resolution - 1)
    return np.stack([kept.min(axis=0) - step, kept.max(axis=0) + step])


def _pooled(outline: Mask, cells: int) -> tuple[Mask, int]:
    """The outline on coarser cells, a cell counting when it or a neighbour holds any foreground.

    Growing keeps thin parts that fall between grid points, so that the box errs outwards.
    """
    factor = max(1, max(outline.shape) // cells)
    rows, columns = -(-outline.shape[0] // factor), -(-outline.shape[1] // factor)
    whole = np.zeros((rows * factor, columns * factor), dtype=bool)
    whole[: outline.shape[0], : outline.shape[1]] = outline
    small = whole.reshape(rows, factor, columns, factor).any(axis=(1, 3))
    padded = np.pad(small, 1)
    grown = [padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.logical_or.reduce(grown), factor


def _agreed(
    views: Views, outlines: dict[int, tuple[Mask, int]], x: Array, agreement: float, least: int
) -> Array:
    """The positions that this share of the photos that tell about them, at least so many, have inside.

    A photo tells about what it has in its frame, and, when its outline keeps clear of the border,
    that the object is nowhere else. Positions are dropped once their misses are too many, which
    after a few photos leaves little to project.
    """
    missed, told = np.zeros(len(x), np.int64), np.zeros(len(x), np.int64)
    for index, (outline, factor) in outlines.items():
        pixel, visible = project(views.cameras, index, x)
        cell = pixel[visible].astype(np.int64) // factor
        inside = np.zeros(len(x), bool)
        inside[visible] = outline[cell[:, 1], cell[:, 0]]
        touches = outline[[0, -1]].any() or outline[:, [0, -1]].any()
        tells = visible if touches else np.ones(len(x), bool)
        missed += tells & ~inside
        told += tells
        kept = missed <= (1 - agreement) * len(outlines)
        x, missed, told = x[kept], missed[kept], told[kept]
    return x[(told >= least) & (missed <= (1 - agreement) * told)]


def _cut_to_points(views: Views, outlines: dict[int, Mask], box: Array, points: Array | None) -> Array:
    if points is None or len(points) < _MIN_POINTS:
        return box
    whole = {index: (outline, 1) for index, outline in outlines.items()}
    on_object = _agreed(views, whole, points, _POINT_AGREEMENT, 2)
    if len(on_object) < _MIN_POINTS:
        return box
    around = _padded(np.percentile(on_object, _POINT_PERCENTILES, axis=0), _POINT_MARGIN)
    cut = np.stack([np.maximum(box[0], around[0]), np.minimum(box[1], around[1])])
    return cut if (cut[0] < cut[1]).all() else around


def _padded(box: Array, share: float) -> Array:
    margin = share * float(np.linalg.norm(box[1] - box[0]))
    return np.stack([box[0] - margin, box[1] + margin])
