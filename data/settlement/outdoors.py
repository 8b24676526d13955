"""Trees, fences, cars and street lamps."""

from __future__ import annotations

import math

import numpy as np

from fields.mesh_types import Mesh

from ..scene import Item, Rgb, make_item
from ..solids import box, cushion, cylinder, ellipsoid, frustum, lying, moved

_Size = tuple[float, float, float]
_Coloured = tuple[Mesh, Rgb]
_BARK: Rgb = (0.40, 0.29, 0.20)
_WOOD: Rgb = (0.62, 0.47, 0.32)
_STEEL: Rgb = (0.36, 0.38, 0.40)
_TYRE: Rgb = (0.10, 0.10, 0.11)
_GLASS: Rgb = (0.20, 0.25, 0.30)
_PAINTS: tuple[Rgb, ...] = (
    (0.72, 0.16, 0.14),
    (0.16, 0.30, 0.55),
    (0.88, 0.88, 0.87),
    (0.30, 0.31, 0.33),
    (0.85, 0.65, 0.15),
)


def _green(rng: np.random.Generator) -> Rgb:
    shade = float(rng.uniform(0.8, 1.15))
    return 0.27 * shade, 0.46 * shade, 0.20 * shade


def tree(kind: str, size: _Size, rng: np.random.Generator) -> Item:
    """A trunk under a crown of round bunches."""
    w, h, _ = size
    trunk, rgb = 0.34 * h, _green(rng)
    parts: list[_Coloured] = [(cylinder(0.16, 0.6 * h, top=0.08), _BARK)]
    parts.append((ellipsoid((0.8 * w, h - trunk, 0.8 * w), (0, trunk, 0), 7), rgb))
    for i in range(3):
        angle = 2 * math.pi * (i / 3 + float(rng.uniform(-0.1, 0.1)))
        span = float(rng.uniform(0.5, 0.6)) * w
        at = (0.22 * w * math.cos(angle), trunk + float(rng.uniform(0.02, 0.2)) * h, 0.22 * w * math.sin(angle))
        parts.append((ellipsoid((span, 0.36 * h, span), at, 6), rgb))
    return make_item(kind, "tree", parts)


def conifer(kind: str, size: _Size, rng: np.random.Generator) -> Item:
    """A trunk under three cones."""
    w, h, _ = size
    rgb = (0.15, float(rng.uniform(0.3, 0.38)), 0.22)
    parts: list[_Coloured] = [(cylinder(0.15, 0.4 * h), _BARK)]
    for i, (low, span) in enumerate(((0.16, 1.0), (0.4, 0.76), (0.64, 0.5))):
        parts.append((cylinder(span * w / 2, (0.4 if i < 2 else 0.36) * h, (0, low * h, 0), 0.02), rgb))
    return make_item(kind, "tree", parts)


def fence(kind: str, size: _Size, rng: np.random.Generator) -> Item:
    """Two rails along x between posts."""
    w, h, d = size
    posts = np.linspace(-w / 2 + 0.05, w / 2 - 0.05, max(2, round(w / 1.3) + 1))
    parts: list[_Coloured] = [(box((0.1, h, d), (float(x), 0, 0)), _WOOD) for x in posts]
    parts += [(box((w, 0.12, 0.04), (0, y * h, 0)), _WOOD) for y in (0.35, 0.75)]
    return make_item(kind, "fence", parts)


def car(kind: str, size: _Size, rng: np.random.Generator) -> Item:
    """A car that faces +z: body, cabin, four wheels."""
    w, h, d = size
    paint, low = _PAINTS[int(rng.integers(len(_PAINTS)))], 0.28
    cabin = 0.42 * h
    parts: list[_Coloured] = [
        (cushion((w, h - cabin - low, d), 0.12, (0, low, 0)), paint),
        (frustum((0.92 * w, cabin - 0.03, 0.6 * d), (0.74 * w, 0.4 * d), (0, h - cabin - 0.05, -0.06 * d)), _GLASS),
        (box((0.74 * w, 0.08, 0.4 * d), (0, h - 0.08, -0.06 * d)), paint),
    ]
    wheel = lying(cylinder(0.32, 0.22))
    for x in (-w / 2 + 0.01, w / 2 - 0.23):
        parts += [(moved(wheel, (x, 0.32, z * d)), _TYRE) for z in (-0.31, 0.31)]
    return make_item(kind, "car", parts)


def street_lamp(kind: str, size: _Size, rng: np.random.Generator) -> Item:
    """A pole with an arm towards +z and a lamp at its end."""
    w, h, d = size
    return make_item(kind, "lamp", [
        (cylinder(w / 2, 0.3, top=0.6 * w / 2), _STEEL),
        (cylinder(0.07, h - 0.05, (0, 0.0, 0), 0.05), _STEEL),
        (box((0.08, 0.08, d - w / 2), (0, h - 0.13, (d - w / 2) / 2)), _STEEL),
        (box((0.24, 0.1, 0.5), (0, h - 0.1, d - w / 2 - 0.25)), (0.95, 0.92, 0.8)),
    ])  # fmt: skip
