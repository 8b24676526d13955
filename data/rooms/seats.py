"""Chairs, armchairs, stools and sofas; they face +z."""

from __future__ import annotations

import numpy as np

from fields.mesh_types import Mesh

from ..scene import Item, make_item
from ..solids import box, cushion, cylinder
from .frames import LAP, Coloured, legs
from .style import METAL, Style, darker

_Size = tuple[float, float, float]


def chair(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """A seat on four legs with a back of slats or one panel."""
    w, h, d = size
    seat, thick, board = 0.45, 0.045, 0.04
    rgb = style.wood if rng.random() < 0.7 else darker(style.wood, 0.6)
    parts: list[Coloured] = [
        (box((w, board, d), (0, seat - board, 0)), rgb),
        *legs(w, d, seat - board, thick, rgb, round_=style.legs),
    ]
    x, z = w / 2 - thick / 2, -d / 2 + thick / 2
    parts += [(box((thick, h - seat + LAP, thick), (s * x, seat - LAP, z)), rgb) for s in (-1, 1)]
    if rng.random() < 0.5:
        parts.append((box((w - thick, 0.24, 0.03), (0, h - 0.25, z)), rgb))
    else:
        heights = np.linspace(seat + 0.14, h - 0.09, 3)
        parts += [(box((w - thick, 0.07, 0.025), (0, float(y), z)), rgb) for y in heights]
    if rng.random() < 0.5:
        parts.append((cushion((w - 0.06, 0.05, d - 0.08), 0.015, (0, seat - LAP, 0.02)), style.fabric))
    return make_item(kind, "chair", parts)


def stool(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """A small seat without a back, round on legs or a padded cube."""
    w, h, d = size
    if rng.random() < 0.4:
        return make_item(kind, "stool", [(cushion((w, h, d), 0.04), style.accent)])
    width = min(w, d)
    parts = [(cylinder(width / 2, 0.05, (0, h - 0.05, 0)), style.wood)]
    inner = 0.78 * width
    return make_item(kind, "stool", parts + legs(inner, inner, h - 0.05, 0.045, style.wood, round_=True))


def sofa(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """Two or three seat cushions between arms, with back cushions; an armchair is a sofa for one."""
    name = "chair" if kind == "armchair" else "sofa"
    w, h, d = size
    arm = 0.14 if name == "chair" else float(rng.uniform(0.14, 0.22))
    back, foot, seat = 0.2, 0.1, 0.42
    count = 1 if name == "chair" else (2 if w < 1.85 else 3)
    fabric = style.fabric if name == "sofa" or rng.random() < 0.5 else style.accent
    arm_top = float(rng.uniform(0.56, 0.64))
    parts: list[Coloured] = [
        *legs(w - 0.1, d - 0.1, foot, 0.06, METAL if rng.random() < 0.5 else style.wood),
        (box((w - 2 * arm + 2 * LAP, 0.2, d - back + LAP), (0, foot, back / 2 - LAP / 2)), darker(fabric, 0.9)),
        (cushion((w, h - foot, back), 0.05, (0, foot, -d / 2 + back / 2)), fabric),
    ]
    parts += [
        (cushion((arm, arm_top - foot, d - 0.02), 0.04, (s * (w - arm) / 2, foot, 0.01)), fabric) for s in (-1, 1)
    ]
    span = (w - 2 * arm) / count
    for i in range(count):
        x = (i - (count - 1) / 2) * span
        parts += _cushions(x, span, (d, h, back, seat), foot, fabric)
    if name == "sofa":
        parts += _pillows(w / 2 - arm, (-d / 2 + back, seat), style, rng)
    return make_item(kind, name, parts)


def _cushions(x: float, span: float, body: tuple[float, ...], foot: float, rgb: tuple) -> list[Coloured]:
    """One place to sit: a seat cushion, and a back cushion that leans on the back."""
    d, h, back, seat = body
    deep = d - back - 0.02
    bottom = foot + 0.19
    return [
        (cushion((span - 0.01, seat - bottom, deep), 0.035, (x, bottom, back / 2)), darker(rgb, 1.1)),
        (
            cushion((span - 0.02, h - seat + 0.02, 0.17), 0.05, (x, seat - 0.03, -d / 2 + back + 0.06)),
            darker(rgb, 1.05),
        ),
    ]


def _pillows(reach: float, place: tuple[float, float], style: Style, rng: np.random.Generator) -> list[Coloured]:
    z, seat = place
    sides = [s for s in (-1, 1) if rng.random() < 0.6]
    return [(_pillow(s * (reach - 0.22), seat, z + 0.22), style.accent) for s in sides]


def _pillow(x: float, y: float, z: float) -> Mesh:
    return cushion((0.38, 0.34, 0.13), 0.05, (x, y - 0.02, z))
