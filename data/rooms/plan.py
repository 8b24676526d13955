"""A flat without furniture: rooms by repeated splitting, doors that join them all, windows outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..layout import Area, Opening, Wall
from ..plane_geometry import Polygon, Window, rectangle

THICKNESS, HEIGHT = 0.12, 2.8
_DOOR_TOP = 2.05
_MIN_SIDE = 2.3  # metres between wall centres
_ENTRY = 0.85  # metres in front of a door that stay free


@dataclass(frozen=True)
class Room:
    """A room to furnish.

    inner: its free rectangle between the walls; doors: ground that stays free on its side of each door;
    windows: the ground below each window and the height of its sill.
    """

    kind: str
    inner: Window
    doors: tuple[Polygon, ...]
    windows: tuple[tuple[Polygon, float], ...]


@dataclass(frozen=True)
class Flat:
    """The shell of a flat; room number i has area number i."""

    bounds: Window
    areas: tuple[Area, ...]
    walls: tuple[Wall, ...]
    openings: tuple[Opening, ...]
    rooms: tuple[Room, ...]


def make_flat(rng: np.random.Generator, columns: int, rows: int) -> Flat:
    """A rectangular flat of about `columns` x `rows` rooms, each 9 to 20 square metres."""
    spread = (3.1, 4.4) if columns * rows > 1 else (3.2, 5.2)
    width, depth = (round(float(rng.uniform(*spread, count).sum()), 2) for count in (columns, rows))
    return flat_of(rng, width, depth, columns * rows)


def flat_of(rng: np.random.Generator, width: float, depth: float, count: int) -> Flat:
    """A flat of at most so many rooms, `width` x `depth` metres between the middles of its outer walls."""
    cells, walls = _split(rng, (0.0, 0.0, width, depth), count)
    kinds = _kinds(rng, cells)
    openings = _doors(rng, cells, walls, kinds) + _windows(rng, cells, walls)
    openings.insert(0, _entrance(rng, cells, walls, kinds, openings))
    t = THICKNESS / 2
    rooms = tuple(_room(kind, cell, walls, openings) for kind, cell in zip(kinds, cells, strict=True))
    areas = tuple(Area("floor", _corners(cell), kind) for kind, cell in zip(kinds, cells, strict=True))
    return Flat((-t, -t, width + t, depth + t), areas, tuple(walls), tuple(openings), rooms)


def _corners(window: Window) -> Polygon:
    x0, z0, x1, z1 = window
    return (x0, z0), (x1, z0), (x1, z1), (x0, z1)


def _split(rng: np.random.Generator, whole: Window, count: int) -> tuple[list[Window], list[Wall]]:
    """Cells between wall centres, and the walls: four outside, then one for each split."""
    corners = _corners(whole)
    walls = [Wall(a, b, THICKNESS, HEIGHT) for a, b in zip(corners, corners[1:] + corners[:1], strict=True)]
    cells = [whole]
    while len(cells) < count:
        cells.sort(key=lambda c: (c[2] - c[0]) * (c[3] - c[1]))
        x0, z0, x1, z1 = cell = cells[-1]
        along_x = x1 - x0 >= z1 - z0
        low, high = (x0, x1) if along_x else (z0, z1)
        if high - low < 2 * _MIN_SIDE:
            break
        cells.remove(cell)
        margin = max(_MIN_SIDE, 0.36 * (high - low))
        cut = round(float(rng.uniform(low + margin, high - margin)) if high - low > 2 * margin else (low + high) / 2, 2)
        if along_x:
            cells += [(x0, z0, cut, z1), (cut, z0, x1, z1)]
            walls.append(Wall((cut, z0), (cut, z1), THICKNESS, HEIGHT))
        else:
            cells += [(x0, z0, x1, cut), (x0, cut, x1, z1)]
            walls.append(Wall((x0, cut), (x1, cut), THICKNESS, HEIGHT))
    return cells, walls


def _kinds(rng: np.random.Generator, cells: list[Window]) -> list[str]:
    """What each cell is used as: the largest to live in, the others by turns."""
    if len(cells) == 1:
        return [str(rng.choice(["living", "bedroom", "bedroom", "dining", "kitchen", "study"]))]
    order = sorted(range(len(cells)), key=lambda i: -(cells[i][2] - cells[i][0]) * (cells[i][3] - cells[i][1]))
    rest = ["bedroom", "kitchen", "bedroom", "study", "dining"]
    rng.shuffle(rest)
    if "bedroom" not in rest[: len(cells) - 1]:
        rest[0] = "bedroom"
    kinds = [""] * len(cells)
    for place, index in enumerate(order):
        kinds[index] = "living" if place == 0 else rest[(place - 1) % len(rest)]
    return kinds


def _sides(cell: Window, walls: list[Wall]) -> Iterator[tuple[int, float, float]]:
    """(wall number, from, to) for the stretch of wall along each side of a cell, metres from the wall's start."""
    x0, z0, x1, z1 = cell
    for number, wall in enumerate(walls):
        (ax, az), (bx, bz) = wall.start, wall.end
        along_x = az == bz
        if not (az in (z0, z1) if along_x else ax in (x0, x1)):
            continue
        first, last, low, high = (ax, bx, x0, x1) if along_x else (az, bz, z0, z1)
        start, end = sorted((abs(low - first), abs(high - first)))
        if min(first, last) - 1e-9 <= low and high <= max(first, last) + 1e-9:
            yield number, start, end
        elif max(min(first, last), low) < min(max(first, last), high):  # a longer side than the wall: the wall's part
            low, high = max(min(first, last), low), min(max(first, last), high)
            start, end = sorted((abs(low - first), abs(high - first)))
            yield number, start, end


