"""Lamps, plants and rugs."""

from __future__ import annotations

import math

import numpy as np

from ..scene import Item, make_item
from ..solids import box, cylinder, ellipsoid
from .frames import LAP, Coloured
from .style import CLAY, GLOW, LEAF, METAL, WHITE, Style, darker

_Size = tuple[float, float, float]


def lamp(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """A shade on a pole with a round foot; lamps for tables have a stout foot."""
    w, h, d = size
    radius = min(w, d) / 2
    shade = 0.45 * h if kind == "table_lamp" else 0.3
    bottom = h - shade
    parts: list[Coloured] = [(cylinder(radius, shade, (0, bottom, 0), 0.65 * radius), GLOW)]
    if kind == "table_lamp":
        parts += [(ellipsoid((0.13, bottom - 0.02, 0.13), (0, 0.01, 0)), style.accent),
                  (cylinder(0.06, 0.02), METAL), (cylinder(0.012, 0.08, (0, bottom - 0.05, 0)), METAL)]  # fmt: skip
    else:
        rgb = METAL if rng.random() < 0.6 else style.wood
        parts += [(cylinder(0.14, 0.03), rgb), (cylinder(0.022, bottom, (0, LAP, 0)), rgb)]
    return make_item(kind, "lamp", parts)


def plant(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """A pot with a stem and round bunches of leaves."""
    w, h, d = size
    radius, pot = min(w, d) / 2, min(0.32, 0.3 * h)
    parts: list[Coloured] = [
        (cylinder(0.1, pot, top=0.15), CLAY if rng.random() < 0.5 else WHITE),
        (cylinder(0.02, 0.62 * h - pot + 2 * LAP, (0, pot - LAP, 0)), darker(style.wood, 0.7)),
    ]
    crown = h - pot
    for i in range(5):
        angle, out = 2 * math.pi * (i / 4 + float(rng.uniform(-0.1, 0.1))), 0.45 * radius if i < 4 else 0.0
        span = 1.1 * radius if i < 4 else 1.25 * radius
        low = pot + (float(rng.uniform(0.12, 0.3)) if i < 4 else 0.42) * crown
        leaf = ellipsoid((span, h - low if i == 4 else 0.5 * crown, span),
                         (out * math.cos(angle), low, out * math.sin(angle)), rings=6)  # fmt: skip
        parts.append((leaf, darker(LEAF, float(rng.uniform(0.8, 1.25)))))
    return make_item(kind, "plant", parts)


def rug(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """A flat rug with a border in another colour."""
    w, h, d = size
    inner = darker(style.accent, float(rng.uniform(0.9, 1.2)))
    return make_item(kind, "rug", [
        (box((w, 0.7 * h, d)), darker(inner, 0.7)),
        (box((w - 0.2, h, d - 0.2)), inner),
    ])  # fmt: skip
