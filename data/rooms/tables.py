"""Dining tables, desks, low tables."""

from __future__ import annotations

import numpy as np

from ..scene import Item, make_item
from ..solids import box, cylinder
from .frames import LAP, Coloured, fronts, legs
from .style import METAL, SCREEN, WHITE, Style, darker

_Size = tuple[float, float, float]


def table(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """A board on four legs with an apron, or (low tables) with a shelf below."""
    w, h, d = size
    board = float(rng.uniform(0.03, 0.05))
    thick = float(rng.uniform(0.05, 0.08)) if h > 0.6 else 0.05
    top = style.wood if rng.random() < 0.8 else WHITE
    parts: list[Coloured] = [
        (box((w, board, d), (0, h - board, 0)), top),
        *legs(w - 0.06, d - 0.06, h - board, thick, darker(style.wood, 0.85), round_=style.legs),
    ]
    if kind == "coffee_table":
        if rng.random() < 0.6:
            parts.append((box((w - 0.08, 0.025, d - 0.08), (0, 0.12, 0)), darker(style.wood, 0.85)))
    else:
        parts.append((box((w - 0.12, 0.09, d - 0.12), (0, h - board - 0.09 + LAP, 0)), darker(style.wood, 0.85)))
    return make_item(kind, "table", parts)


def round_table(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """A disc on one column with a foot."""
    w, h, d = size
    radius = min(w, d) / 2
    rgb = style.wood if rng.random() < 0.7 else WHITE
    return make_item(kind, "table", [
        (cylinder(radius, 0.035, (0, h - 0.035, 0)), rgb),
        (cylinder(0.055, h - 0.04, (0, 0.015, 0)), darker(rgb, 0.8)),
        (cylinder(0.52 * radius, 0.03, (0, 0, 0), 0.36 * radius), darker(rgb, 0.8)),
    ])  # fmt: skip


def desk(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """A writing desk: drawers at one side, a screen at the back; one sits at its +z side."""
    w, h, d = size
    board, chest, side = 0.035, 0.38, 1 if rng.random() < 0.5 else -1
    x = side * (w / 2 - chest / 2 - 0.02)
    body = d - 0.06
    parts: list[Coloured] = [
        (box((w, board, d), (0, h - board, 0)), style.wood),
        (box((chest, h - board + LAP, body), (x, 0, 0)), WHITE if style.legs else style.wood),
        *fronts(1, 3, (x - chest / 2, 0.06, x + chest / 2, h - board), body / 2, darker(style.wood, 1.1)),
        *[(box((0.05, h - board + LAP, 0.05), (-side * (w / 2 - 0.045), 0, z)), darker(style.wood, 0.8))
          for z in (-d / 2 + 0.045, d / 2 - 0.045)],
    ]  # fmt: skip
    if rng.random() < 0.7:
        parts += _screen(h, -d / 2 + 0.16)
    return make_item(kind, "table", parts)


def _screen(table_top: float, z: float) -> list[Coloured]:
    return [
        (box((0.24, 0.015 + LAP, 0.16), (0, table_top - LAP, z)), METAL),
        (box((0.05, 0.18, 0.04), (0, table_top, z - 0.02)), METAL),
        (box((0.56, 0.34, 0.035), (0, table_top + 0.1, z)), SCREEN),
    ]
