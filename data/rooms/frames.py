"""Pieces that many kinds of furniture share: legs, cushions, fronts with handles."""

from __future__ import annotations

from fields.mesh_types import Mesh

from ..scene import Rgb
from ..solids import box, cylinder
from .style import METAL, darker

Coloured = tuple[Mesh, Rgb]
LAP = 0.01  # metres that one piece reaches into the next


def legs(width: float, depth: float, height: float, thick: float, rgb: Rgb, round_: bool = False) -> list[Coloured]:
    """Four legs at the corners, up to `height` and a little into what they carry."""
    x, z = (width - thick) / 2, (depth - thick) / 2
    places = [(sx * x, 0.0, sz * z) for sx in (-1, 1) for sz in (-1, 1)]
    if round_:
        return [(cylinder(0.35 * thick, height + LAP, place, 0.5 * thick), rgb) for place in places]
    return [(box((thick, height + LAP, thick), place), rgb) for place in places]


def fronts(columns: int, rows: int, area: tuple[float, float, float, float], z: float, rgb: Rgb) -> list[Coloured]:
    """Doors or drawers on a face at depth `z`: `area` is x0, y0, x1, y1; each has a gap round it and a handle."""
    x0, y0, x1, y1 = area
    w, h = (x1 - x0) / columns, (y1 - y0) / rows
    pieces: list[Coloured] = []
    for i in range(columns):
        for j in range(rows):
            x, y = x0 + (i + 0.5) * w, y0 + j * h
            pieces.append((box((w - 0.02, h - 0.02, 0.02 + LAP), (x, y + 0.01, z + 0.01 - LAP / 2)), rgb))
            pieces.append((_handle(x, y, w, h, i, z), METAL))
    return pieces


def _handle(x: float, y: float, w: float, h: float, column: int, z: float) -> Mesh:
    """A bar: upright at the edge of tall fronts, level in the middle of wide ones."""
    if h > w:
        side = 1 if column % 2 == 0 else -1
        return box((0.02, 0.16, 0.035), (x + side * (w / 2 - 0.06), y + h / 2 - 0.08, z + 0.03))
    return box((min(0.16, 0.5 * w), 0.02, 0.035), (x, y + 0.72 * h, z + 0.03))


def carcass(size: tuple[float, float, float], foot: float, rgb: Rgb, on_legs: bool) -> list[Coloured]:
    """A closed body on a plinth or on legs, `foot` metres above the ground."""
    w, h, d = size
    body: Coloured = (box((w, h - foot, d), (0, foot, 0)), rgb)
    if on_legs:
        return [body, *legs(w - 0.04, d - 0.04, foot, 0.05, darker(rgb, 0.7))]
    return [body, (box((w - 0.04, foot + LAP, d - 0.06), (0, 0, 0)), darker(rgb, 0.6))]
