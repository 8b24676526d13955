"""Smoothed edges in painted plans: pixels between two classes whose colour is a mixture of theirs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy import ndimage

from .palette import BY_COLOUR, CLASSES

_REACH = 2  # pixels: how far smoothing carries a colour
_CLOSE = 10.0  # of 255: how near a colour must be to the line between two others
NO_CLASS = 255


def unmixed(rgb: np.ndarray) -> np.ndarray:
    """Class indices uint8 [H, W] of a picture uint8 [H, W, 3] in palette colours; `NO_CLASS` where a pixel has none.

    A pixel of another colour gets the nearer one of two classes when both lie within two pixels of it and its
    colour is a mixture of theirs: that is what anti-aliasing leaves. Lone colours stay without a class.
    """
    found = np.full(rgb.shape[:2], NO_CLASS, np.uint8)
    for colour, entry in BY_COLOUR.items():
        found[(rgb == np.array(colour, np.uint8)).all(-1)] = entry.index
    rows, columns = np.nonzero(found == NO_CLASS)
    present = [int(index) for index in np.unique(found) if index != NO_CLASS]
    near = {index: _near(found == index)[rows, columns] for index in present}
    colours = rgb[rows, columns].astype(np.float32)  # [U, 3]
    best = np.full(len(rows), _CLOSE)
    for first, second in combinations(present, 2):
        distance, share = _from_line(colours, CLASSES[first].rgb, CLASSES[second].rgb)
        better = near[first] & near[second] & (distance < best)
        best[better] = distance[better]
        found[rows[better], columns[better]] = np.where(share[better] < 0.5, first, second)
    return found


def _near(mask: np.ndarray) -> np.ndarray:
    """Pixels that have one of the mask's within reach."""
    return ndimage.maximum_filter(mask, size=2 * _REACH + 1, mode="nearest")


def _from_line(
    colours: np.ndarray, start: tuple[int, int, int], end: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Distance [U] of colours [U, 3] from the segment between two, and how far along it they lie, 0 to 1."""
    a, line = np.array(start, np.float32), np.subtract(end, start).astype(np.float32)
    share = ((colours - a) @ line / (line @ line)).clip(0, 1)
    return np.linalg.norm(colours - a - share[:, None] * line, axis=1), share
