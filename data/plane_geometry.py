"""Rectangles and polygons in the ground plane xz.

A yaw turns the object's front, +z at 0, towards (sin yaw, cos yaw) in (x, z).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Point = tuple[float, float]
Polygon = tuple[Point, ...]
Window = tuple[float, float, float, float]  # x0, z0, x1, z1


def turned(x: float, z: float, yaw: float) -> Point:
    """The point (x, z) turned about y by `yaw` radians."""
    s, c = math.sin(yaw), math.cos(yaw)
    return x * c + z * s, z * c - x * s


def rectangle(centre: Point, width: float, depth: float, yaw: float) -> Polygon:
    """Corners of a rectangle, `width` along its x and `depth` along its z, turned by `yaw`."""
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    offsets = [turned(sx * width / 2, sz * depth / 2, yaw) for sx, sz in corners]
    return tuple((centre[0] + x, centre[1] + z) for x, z in offsets)


def band(start: Point, end: Point, width: float, cap: float = 0.0) -> Polygon:
    """The rectangle around a segment, lengthened by `cap` at both ends."""
    dx, dz = end[0] - start[0], end[1] - start[1]
    centre = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    return rectangle(centre, math.hypot(dx, dz) + 2 * cap, width, math.atan2(-dz, dx))


def disc(centre: Point, radius: float, corners: int = 24) -> Polygon:
    """A regular polygon whose corners lie on a circle."""
    angles = [2 * math.pi * i / corners for i in range(corners)]
    return tuple((centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles)


def bounds_of(polygon: Polygon) -> Window:
    """The smallest window around `polygon`."""
    x, z = zip(*polygon, strict=True)
    return min(x), min(z), max(x), max(z)


def separated(a: Polygon, b: Polygon, gap: float = 0.0) -> bool:
    """Whether two convex polygons have an edge direction between them wider than `gap` (separating axes)."""
    for polygon in (a, b):
        for (x0, z0), (x1, z1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            nx, nz = z1 - z0, x0 - x1
            length = math.hypot(nx, nz)
            first = [x * nx + z * nz for x, z in a]
            second = [x * nx + z * nz for x, z in b]
            if max(min(second) - max(first), min(first) - max(second)) >= gap * length - 1e-9:
                return True
    return False


def inside(polygon: Polygon, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Which nodes of the lattice `x` [W] by `z` [H] lie inside `polygon` (even-odd rule), bool [H, W]."""
    parity = np.zeros((len(z), len(x)), bool)
    for (x0, z0), (x1, z1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if z0 != z1:
            rows = (z0 <= z) != (z1 <= z)
            crossing = x0 + (z[rows] - z0) * ((x1 - x0) / (z1 - z0))
            parity[rows] ^= x[None, :] < crossing[:, None]
    return parity


def holds(window: Window, polygon: Sequence[Point], slack: float = 1e-6) -> bool:
    """Whether every corner lies in the window."""
    x0, z0, x1, z1 = window
    return all(x0 - slack <= x <= x1 + slack and z0 - slack <= z <= z1 + slack for x, z in polygon)


def clipped(polygon: Polygon, window: Window) -> Polygon:
    """The part of a convex polygon inside the window (Sutherland and Hodgman 1974); empty when there is none."""
    x0, z0, x1, z1 = window
    for axis, limit, sign in ((0, x0, 1), (0, x1, -1), (1, z0, 1), (1, z1, -1)):
        kept: list[Point] = []
        for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            from_a, from_b = sign * (a[axis] - limit), sign * (b[axis] - limit)
            if from_a >= 0:
                kept.append(a)
            if from_a * from_b < 0:
                t = from_a / (from_a - from_b)
                kept.append((a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])))
        polygon = tuple(kept)
    return polygon if len(polygon) > 2 else ()
