"""A village: a bending road, houses along it with fenced gardens, a church, a pond, fields and trees."""

from __future__ import annotations

import math

import numpy as np

from ..plane_geometry import Point, disc, rectangle, turned
from ..scene import Item, Kit, Rgb, Scene
from .site import Site, along, ribbon

_ROAD = 5.0  # metres
_PATH = 1.2
_GRASS: Rgb = (0.50, 0.64, 0.34)
_EARTH: Rgb = (0.66, 0.58, 0.46)
_WATER: Rgb = (0.36, 0.56, 0.72)
_CROPS: tuple[Rgb, ...] = ((0.82, 0.72, 0.36), (0.58, 0.62, 0.28))


class Village:
    """Builds one village on a site."""

    def __init__(self, bounds: tuple[float, float, float, float], kit: Kit, rng: np.random.Generator) -> None:
        self.site = Site("village", bounds, "grass", _GRASS)
        self._kit, self._rng = kit, rng
        self._lines: list[list[Point]] = []

    def build(self) -> Scene:
        """Everything, roads first and trees last."""
        self._roads()
        self._pond()
        self._church()
        for line in self._lines:
            self._houses(line)
        self._fields()
        self._trees()
        return self.site.scene()

    def _roads(self) -> None:
        """A main road from side to side, and a lane that leaves it."""
        x0, z0, x1, z1 = self.site.bounds
        depth = z1 - z0
        sway = self._rng.uniform(0.35, 0.65, 5) * depth + z0
        main = [(float(x), float(z)) for x, z in zip(np.linspace(x0, x1, 5), sway, strict=True)]
        start = main[int(self._rng.integers(1, 4))]
        end = (start[0] + float(self._rng.uniform(-0.15, 0.15)) * (x1 - x0), z0 if self._rng.random() < 0.5 else z1)
        middle = ((start[0] + end[0]) / 2 + float(self._rng.uniform(-3, 3)), (start[1] + end[1]) / 2)
        self._lines = [main, [start, middle, (min(max(end[0], x0 + 3), x1 - 3), end[1])]]
        for line in self._lines:
            for piece in ribbon(line, _ROAD):
                self.site.cover("road", piece, 0.03, _EARTH)
                self.site.keep_free(piece)

    def _somewhere(self) -> Point:
        x0, z0, x1, z1 = self.site.bounds
        tx, tz = self._rng.random(2).tolist()
        return x0 + tx * (x1 - x0), z0 + tz * (z1 - z0)

    def _pond(self) -> None:
        for _ in range(30):
            centre, radius = self._somewhere(), float(self._rng.uniform(3.5, 6.5))
            shore = disc(centre, radius, 14)
            if self.site.fits(shore, 1.0):
                self.site.cover("water", shore, 0.02, _WATER)
                self.site.keep_free(shore)
                return

    def _church(self) -> None:
        item = self._kit.item("church", self._rng)
        if item is not None:
            self._beside_road(self._lines[0], item, list(self._rng.permutation(6)))

    def _beside_road(self, line: list[Point], item: Item, order: list[int]) -> bool:
        spots = list(along(line, 8.0))
        for index in order:
            spot, heading = spots[index % len(spots)]
            for side in (-1, 1):
                if self._building(item, spot, heading, side):
                    return True
        return False

    def _houses(self, line: list[Point]) -> None:
        """A house wherever one fits, on both sides."""
        for spot, heading in along(line, 4.0):
            for side in (-1, 1):
                item = self._kit.item("barn" if self._rng.random() < 0.12 else "house", self._rng)
                if item is not None:
                    self._building(item, spot, heading, side)

    def _building(self, item: Item, spot: Point, heading: float, side: int) -> bool:
        """A building that faces the road, with a path to it and, in most cases, a fenced garden."""
        yaw = heading + side * math.pi / 2  # looks from the house to the road
        setback = _ROAD / 2 + float(self._rng.uniform(2.2, 4.5))
        back = setback + item.size[2] / 2
        place = _offset(spot, yaw, 0.0, -back)
        if not self.site.add(item, place, yaw, gap=2.4):
            return False
        path = rectangle(_offset(spot, yaw, 0.0, -(_ROAD / 2 + setback) / 2), _PATH, setback - _ROAD / 2 + 0.2, yaw)
        self.site.cover("road", path, 0.02, _EARTH)
        self.site.keep_free(path)
        if self._rng.random() < 0.7:
            self._garden(item, spot, yaw, setback)
        return True

    def _garden(self, item: Item, spot: Point, yaw: float, setback: float) -> None:
        """Fences along the road, left and right of the path, and back along the sides."""
        half = item.size[0] / 2 + 1.0
        front = _ROAD / 2 + 0.6
        for side in (-1, 1):
            fence = self._kit.item("fence", self._rng)
            if fence is None:
                return
            length = fence.size[0]
            x = _PATH / 2 + 0.3 + length / 2
            while x + length / 2 <= half + 0.3:
                self.site.add(fence, _offset(spot, yaw, side * x, -front), yaw, gap=0.02)
                x += length + 0.06
            corner = x - length / 2 + 0.08
            z = front + 0.1 + length / 2
            while z + length / 2 <= setback + 0.6 * item.size[2]:
                self.site.add(fence, _offset(spot, yaw, side * corner, -z), yaw + math.pi / 2, gap=0.02)
                z += length + 0.06

    def _fields(self) -> None:
        """Fields of crops where there is room."""
        for _ in range(40):
            w, d = self._rng.uniform((10, 8), (20, 15)).tolist()
            ground = rectangle(self._somewhere(), w, d, float(self._rng.uniform(-0.3, 0.3)))
            if self.site.fits(ground, 1.0):
                rgb = _CROPS[int(self._rng.integers(len(_CROPS)))]
                self.site.cover("field", ground, float(self._rng.uniform(0.2, 0.45)), rgb)
                self.site.keep_free(ground)

    def _trees(self) -> None:
        x0, z0, x1, z1 = self.site.bounds
        for _ in range(int((x1 - x0) * (z1 - z0) / 45)):
            item = self._kit.item("conifer" if self._rng.random() < 0.3 else "tree", self._rng)
            self.site.add(item, self._somewhere(), float(self._rng.uniform(-math.pi, math.pi)), gap=0.4)


def _offset(spot: Point, yaw: float, x: float, z: float) -> Point:
    """The point at (x, z) in a frame at `spot` whose +z looks along `yaw`."""
    dx, dz = turned(x, z, yaw)
    return spot[0] + dx, spot[1] + dz
