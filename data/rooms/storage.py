"""Cabinets: wardrobes, dressers, shelves, kitchen counters; fronts face +z."""

from __future__ import annotations

import numpy as np

from ..scene import Item, Rgb, make_item
from ..solids import box
from .frames import LAP, Coloured, carcass, fronts
from .style import METAL, SCREEN, WHITE, Style, darker

_Size = tuple[float, float, float]
_FRONT = 0.0475  # metres that fronts and handles stand out of the body
_BOOKS: tuple[Rgb, ...] = ((0.55, 0.22, 0.2), (0.2, 0.32, 0.5), (0.75, 0.68, 0.5), (0.25, 0.42, 0.3), (0.3, 0.3, 0.34))


def chest(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """Doors or drawers: nightstand, dresser, sideboard, wardrobe."""
    w, h, d = size
    depth, foot = d - _FRONT, 0.14 if style.legs and h < 1.2 else 0.06
    rgb = style.wood if rng.random() < 0.7 else WHITE
    if kind == "wardrobe":
        columns, rows = max(2, round(w / 0.5)), 1
    elif kind == "sideboard":
        columns, rows = max(2, round(w / 0.45)), 1
    else:
        columns, rows = (1 if w < 0.9 else 2), (2 if h < 0.7 else 3 + int(rng.integers(2)))
    parts = carcass((w, h, depth), foot, rgb, style.legs and h < 1.2)
    parts += fronts(columns, rows, (-w / 2 + 0.01, foot + 0.01, w / 2 - 0.01, h - 0.02), depth / 2, darker(rgb, 1.06))
    return make_item(kind, "cabinet", parts)


def bookshelf(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """Sides, a back and shelves, partly filled with books."""
    w, h, d = size
    board, rows = 0.03, max(3, round(h / 0.38))
    rgb = style.wood
    inner = w - 2 * board
    parts: list[Coloured] = [(box((board, h, d), (s * (w - board) / 2, 0, 0)), rgb) for s in (-1, 1)]
    parts.append((box((inner + LAP, h, 0.02), (0, 0, -d / 2 + 0.01)), darker(rgb, 0.85)))
    step = (h - board) / rows
    for row in range(rows + 1):
        parts.append((box((inner + LAP, board, d - LAP), (0, row * step, LAP / 2)), rgb))
        if row < rows and rng.random() < 0.8:
            parts += _books(inner, row * step + board, step - board, (d, rng))
    return make_item(kind, "cabinet", parts)


def _books(inner: float, y: float, room: float, rest: tuple[float, np.random.Generator]) -> list[Coloured]:
    """A few blocks of books from the left, `room` metres of height for them."""
    d, rng = rest
    x, pieces = -inner / 2 + 0.01, []
    for _ in range(int(rng.integers(2, 5))):
        wide, high = float(rng.uniform(0.08, 0.2)), float(rng.uniform(0.6, 0.88)) * room
        if x + wide > inner / 2 - 0.01:
            break
        rgb = _BOOKS[int(rng.integers(len(_BOOKS)))]
        pieces.append((box((wide, high, 0.72 * d), (x + wide / 2, y - LAP, -0.1 * d)), rgb))
        x += wide + (0.02 if rng.random() < 0.6 else 0.12)
    return pieces


def tv_cabinet(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """A low cabinet with a television on it; `size` includes the screen."""
    w, h, d = size
    low, depth, foot = float(rng.uniform(0.4, 0.52)), d - _FRONT, 0.1
    parts = carcass((w, low, depth), foot, style.wood, style.legs)
    parts += fronts(3, 1, (-w / 2 + 0.01, foot + 0.01, w / 2 - 0.01, low - 0.02), depth / 2, darker(style.wood, 1.06))
    wide = min(0.85 * w, (h - low - 0.06) * 16 / 9)
    tall = wide * 9 / 16
    parts += [
        (box((0.4 * wide, 0.02 + LAP, 0.2), (0, low - LAP, -0.03)), METAL),
        (box((0.1, 0.1, 0.04), (0, low, -0.04)), METAL),
        (box((wide, tall, 0.05), (0, low + 0.06, -0.03)), SCREEN),
    ]
    return make_item(kind, "cabinet", parts)


def counter(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """Kitchen units under a worktop, with an oven, a hob and a tap."""
    w, h, d = size
    depth, foot, top = d - _FRONT, 0.1, 0.04
    rgb = WHITE if rng.random() < 0.5 else style.wood
    columns = max(2, round(w / 0.6))
    parts: list[Coloured] = [
        (box((w, h - foot - top + LAP, depth), (0, foot, 0)), rgb),
        (box((w - 0.02, foot + LAP, depth - 0.06), (0, 0, -0.03)), METAL),
        (box((w, top, d), (0, h - top, _FRONT / 2)), darker(style.wood, 0.8) if rgb is WHITE else METAL),
        *fronts(columns, 1, (-w / 2, foot + 0.01, w / 2, h - top), depth / 2, darker(rgb, 1.05)),
    ]
    unit = w / columns
    oven = -w / 2 + unit * (int(rng.integers(columns)) + 0.5)
    hob = box((0.9 * min(unit, 0.62), 0.012 + LAP, 0.46), (oven, h - LAP, 0.02))
    parts += [(hob, SCREEN), (box((0.9 * unit, 0.46, 0.05), (oven, 0.24, depth / 2 - 0.01)), SCREEN)]
    sink = oven + unit if oven + unit < w / 2 else oven - unit
    parts += [(box((0.03, 0.26, 0.03), (sink, h - LAP, -d / 2 + 0.12)), METAL),
              (box((0.03, 0.03, 0.18), (sink, h + 0.21, -d / 2 + 0.19)), METAL)]  # fmt: skip
    return make_item(kind, "cabinet", parts)


def fridge(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """A tall fridge with two doors one above the other."""
    w, h, d = size
    depth = d - _FRONT
    rgb = WHITE if rng.random() < 0.6 else (0.62, 0.64, 0.66)
    share = float(rng.uniform(0.3, 0.4)) * h
    parts: list[Coloured] = [(box((w, h, depth)), darker(rgb, 0.95))]
    for low, high in ((0.03, share), (share, h)):
        parts += fronts(1, 1, (-w / 2, low, w / 2, high), depth / 2, rgb)
    return make_item(kind, "cabinet", parts)
