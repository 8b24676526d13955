"""Large free rectangles in a picture, for rooms of any outline."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

Span = tuple[int, int, int, int]  # top, left, bottom, right in pixels; bottom and right are past the end
_MOST = 64


def free_rectangles(free: np.ndarray, smallest: int) -> Iterator[Span]:
    """Rectangles of free pixels [H, W] with sides of `smallest` and more, largest first, apart from each other."""
    free = free.copy()
    for _ in range(_MOST):
        span = largest_rectangle(_opened(free, smallest))
        top, left, bottom, right = span
        if min(bottom - top, right - left) < smallest:
            return
        yield span
        free[top:bottom, left:right] = False


def largest_rectangle(free: np.ndarray) -> Span:
    """The free rectangle of largest area; all zero when nothing is free."""
    best, found = 0, (0, 0, 0, 0)
    heights = np.zeros(free.shape[1], np.int64)
    for row, line in enumerate(free):
        heights = np.where(line, heights + 1, 0)
        for left, right, height in _under_skyline(heights.tolist()):
            if (right - left) * height > best:
                best, found = (right - left) * height, (row + 1 - height, left, row + 1, right)
    return found


def _under_skyline(heights: list[int]) -> Iterator[tuple[int, int, int]]:
    """(left, right, height) of every maximal rectangle that stands under a skyline."""
    rising: list[tuple[int, int]] = []  # left, height
    for column, height in enumerate([*heights, 0]):
        left = column
        while rising and rising[-1][1] >= height:
            left, taller = rising.pop()
            yield left, column, taller
        rising.append((left, height))


def _opened(free: np.ndarray, smallest: int) -> np.ndarray:
    """Only the pixels that a square of `smallest` pixels reaches."""
    return np.asarray(ndimage.binary_opening(free, np.ones((smallest, smallest))))
