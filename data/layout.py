"""A floor plan as objects, walls and areas in metres: what class maps are drawn from.

y is up and the ground plane is xz. `data.layout_files` reads and writes it as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from . import class_map
from .class_map import ClassMap
from .palette import World, class_named
from .plane_geometry import Point, Polygon, Window, band, rectangle


@dataclass(frozen=True)
class ObjectBox:
    """An object: its class and the oriented box around it.

    centre: x, y, z in metres; size: width, height, depth along the box's own x, y, z; yaw in radians
    about y: the front, +z at yaw 0, looks towards (sin yaw, cos yaw) in (x, z).
    """

    name: str
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw: float

    @property
    def footprint(self) -> Polygon:
        """The box's outline on the ground."""
        return rectangle((self.centre[0], self.centre[2]), self.size[0], self.size[2], self.yaw)

    @property
    def front(self) -> Point:
        """Unit vector (x, z) that the object faces."""
        return math.sin(self.yaw), math.cos(self.yaw)

    @property
    def low(self) -> float:
        """Height of the box's bottom."""
        return self.centre[1] - self.size[1] / 2

    @property
    def top(self) -> float:
        """Height of the box's top."""
        return self.centre[1] + self.size[1] / 2


@dataclass(frozen=True)
class Area:
    """A polygon of ground: the floor of a room (`label` "bedroom", say), a road, water, ..."""

    name: str
    polygon: Polygon
    label: str = ""


@dataclass(frozen=True)
class Wall:
    """An upright wall along a segment; it reaches half its thickness past both ends."""

    start: Point
    end: Point
    thickness: float = 0.12
    height: float = 2.8

    @property
    def length(self) -> float:
        """Metres from start to end."""
        return math.dist(self.start, self.end)

    @property
    def footprint(self) -> Polygon:
        """The wall's outline on the ground."""
        return band(self.start, self.end, self.thickness, self.thickness / 2)

    def at(self, distance: float) -> Point:
        """The point `distance` metres from the start."""
        t = distance / self.length
        return tuple(a + t * (b - a) for a, b in zip(self.start, self.end, strict=True))  # type: ignore[return-value]


@dataclass(frozen=True)
class Opening:
    """A door or window (`name`) in wall number `wall`.

    centre: metres from the wall's start to the middle; bottom, top: heights in metres.
    """

    name: str
    wall: int
    centre: float
    width: float
    bottom: float
    top: float


@dataclass(frozen=True)
class Layout:
    """A plan. Later areas lie over earlier ones; bounds are x0, z0, x1, z1 in metres."""

    world: World
    bounds: Window
    areas: tuple[Area, ...] = ()
    walls: tuple[Wall, ...] = ()
    openings: tuple[Opening, ...] = ()
    objects: tuple[ObjectBox, ...] = ()

    def shapes(self) -> Iterator[tuple[int, Polygon]]:
        """(class index, polygon) from the ground up, as seen from above the highest comes last."""
        for area in self.areas:
            yield class_named(area.name).index, area.polygon
        for wall in self.walls:
            yield class_named("wall").index, wall.footprint
        for opening in self.openings:
            yield class_named(opening.name).index, self.opening_footprint(opening)
        for item in sorted(self.objects, key=lambda item: item.top):
            yield class_named(item.name).index, item.footprint

    def opening_footprint(self, opening: Opening) -> Polygon:
        """The piece of wall that an opening takes, on the ground."""
        wall = self.walls[opening.wall]
        ends = (wall.at(opening.centre - opening.width / 2), wall.at(opening.centre + opening.width / 2))
        return band(*ends, wall.thickness)

    def draw(self, metres_per_pixel: float, window: Window | None = None) -> ClassMap:
        """The plan as seen from above, exact at pixel centres; `window` defaults to the bounds.

        Raises:
            UserError: `E-LAYOUT-WINDOW`, `E-LIMIT-LAYOUT`.
        """
        return class_map.draw(self.shapes(), window or self.bounds, metres_per_pixel)

    def masks(
        self, metres_per_pixel: float, names: Sequence[str], window: Window | None = None, finer: int = 1
    ) -> np.ndarray:
        """One map for each class in `names`, bool [K, H, W]: what lies below something else is drawn too.

        finer: a pixel is set when any of its `finer` x `finer` parts is, so that thin things stay whole.

        Raises:
            UserError: `E-LAYOUT-WINDOW`, `E-LIMIT-LAYOUT`, `E-LAYOUT-CLASS`.
        """
        return class_map.draw_masks(self.shapes(), window or self.bounds, metres_per_pixel, names, finer)

    def moved(self, dx: float, dz: float) -> Layout:
        """The same plan `dx` metres along x and `dz` along z."""

        def shift(point: Point) -> Point:
            return point[0] + dx, point[1] + dz

        x0, z0, x1, z1 = self.bounds
        return Layout(
            self.world,
            (x0 + dx, z0 + dz, x1 + dx, z1 + dz),
            tuple(replace(area, polygon=tuple(map(shift, area.polygon))) for area in self.areas),
            tuple(replace(wall, start=shift(wall.start), end=shift(wall.end)) for wall in self.walls),
            self.openings,
            tuple(replace(o, centre=(o.centre[0] + dx, o.centre[1], o.centre[2] + dz)) for o in self.objects),
        )


def joined(layouts: Sequence[Layout]) -> Layout:
    """Several plans of one world as one; where they overlap, later ones lie over earlier ones."""
    bounds = np.array([layout.bounds for layout in layouts])
    low, high = bounds[:, :2].min(0).tolist(), bounds[:, 2:].max(0).tolist()
    openings: list[Opening] = []
    walls: list[Wall] = []
    for layout in layouts:
        openings += (replace(opening, wall=opening.wall + len(walls)) for opening in layout.openings)
        walls += layout.walls
    areas = tuple(area for layout in layouts for area in layout.areas)
    objects = tuple(item for layout in layouts for item in layout.objects)
    return Layout(layouts[0].world, (*low, *high), areas, tuple(walls), tuple(openings), objects)
