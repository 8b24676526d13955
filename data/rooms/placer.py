"""Where things may stand: inside the room, off each other, off doors and windows, with a way between doors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..layout import ObjectBox
from ..plane_geometry import Polygon, bounds_of, holds, inside, separated, turned
from ..scene import Item, Part, box_at, parts_in
from .plan import Room

GAP = 0.02  # metres between things, and to the walls
_FLAT = 0.03  # what is lower may lie under others
_CELL = 0.1  # metres of the lattice on which ways are sought
_OVER_SILL = 0.25  # metres that furniture may cover of a window's lower edge
_BODY = 0.25  # half the width of a person
_TRIES = 30


@dataclass(frozen=True)
class Member:
    """An item of a group, at (x, z) and `yaw` in the group's frame; `needed`: without it the group is not placed."""

    item: Item
    x: float = 0.0
    z: float = 0.0
    yaw: float = 0.0
    floor: float = 0.0
    needed: bool = False


Group = Sequence[Member]
Build = Callable[[float], Group]  # from the metres between a wall and the opposite one


class Placer:
    """Furnishes one room; `boxes` and `parts` grow with every group that fits."""

    def __init__(self, room: Room, rng: np.random.Generator) -> None:
        self.room = room
        self.boxes: list[ObjectBox] = []
        self.parts: list[Part] = []
        self._rng = rng
        x0, z0, x1, z1 = room.inner
        self._x = np.arange(x0 + _CELL / 2, x1, _CELL)
        self._z = np.arange(z0 + _CELL / 2, z1, _CELL)
        self._doors = [inside(door, self._x, self._z) for door in room.doors]
        self._way = self._connected(self._obstacles([]))

    def against_wall(self, build: Build, tries: int = _TRIES) -> bool:
        """Place a group with the back of its first item against a wall, in a corner half of the time."""
        for _ in range(tries):
            x, z, yaw, depth, length = self._wall()
            group = build(depth)
            low, high = _slack(group, length)
            if low > high:
                low, high = _slack(group[:1], length)
            t = float(self._rng.integers(2)) if self._rng.random() < 0.5 else float(self._rng.random())
            dx, dz = turned(low + t * (high - low), group[0].item.size[2] / 2 + GAP, yaw)
            if low <= high and self._place(group, x + dx, z + dz, yaw):
                return True
        return False

    def free_standing(self, build: Build, tries: int = _TRIES) -> bool:
        """Place a group anywhere, nearer to the middle than to the walls."""
        x0, z0, x1, z1 = self.room.inner
        for _ in range(tries):
            tx, tz = self._rng.beta(3, 3, 2).tolist()
            yaw = float(self._rng.integers(4)) * math.pi / 2
            if self._place(build(min(x1 - x0, z1 - z0)), x0 + tx * (x1 - x0), z0 + tz * (z1 - z0), yaw):
                return True
        return False

    def in_corner(self, item: Item) -> bool:
        """Place an item in a free corner, turned towards the room."""
        x0, z0, x1, z1 = self.room.inner
        half = max(item.size[0], item.size[2]) / 2 + 0.05
        corners = [(x, z) for x in (x0 + half, x1 - half) for z in (z0 + half, z1 - half)]
        for index in self._rng.permutation(4):
            x, z = corners[int(index)]
            toward = math.atan2((x0 + x1) / 2 - x, (z0 + z1) / 2 - z)
            yaw = round(toward / (math.pi / 2)) * math.pi / 2
            if self._place([Member(item, needed=True)], x, z, yaw):
                return True
        return False

    def _wall(self) -> tuple[float, float, float, float, float]:
        """A random side: middle x and z, yaw into the room, metres to the opposite side, length."""
        x0, z0, x1, z1 = self.room.inner
        wide, deep = x1 - x0, z1 - z0
        x, z = (x0 + x1) / 2, (z0 + z1) / 2
        sides = [
            (x, z0, 0.0, deep, wide),
            (x, z1, math.pi, deep, wide),
            (x0, z, math.pi / 2, wide, deep),
            (x1, z, -math.pi / 2, wide, deep),
        ]
        return sides[int(self._rng.integers(4))]

    def _place(self, group: Group, x: float, z: float, yaw: float) -> bool:
        boxes: list[ObjectBox] = []
        items: list[Item] = []
        for member in group:
            dx, dz = turned(member.x, member.z, yaw)
            box = box_at(member.item, x + dx, z + dz, _wrapped(yaw + member.yaw), member.floor)
            carried = member.floor == 0 or any(abs(other.top - member.floor) < 1e-6 for other in boxes)
            if carried and self._free(box, boxes):
                boxes.append(box)
                items.append(member.item)
            elif member.needed:
                return False
        if not self._leaves_way(boxes):
            return False
        self.boxes += boxes
        self.parts += [part for box, item in zip(boxes, items, strict=True) for part in parts_in(box, item)]
        return True

    def _free(self, box: ObjectBox, group: Sequence[ObjectBox]) -> bool:
        """Whether the box stands in the room and meets nothing."""
        ground = box.footprint
        if not holds(self.room.inner, ground):
            return False
        if box.size[1] < _FLAT:
            return all(separated(ground, other.footprint, GAP) for other in self.boxes if other.size[1] < _FLAT)
        if any(not separated(ground, door) for door in self.room.doors):
            return False
        if any(box.top > sill + _OVER_SILL and not separated(ground, below) for below, sill in self.room.windows):
            return False
        solid = [other for other in (*self.boxes, *group) if other.size[1] >= _FLAT]
        return all(_apart(box, other) or separated(ground, other.footprint, GAP) for other in solid)

    def _obstacles(self, boxes: Sequence[ObjectBox]) -> np.ndarray:
        """Lattice cells that furniture on the floor takes, bool [H, W]."""
        taken = np.zeros((len(self._z), len(self._x)), bool)
        for box in (*self.boxes, *boxes):
            if box.size[1] >= _FLAT and box.low < _FLAT:
                taken |= _lattice(box.footprint, self._x, self._z)
        return taken

    def _leaves_way(self, boxes: Sequence[ObjectBox]) -> bool:
        return not self._way or self._connected(self._obstacles(boxes))

    def _connected(self, taken: np.ndarray) -> bool:
        """Whether a person can walk between all doors, and from them over most of the free floor."""
        if not self._doors:
            return True
        wide = ndimage.distance_transform_edt(np.pad(~taken, 1))[1:-1, 1:-1] * _CELL > _BODY
        labels, _ = ndimage.label(wide)
        common = set.intersection(*(set(np.unique(labels[door & wide]).tolist()) for door in self._doors)) - {0}
        return any((labels == label).sum() >= 0.7 * wide.sum() for label in common)


