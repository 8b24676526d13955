"""Where neighbouring blocks disagree, seen from above."""

from __future__ import annotations

import numpy as np

from .seams import overlap_of, overlapping_pairs
from .surface import SceneSurface

RED = 0.1  # metres of disagreement
_NEAR_CELLS = 2.0  # of the lattice
_PLAIN, _OVERLAP = 0.93, 0.8
_GOOD, _BAD = np.array([0.35, 0.7, 0.4]), np.array([0.85, 0.1, 0.1])


def gap_map(surface: SceneSurface) -> np.ndarray:
    """The largest difference of two blocks' distances near the surface above each node of the ground, in metres.

    float64 [rows z, columns x] over all finished blocks; -1 outside overlaps, 0 where nothing stands.
    """
    ends = [(min(axis), max(axis)) for axis in zip(*surface.finished, strict=True)]
    low = [first * surface.stride for first, _ in ends]
    shape = [(last - first) * surface.stride + surface.cells for first, last in ends]
    found = np.full(shape, -1.0)
    for pair in overlapping_pairs(surface.finished):
        overlap = overlap_of(surface, pair)
        own, theirs = overlap.grids
        near = np.minimum(np.abs(own), np.abs(theirs)) < _NEAR_CELLS * surface.cell
        gap = np.where(near, np.abs(own - theirs), 0.0).max(axis=1)
        place = tuple(slice(a - start, b - start) for a, b, start in zip(overlap.low, overlap.high, low, strict=True))
        found[place] = np.maximum(found[place], gap)
    return found.T


def gap_picture(surface: SceneSurface) -> np.ndarray:
    """`gap_map` as uint8 [H, W, 3]: green where blocks agree, red where they differ by `RED`, grey without surface."""
    gaps = gap_map(surface)
    share = (gaps / RED).clip(0, 1)[..., None]
    colours = (1 - share) * _GOOD + share * _BAD
    colours[gaps == 0], colours[gaps < 0] = _OVERLAP, _PLAIN
    return (colours * 255 + 0.5).astype(np.uint8)
