"""A city: a grid of streets with pavements, lots with towers and town houses, parks, cars, trees and lamps."""

from __future__ import annotations

import itertools
import math

import numpy as np

from ..plane_geometry import Point, Window, rectangle
from ..scene import Item, Kit, Rgb, Scene
from .site import Site

_STREET = 9.0  # metres between kerbs
_KERB = 0.12
_PAVEMENT = 2.6
_ASPHALT: Rgb = (0.34, 0.34, 0.36)
_STONE: Rgb = (0.72, 0.71, 0.70)
_GRASS: Rgb = (0.46, 0.62, 0.34)
_MIN_LOT = 12.0


class City:
    """Builds one city on a site."""

    def __init__(self, bounds: Window, kit: Kit, rng: np.random.Generator) -> None:
        self.site = Site("city", bounds, "road", _ASPHALT)
        self._kit, self._rng = kit, rng

    def build(self) -> Scene:
        """Quarters, one after the other, then what stands and drives in the streets."""
        x0, z0, x1, z1 = self.site.bounds
        columns, rows = self._quarters(x0, x1), self._quarters(z0, z1)
        quarters = [(a, c, b, d) for a, b in columns for c, d in rows]
        for quarter in quarters:
            self._quarter(quarter)
        for quarter in quarters:
            self._pavement(quarter)
        for (_, low), (high, _) in itertools.pairwise(columns):
            self._cars((low + high) / 2, (z0, z1), along_x=False, crossings=rows)
        for (_, low), (high, _) in itertools.pairwise(rows):
            self._cars((low + high) / 2, (x0, x1), along_x=True, crossings=columns)
        return self.site.scene()

    def _quarters(self, low: float, high: float) -> list[tuple[float, float]]:
        """Spans between the streets, half a street free at both ends."""
        low, high = low + _STREET / 2, high - _STREET / 2
        count = max(1, round((high - low + _STREET) / 46))
        free = high - low - (count - 1) * _STREET
        share = self._rng.uniform(0.8, 1.2, count)
        ends = low + np.cumsum(share / share.sum() * free) + np.arange(count) * _STREET
        starts = [low, *(ends[:-1] + _STREET).tolist()]
        return list(zip(starts, ends.tolist(), strict=True))

    def _quarter(self, quarter: Window) -> None:
        """Pavement all over; on it a park, or lots with a building each."""
        self.site.cover("pavement", _outline(quarter, 0.0), _KERB, _STONE)
        inner = _shrunk(quarter, _PAVEMENT)
        if self._rng.random() < 0.15:
            self._park(inner)
            return
        for lot in self._lots(inner):
            if self._rng.random() < 0.1:
                self._park(_shrunk(lot, 0.8))
            else:
                self._build_on(lot, quarter)

    def _lots(self, ground: Window) -> list[Window]:
        """The ground split along its longer side again and again."""
        x0, z0, x1, z1 = ground
        w, d = x1 - x0, z1 - z0
        if max(w, d) < 2 * _MIN_LOT or (max(w, d) < 30 and self._rng.random() < 0.25):
            return [ground]
        t = float(self._rng.uniform(0.42, 0.58))
        if w >= d:
            return self._lots((x0, z0, x0 + t * w, z1)) + self._lots((x0 + t * w, z0, x1, z1))
        return self._lots((x0, z0, x1, z0 + t * d)) + self._lots((x0, z0 + t * d, x1, z1))

    def _build_on(self, lot: Window, quarter: Window) -> None:
        """The largest of a few buildings that fits the lot, facing the nearest street."""
        yaw = _to_street(lot, quarter)
        w, d = lot[2] - lot[0] - 1.0, lot[3] - lot[1] - 1.0
        if abs(math.sin(yaw)) > 0.5:
            w, d = d, w
        kinds = ["tower", "block"] if min(w, d) > 13 and self._rng.random() < 0.7 else ["block", "house"]
        for kind in kinds:
            found = [self._kit.item(kind, self._rng) for _ in range(6)]
            fitting = [item for item in found if item and item.size[0] <= w and item.size[2] <= d]
            if fitting:
                item = max(fitting, key=lambda item: item.size[0] * item.size[2])
                self.site.add(item, _middle(lot), yaw, gap=0.3, floor=_KERB)
                return
        self._park(_shrunk(lot, 0.8))

    def _park(self, ground: Window) -> None:
        """Grass, perhaps a basin, and trees."""
        self.site.cover("grass", _outline(ground, 0.0), _KERB + 0.03, _GRASS)
        x0, z0, x1, z1 = ground
        w, d = x1 - x0, z1 - z0
        if min(w, d) > 18:
            basin = rectangle(_middle(ground), 0.35 * w, 0.35 * d, 0.0)
            self.site.cover("water", basin, _KERB + 0.05, (0.36, 0.56, 0.72))
            self.site.keep_free(basin)
        for _ in range(int(w * d / 30) + 2):
            tx, tz = self._rng.random(2).tolist()
            item = self._kit.item("tree", self._rng)
            if item is not None:
                half = max(item.size[0], item.size[2]) / 2
                place = (x0 + half + tx * (w - 2 * half), z0 + half + tz * (d - 2 * half))
                self.site.add(item, place, float(self._rng.uniform(-math.pi, math.pi)), 0.3, _KERB + 0.03)

    def _pavement(self, quarter: Window) -> None:
        """Lamps and trees by turns along the kerb, lamps leaning over the street."""
        x0, z0, x1, z1 = quarter
        sides = [((x0, z1), (x1, z1), 0.0), ((x1, z1), (x1, z0), math.pi / 2),
                 ((x1, z0), (x0, z0), math.pi), ((x0, z0), (x0, z1), -math.pi / 2)]  # fmt: skip
        for (ax, az), (bx, bz), yaw in sides:
            length = math.dist((ax, az), (bx, bz))
            for i, t in enumerate(np.arange(3.0, length - 2.0, 7.0) / length):
                lamp = i % 2 == 0
                item = self._kit.item("street_lamp" if lamp else "tree", self._rng)
                if item is None:
                    continue
                inward = (0.25 if lamp else max(item.size[0], item.size[2]) / 2) - (item.size[2] / 2 if lamp else 0)
                x = ax + t * (bx - ax) - inward * math.sin(yaw)
                z = az + t * (bz - az) - inward * math.cos(yaw)
                self.site.add(item, (x, z), yaw, 0.2, _KERB)

    def _cars(
        self, middle: float, span: tuple[float, float], along_x: bool, crossings: list[tuple[float, float]]
    ) -> None:
        """Cars on both lanes of a street, off the crossings."""
        for side in (-1, 1):
            position = span[0] + 4.0 + float(self._rng.uniform(0, 10))
            while position < span[1] - 4.0:
                item = self._kit.item("car", self._rng)
                if any(low < position < high for low, high in crossings):
                    lane = middle + side * _STREET / 4
                    place: Point = (position, lane) if along_x else (lane, position)
                    ahead = side if along_x else -side
                    yaw = ahead * math.pi / 2 if along_x else (0.0 if ahead > 0 else math.pi)
                    self._drive(item, place, yaw)
                position += float(self._rng.uniform(7, 22))

    def _drive(self, item: Item | None, place: Point, yaw: float) -> None:
        """Add a car; models wider than a lane stay away."""
        if item is not None and item.size[0] < _STREET / 2:
            self.site.add(item, place, yaw, 0.4)


def _middle(window: Window) -> Point:
    return (window[0] + window[2]) / 2, (window[1] + window[3]) / 2


def _shrunk(window: Window, margin: float) -> Window:
    x0, z0, x1, z1 = window
    return x0 + margin, z0 + margin, x1 - margin, z1 - margin


def _outline(window: Window, margin: float) -> tuple[Point, ...]:
    x0, z0, x1, z1 = _shrunk(window, margin)
    return (x0, z0), (x1, z0), (x1, z1), (x0, z1)


def _to_street(lot: Window, quarter: Window) -> float:
    """The yaw of a building whose front looks to the nearest side of the quarter."""
    x, z = _middle(lot)
    x0, z0, x1, z1 = quarter
    ways = [(z1 - z, 0.0), (x1 - x, math.pi / 2), (z - z0, math.pi), (x - x0, -math.pi / 2)]
    return min(ways)[1]
