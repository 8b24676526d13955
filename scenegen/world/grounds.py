"""Pieces of plan with one way to look at them: painted pictures and layouts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from data import class_map
from data.class_map import ClassMap, pixel_centres
from data.layout import Layout
from data.palette import CLASSES, VOID, class_named
from data.plane_geometry import Polygon, Window, bounds_of


class Ground(Protocol):
    """A piece of plan. Outside its window nothing is painted."""

    @property
    def window(self) -> Window:
        """x0, z0, x1, z1 around what is painted, metres."""

    def names(self) -> set[str]:
        """Classes that occur, without `void`."""

    def masks(self, window: Window, metres_per_pixel: float, names: Sequence[str]) -> np.ndarray:
        """One map for each class, bool [K, H, W], true where a pixel's centre is of the class."""

    def seen(self, window: Window, metres_per_pixel: float) -> ClassMap:
        """The class at each pixel's centre as seen from above."""


# What else is where a picture shows something, as in plans that are drawn from their shapes: a picture has room for
# one class a pixel, but floors go on below furniture and through doors, and a door or window is in a wall.
_IN_WALLS = ("door", "window")
_NO_FLOOR = ("void", "wall", "window")


class PaintedGround:
    """A picture of classes."""

    def __init__(self, picture: ClassMap) -> None:
        self.picture = picture

    @cached_property
    def window(self) -> Window:
        """Around all pixels that are not void; empty at the origin of the picture when all are."""
        painted = self.picture.indices != VOID
        rows, columns = np.flatnonzero(painted.any(1)), np.flatnonzero(painted.any(0))
        x, z = self.picture.origin
        if not len(rows):
            return x, z, x, z
        scale = self.picture.metres_per_pixel
        low, high = (int(columns[0]), int(rows[0])), (int(columns[-1]) + 1, int(rows[-1]) + 1)
        return x + low[0] * scale, z + low[1] * scale, x + high[0] * scale, z + high[1] * scale

    def names(self) -> set[str]:
        """Classes of the picture."""
        return {CLASSES[index].name for index in np.unique(self.picture.indices).tolist() if index != VOID}

    def masks(self, window: Window, metres_per_pixel: float, names: Sequence[str]) -> np.ndarray:
        """See `Ground`; walls include doors and windows, and floors all that stands on them."""
        seen = self.seen(window, metres_per_pixel)
        maps = seen.masks(names)
        if "wall" in names:
            maps[list(names).index("wall")] |= seen.masks(_IN_WALLS).any(0)
        if "floor" in names:
            bare = np.isin(seen.indices, [class_named(name).index for name in _NO_FLOOR])
            maps[list(names).index("floor")] |= ~bare
        return maps

    def seen(self, window: Window, metres_per_pixel: float) -> ClassMap:
        """See `Ground`."""
        return self.picture.resampled(window, metres_per_pixel)


class DrawnGround:
    """A layout, drawn window by window from the shapes that reach into it, and cut off at its bounds."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._shapes = [shape for shape in layout.shapes() if shape[0] != VOID]
        self._boxes = np.array([bounds_of(polygon) for _, polygon in self._shapes]).reshape(-1, 4)

    @cached_property
    def window(self) -> Window:
        """Around all shapes, within the bounds; empty when there are none."""
        x0, z0, x1, z1 = self.layout.bounds
        if not self._shapes:
            return x0, z0, x0, z0
        low, high = self._boxes[:, :2].min(0).tolist(), self._boxes[:, 2:].max(0).tolist()
        corner = max(x0, low[0]), max(z0, low[1])
        return *corner, max(corner[0], min(x1, high[0])), max(corner[1], min(z1, high[1]))

    def names(self) -> set[str]:
        """Classes of the layout's shapes."""
        return {CLASSES[index].name for index, _ in self._shapes}

    def masks(self, window: Window, metres_per_pixel: float, names: Sequence[str]) -> np.ndarray:
        """See `Ground`."""
        maps = class_map.draw_masks(self._near(window), window, metres_per_pixel, names)
        return maps & self._within(window, metres_per_pixel)

    def seen(self, window: Window, metres_per_pixel: float) -> ClassMap:
        """See `Ground`."""
        drawn = class_map.draw(self._near(window), window, metres_per_pixel)
        kept = np.where(self._within(window, metres_per_pixel), drawn.indices, np.uint8(VOID))
        return ClassMap(kept, drawn.origin, metres_per_pixel)

    def _near(self, window: Window) -> list[tuple[int, Polygon]]:
        """Shapes whose boxes reach into the window, in their order."""
        x0, z0, x1, z1 = window
        boxes = self._boxes
        meets = (boxes[:, 0] <= x1) & (boxes[:, 2] >= x0) & (boxes[:, 1] <= z1) & (boxes[:, 3] >= z0)
        return [self._shapes[index] for index in np.flatnonzero(meets).tolist()]

    def _within(self, window: Window, metres_per_pixel: float) -> np.ndarray:
        """Pixels inside the layout's bounds, bool [H, W]."""
        x, z = pixel_centres(window, metres_per_pixel)
        x0, z0, x1, z1 = self.layout.bounds
        return ((z0 <= z) & (z <= z1))[:, None] & ((x0 <= x) & (x <= x1))[None]
