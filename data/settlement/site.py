"""Open ground on which things are placed off each other, off roads and water."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from ..layout import Area, Layout, ObjectBox
from ..palette import World
from ..plane_geometry import Point, Polygon, Window, band, bounds_of, clipped, disc, holds, separated
from ..scene import Item, Part, Rgb, Scene, box_at, parts_in
from ..solids import prism

_DEEP = 0.5  # metres of ground below y = 0
_FLAT_LOW = -0.1  # bottoms of roads and other covers


class Site:
    """Grows a scene: covers (areas) first, then objects, each only where it fits."""

    def __init__(self, world: World, bounds: Window, name: str, rgb: Rgb) -> None:
        self.bounds = bounds
        x0, z0, x1, z1 = bounds
        outline = ((x0, z0), (x1, z0), (x1, z1), (x0, z1))
        self._world: World = world
        self._areas = [Area(name, outline)]
        self._parts = [Part(prism(outline, -_DEEP, 0.0), name, rgb)]
        self._boxes: list[ObjectBox] = []
        self._taken: list[tuple[Window, Polygon]] = []

    def cover(self, name: str, polygon: Polygon, height: float, rgb: Rgb) -> None:
        """Lay a convex polygon of road, pavement, grass ... on the ground, `height` metres high, cut at the bounds."""
        polygon = clipped(polygon, self.bounds)
        if not polygon:
            return
        self._areas.append(Area(name, polygon))
        self._parts.append(Part(prism(polygon, _FLAT_LOW, height), name, rgb))

    def keep_free(self, polygon: Polygon) -> None:
        """Nothing may be placed on this convex polygon from now on."""
        self._taken.append((bounds_of(polygon), polygon))

    def add(self, item: Item | None, place: Point, yaw: float, gap: float = 0.3, floor: float = 0.0) -> bool:
        """Place an item unless it leaves the bounds or comes nearer than `gap` to what is there."""
        if item is None:
            return False
        box = box_at(item, *place, yaw, floor)
        if not self.fits(box.footprint, gap):
            return False
        self.keep_free(box.footprint)
        self._boxes.append(box)
        self._parts += parts_in(box, item)
        return True

    def fits(self, polygon: Polygon, gap: float) -> bool:
        """Whether a convex polygon lies inside and at least `gap` from everything taken."""
        if not holds(self.bounds, polygon):
            return False
        x0, z0, x1, z1 = bounds_of(polygon)
        near = (
            other
            for (u0, w0, u1, w1), other in self._taken
            if u0 < x1 + gap and x0 < u1 + gap and w0 < z1 + gap and z0 < w1 + gap
        )
        return all(separated(polygon, other, gap) for other in near)

    def scene(self) -> Scene:
        """What has been placed."""
        layout = Layout(self._world, self.bounds, tuple(self._areas), objects=tuple(self._boxes))
        return Scene(layout, tuple(self._parts))


def ribbon(line: Sequence[Point], width: float) -> Iterator[Polygon]:
    """Convex pieces that cover a road along a line of points."""
    for start, end in itertools.pairwise(line):
        yield band(start, end, width)
    for corner in line[1:-1]:
        yield disc(corner, width / 2)


def along(line: Sequence[Point], spacing: float) -> Iterator[tuple[Point, float]]:
    """Points every `spacing` metres along a line, with the yaw whose front looks along it."""
    left = spacing / 2
    for (x0, z0), (x1, z1) in itertools.pairwise(line):
        length = math.dist((x0, z0), (x1, z1))
        while left < length:
            t = left / length
            yield (x0 + t * (x1 - x0), z0 + t * (z1 - z0)), math.atan2(x1 - x0, z1 - z0)
            left += spacing
        left -= length