def _doors(rng: np.random.Generator, cells: list[Window], walls: list[Wall], kinds: list[str]) -> list[Opening]:
    """Doors that make every room reachable (a random spanning tree), and a few more."""
    links = list(_links(cells, walls))
    rng.shuffle(links)
    group = list(range(len(cells)))
    doors = []
    for a, b, wall, (start, end) in links:
        if group[a] == group[b] and rng.random() > 0.12:
            continue
        group = [group[a] if g == group[b] else g for g in group]
        arch = {kinds[a], kinds[b]} in ({"living", "dining"}, {"living", "kitchen"}) and end - start > 2.6
        width = round(float(rng.uniform(1.4, 1.9) if arch else rng.uniform(0.82, 0.95)), 2)
        doors.append(Opening("door", wall, _spot(rng, start, end, width), width, 0.0, _DOOR_TOP))
    return doors


def _links(cells: list[Window], walls: list[Wall]) -> Iterator[tuple[int, int, int, tuple[float, float]]]:
    """Pairs of cells with enough wall between them for a door: cell, cell, wall number, stretch."""
    sides = [list(_sides(cell, walls[4:])) for cell in cells]
    for a in range(len(cells)):
        for b in range(a + 1, len(cells)):
            for wall, start, end in sides[a]:
                for other, begin, stop in sides[b]:
                    low, high = max(start, begin), min(end, stop)
                    if wall == other and high - low >= 1.3 and _opposite(cells[a], cells[b], walls[wall + 4]):
                        yield a, b, wall + 4, (low, high)


def _opposite(a: Window, b: Window, wall: Wall) -> bool:
    """Whether two cells along a wall lie on different sides of it."""
    axis = 1 if wall.start[1] == wall.end[1] else 0
    return (a[axis] < wall.start[axis]) != (b[axis] < wall.start[axis])


def _spot(rng: np.random.Generator, start: float, end: float, width: float) -> float:
    """Where the middle of a door goes: mostly near one end, as furniture wants it."""
    low, high = start + width / 2 + 0.2, end - width / 2 - 0.2
    t = float(rng.beta(0.4, 0.4))
    return round(low + t * (high - low), 2) if high > low else (start + end) / 2


def _entrance(
    rng: np.random.Generator, cells: list[Window], walls: list[Wall], kinds: list[str], taken: list[Opening]
) -> Opening:
    """The way in, through an outer wall of the room one lives in (else of any room), clear of the windows."""
    order = sorted(range(len(cells)), key=lambda i: kinds[i] != "living")
    for index in order:
        stretches = list(_sides(cells[index], walls[:4]))
        rng.shuffle(stretches)
        for wall, start, end in stretches:
            width = 0.95
            blocked = [(o.centre, o.width) for o in taken if o.wall == wall]
            for t in (0.0, 1.0, *rng.random(4)):
                centre = round(start + width / 2 + 0.2 + float(t) * (end - start - width - 0.4), 2)
                if all(abs(centre - c) > (width + w) / 2 + 0.15 for c, w in blocked):
                    return Opening("door", wall, centre, width, 0.0, _DOOR_TOP)
    raise AssertionError("windows leave a corner of each side free")


def _windows(rng: np.random.Generator, cells: list[Window], walls: list[Wall]) -> list[Opening]:
    """Windows in outer walls; they keep 1.3 m of every side free at one end, so that a door still fits."""
    windows = []
    for cell in cells:
        for wall, start, end in _sides(cell, walls[:4]):
            room = end - start - 1.75
            if room < 0.7 or rng.random() > 0.6:
                continue
            width = round(float(rng.uniform(0.7, min(1.9, room))), 2)
            shift = 1.35 if rng.random() < 0.5 else 0.4
            centre = round(start + shift + width / 2 + float(rng.random()) * (room - width), 2)
            bottom, top = round(float(rng.uniform(0.8, 0.95)), 2), round(float(rng.uniform(2.05, 2.25)), 2)
            windows.append(Opening("window", wall, centre, width, bottom, top))
    return windows


def _room(kind: str, cell: Window, walls: list[Wall], openings: list[Opening]) -> Room:
    t = THICKNESS / 2
    x0, z0, x1, z1 = cell
    inner = (x0 + t, z0 + t, x1 - t, z1 - t)
    doors, windows = [], []
    for number, start, end in _sides(cell, walls):
        for opening in openings:
            if opening.wall == number and start - 1e-6 <= opening.centre <= end + 1e-6:
                deep = _ENTRY if opening.name == "door" else 0.3
                ground = _before(walls[number], opening, inner, deep)
                if opening.name == "door":
                    doors.append(ground)
                else:
                    windows.append((ground, opening.bottom))
    return Room(kind, inner, tuple(doors), tuple(windows))


def _before(wall: Wall, opening: Opening, inner: Window, deep: float) -> Polygon:
    """The ground of a room in front of an opening, `deep` metres from the wall's face."""
    x, z = wall.at(opening.centre)
    if wall.start[1] == wall.end[1]:
        toward = 1 if z < inner[1] else -1
        return rectangle((x, z + toward * (THICKNESS + deep) / 2), opening.width, deep, 0.0)
    toward = 1 if x < inner[0] else -1
    return rectangle((x + toward * (THICKNESS + deep) / 2, z), deep, opening.width, 0.0)
