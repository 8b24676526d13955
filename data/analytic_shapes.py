"""A still life on a chess board, as exact signed distance functions with painted surfaces.

Distances follow I. Quilez, "Distance functions" (iquilezles.org/articles/distfunctions). Points are
three separate coordinate tensors `(x, y, z)`, each [N]: elementwise work on them stays in cache. z is up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Point = tuple[Tensor, Tensor, Tensor]
Colour = tuple[float, float, float]

FLOOR = -0.50  # height of the board's surface, scene units
_BOARD_HALF, _BOARD_THICK = 0.94, 0.05
_SPHERE, _SPHERE_RADIUS = (0.36, -0.34), 0.34
_BOX, _BOX_HALF, _BOX_ANGLE = (-0.42, -0.44), 0.24, math.radians(24)
_CONE, _CONE_RADIUS, _CONE_HEIGHT = (-0.46, 0.40), 0.30, 0.86
_TORUS, _TORUS_RADII, _TORUS_ANGLE = (0.44, 0.46), (0.26, 0.095), math.radians(-38)
_FRAME, _FRAME_HALF, _FRAME_HEIGHT, _ROD = (0.0, 0.04), 0.20, 0.84, 0.017
_KNOB_RADIUS = 0.065

CREAM, WALNUT, EBONY = (0.93, 0.87, 0.74), (0.30, 0.13, 0.06), (0.10, 0.055, 0.035)
CORAL, MUSTARD, TEAL, NAVY = (0.76, 0.05, 0.04), (0.90, 0.40, 0.02), (0.01, 0.30, 0.32), (0.03, 0.07, 0.30)
GOLD, STEEL = (0.90, 0.50, 0.10), (0.62, 0.66, 0.72)


@dataclass(frozen=True)
class Shape:
    """One solid: its distance function, its linear-light albedo, and how it shines."""

    distance: Callable[[Point], Tensor]  # point -> [N], negative inside
    albedo: Callable[[Point], Tensor]  # point -> [N, 3] in [0, 1], linear light
    shine: float  # weight of the highlight
    sharpness: float  # Blinn-Phong exponent
    mirror: float  # reflectance at normal incidence


def _length(*parts: Tensor) -> Tensor:
    total = parts[0] * parts[0]
    for part in parts[1:]:
        total = torch.addcmul(total, part, part)
    return total.sqrt()


def _rotate(a: Tensor, b: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    cosine, sine = math.cos(angle), math.sin(angle)
    return cosine * a + sine * b, cosine * b - sine * a


def _rounded_box(x: Tensor, y: Tensor, z: Tensor, half: Colour, radius: float) -> Tensor:
    qx, qy, qz = (c.abs() - (h - radius) for c, h in zip((x, y, z), half, strict=True))
    outside = _length(qx.clamp(min=0), qy.clamp(min=0), qz.clamp(min=0))
    return outside + torch.maximum(torch.maximum(qx, qy), qz).clamp(max=0) - radius


def _segment(x: Tensor, y: Tensor, z: Tensor, start: Colour, end: Colour) -> Tensor:
    """Distance to the line segment from `start` to `end`."""
    ax, ay, az = (e - s for s, e in zip(start, end, strict=True))
    x, y, z = x - start[0], y - start[1], z - start[2]
    share = ((x * ax + y * ay + z * az) / (ax * ax + ay * ay + az * az)).clamp(0, 1)
    return _length(x - share * ax, y - share * ay, z - share * az)


def _board(p: Point) -> Tensor:
    half = (_BOARD_HALF, _BOARD_HALF, _BOARD_THICK)
    return _rounded_box(p[0], p[1], p[2] - (FLOOR - _BOARD_THICK), half, 0.02)


def _ball(p: Point) -> Tensor:
    return _length(p[0] - _SPHERE[0], p[1] - _SPHERE[1], p[2] - (FLOOR + _SPHERE_RADIUS)) - _SPHERE_RADIUS


def _in_box(p: Point) -> Point:
    x, y = _rotate(p[0] - _BOX[0], p[1] - _BOX[1], _BOX_ANGLE)
    return x, y, p[2] - (FLOOR + _BOX_HALF)


def _box(p: Point) -> Tensor:
    return _rounded_box(*_in_box(p), (_BOX_HALF, _BOX_HALF, _BOX_HALF), 0.045)


def _cone(p: Point) -> Tensor:
    """A cone with a softly rounded rim and tip: distance in the half-plane (radius, height)."""
    soft = 0.02
    base, height = _CONE_RADIUS - soft, _CONE_HEIGHT - 2 * soft
    r, h = _length(p[0] - _CONE[0], p[1] - _CONE[1]), p[2] - (FLOOR + soft)
    to_base = _length((r - base).clamp(min=0), h)
    slant = math.hypot(base, height)
    share = (((base - r) * base + h * height) / slant**2).clamp(0, 1)
    to_side = _length(r - base * (1 - share), h - height * share)
    inside = (h > 0) & ((r * height + (h - height) * base) < 0)
    outline = torch.minimum(to_base, to_side)
    return torch.where(inside, -outline, outline) - soft


def _in_torus(p: Point) -> Point:
    x, y = _rotate(p[0] - _TORUS[0], p[1] - _TORUS[1], _TORUS_ANGLE)
    return x, y, p[2] - (FLOOR + sum(_TORUS_RADII))


def _torus(p: Point) -> Tensor:
    x, y, z = _in_torus(p)
    return _length(_length(x, z) - _TORUS_RADII[0], y) - _TORUS_RADII[1]


def _frame(p: Point) -> Tensor:
    """A wire pyramid; one eighth of it stands for all by symmetry."""
    x, y, z = (p[0] - _FRAME[0]).abs(), (p[1] - _FRAME[1]).abs(), p[2] - FLOOR
    x, y = torch.maximum(x, y), torch.minimum(x, y)
    foot = (_FRAME_HALF, _FRAME_HALF, _ROD)
    leg = _segment(x, y, z, foot, (0.0, 0.0, _FRAME_HEIGHT))
    half, height = _FRAME_HALF * 0.62, _FRAME_HEIGHT * 0.38 + _ROD
    ring = _segment(x, y, z, (half, 0.0, height), (half, half, height))
    return torch.minimum(leg, ring) - _ROD


def _knob(p: Point) -> Tensor:
    return _length(p[0] - _FRAME[0], p[1] - _FRAME[1], p[2] - (FLOOR + _FRAME_HEIGHT + 0.03)) - _KNOB_RADIUS


def _mix(share: Tensor, low: Colour, high: Colour) -> Tensor:
    """Colours [N, 3] between `low` (share 0) and `high` (share 1)."""
    return torch.lerp(torch.tensor(low), torch.tensor(high), share.unsqueeze(-1))


def _plain(colour: Colour) -> Callable[[Point], Tensor]:
    return lambda p: torch.tensor(colour).expand(p[0].shape[0], 3)


def _bands(phase: Tensor, softness: float = 0.08) -> Tensor:
    """Smooth stripes of period 1: 0 in one half, 1 in the other."""
    return torch.sigmoid(torch.sin(phase * (2 * math.pi)) / softness)


def _board_albedo(p: Point) -> Tensor:
    field = _BOARD_HALF - 0.09
    cells = (torch.stack(p[:2], -1) / field * 4).floor().sum(-1).remainder(2)
    grain = 0.5 + 0.5 * torch.sin(34 * p[0] + 5 * torch.sin(4.5 * p[1]) + 3 * torch.sin(9 * p[1] + 2 * p[0]))
    squares = _mix(cells, WALNUT, CREAM) * (1 - 0.16 * grain.unsqueeze(-1))
    edge = torch.maximum(p[0].abs(), p[1].abs())
    inlay = ((edge > field + 0.012) & (edge < field + 0.026)).float()
    rim = _mix(inlay, EBONY, GOLD) * (1 - 0.3 * grain * (1 - inlay)).unsqueeze(-1)
    return torch.where((edge > field).unsqueeze(-1), rim, squares)


def _ball_albedo(p: Point) -> Tensor:
    height = (p[2] - FLOOR) / _SPHERE_RADIUS - 1 + 0.45 * (p[0] - _SPHERE[0]) / _SPHERE_RADIUS
    band = torch.sigmoid((0.16 - (height - 0.12).abs()) / 0.012)
    return _mix(band, CORAL, CREAM)


def _box_albedo(p: Point) -> Tensor:
    x, y, z = _in_box(p)
    return _mix(_bands((x + y + z) / 0.19), MUSTARD, CREAM)


def _cone_albedo(p: Point) -> Tensor:
    return _mix(_bands((p[2] - FLOOR) / 0.215 + 0.15), TEAL, CREAM)


def _torus_albedo(p: Point) -> Tensor:
    x, _, z = _in_torus(p)
    angle = torch.atan2(z, x) / (2 * math.pi)
    return _mix(_bands(angle * 8, 0.05), NAVY, (0.55, 0.74, 0.93))


SHAPES = (
    Shape(_board, _board_albedo, 0.25, 60.0, 0.03),
    Shape(_ball, _ball_albedo, 1.0, 220.0, 0.05),
    Shape(_box, _box_albedo, 0.30, 40.0, 0.03),
    Shape(_cone, _cone_albedo, 0.45, 70.0, 0.04),
    Shape(_torus, _torus_albedo, 0.80, 140.0, 0.05),
    Shape(_frame, _plain(STEEL), 0.80, 60.0, 0.45),
    Shape(_knob, _plain(GOLD), 1.2, 120.0, 0.60),
)

BOUNDS = ((-_BOARD_HALF, -_BOARD_HALF, FLOOR - 2 * _BOARD_THICK), (_BOARD_HALF, _BOARD_HALF, 0.44))