def _lattice(polygon: Polygon, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    x0, z0, x1, z1 = bounds_of(polygon)
    near = np.zeros((len(z), len(x)), bool)
    columns, rows = slice(*np.searchsorted(x, (x0, x1))), slice(*np.searchsorted(z, (z0, z1)))
    near[rows, columns] = inside(polygon, x[columns], z[rows])
    return near


def _slack(group: Group, length: float) -> tuple[float, float]:
    """How far along a wall of that length, from its middle, the first item may go for all members to stay inside."""
    low, high = 0.0, 0.0
    for member in group:
        if member.item.size[1] >= _FLAT:
            width, _, depth = member.item.size
            reach = (abs(math.cos(member.yaw)) * width + abs(math.sin(member.yaw)) * depth) / 2
            low, high = min(low, member.x - reach), max(high, member.x + reach)
    return GAP - low - length / 2, length / 2 - GAP - high


def _apart(a: ObjectBox, b: ObjectBox) -> bool:
    """Whether one box lies above the other."""
    return a.low >= b.top - 1e-6 or b.low >= a.top - 1e-6


def _wrapped(yaw: float) -> float:
    """The same direction in (-pi, pi]."""
    return -((math.pi - yaw) % (2 * math.pi) - math.pi)


def spread(count: int, span: float) -> Iterator[float]:
    """Middles of `count` equal pieces of `span` metres around 0."""
    return ((i + 0.5 - count / 2) * span / count for i in range(count))
