"""The geometry of a flat without furniture: one closed body of walls, floors, window frames."""

from __future__ import annotations

import numpy as np

from ..layout import Opening, Wall
from ..plane_geometry import bounds_of
from ..scene import Part, Rgb
from ..solids import Vector, box_union
from .plan import THICKNESS, Flat
from .style import WHITE, Style, darker

_SLAB = 0.12
_FOOT = -0.06  # walls stand in the slab
_BAR = 0.06  # thickness of window frames
_TILES: tuple[Rgb, ...] = ((0.80, 0.80, 0.78), (0.70, 0.73, 0.74))
_CARPETS: tuple[Rgb, ...] = ((0.70, 0.66, 0.60), (0.60, 0.63, 0.66))


def shell_parts(flat: Flat, style: Style, rng: np.random.Generator) -> list[Part]:
    """Slab, floor of each room, walls with doors and windows cut out, frames in the windows."""
    x0, z0, x1, z1 = flat.bounds
    slab = box_union([((x0, -_SLAB, z0), (x1, -0.004, z1))], [])
    parts = [Part(slab, "floor", darker(style.wood, 0.75))]
    parts += [_floor(room.kind, room.inner, style, rng) for room in flat.rooms]
    parts.append(_walls(flat, style))
    parts += [_frame(flat.walls[o.wall], o) for o in flat.openings if o.name == "window"]
    return parts


def _floor(kind: str, inner: tuple[float, float, float, float], style: Style, rng: np.random.Generator) -> Part:
    x0, z0, x1, z1 = inner
    lap = THICKNESS / 4  # under the walls, so that no slit is left
    mesh = box_union([((x0 - lap, -0.05, z0 - lap), (x1 + lap, 0.0, z1 + lap))], [])
    colours = _TILES if kind == "kitchen" else _CARPETS if kind == "bedroom" and rng.random() < 0.5 else ()
    rgb = colours[int(rng.integers(len(colours)))] if colours else darker(style.wood, 1.15)
    return Part(mesh, "floor", rgb)


def _walls(flat: Flat, style: Style) -> Part:
    """All walls as one body without inner faces."""
    solid: list[tuple[Vector, Vector]] = []
    for wall in flat.walls:
        x0, z0, x1, z1 = bounds_of(wall.footprint)
        solid.append(((x0, _FOOT, z0), (x1, wall.height, z1)))
    empty = [_hole(flat.walls[o.wall], o, THICKNESS, 0.0) for o in flat.openings]
    return Part(box_union(solid, empty), "wall", style.wall)


def _hole(wall: Wall, opening: Opening, thick: float, grow: float) -> tuple[Vector, Vector]:
    """The box of an opening, `thick` through the wall, enlarged by `grow` to its sides."""
    half = opening.width / 2 + grow
    (ax, az), (bx, bz) = wall.at(opening.centre - half), wall.at(opening.centre + half)
    across_x, across_z = (thick / 2, 0.0) if ax == bx else (0.0, thick / 2)
    bottom = opening.bottom - grow if opening.bottom > 0 else _FOOT
    low = (min(ax, bx) - across_x, bottom, min(az, bz) - across_z)
    return low, (max(ax, bx) + across_x, opening.top + grow, max(az, bz) + across_z)


def _frame(wall: Wall, opening: Opening) -> Part:
    """A frame with one bar upright in the middle; it reaches a little into the wall."""
    solid = _hole(wall, opening, _BAR, 0.01)
    side, middle = opening.width / 2 - _BAR, _BAR / 2
    panes = []
    for sign in (-1, 1):
        pane = Opening("window", opening.wall, opening.centre + sign * (side + middle) / 2, side - middle,
                       opening.bottom + _BAR, opening.top - _BAR)  # fmt: skip
        panes.append(_hole(wall, pane, _BAR, 0.0))
    return Part(box_union([solid], panes), "window", WHITE)
