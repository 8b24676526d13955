"""Closed triangle meshes from a few parameters: everything that procedural scenes are made of.

All faces look outward and all meshes are watertight. Lengths in metres, y up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fields.mesh_types import Mesh

from .plane_geometry import Polygon

Vector = tuple[float, float, float]


def loft(rings: np.ndarray) -> Mesh:
    """The skin over rings [R, n, 3] of equally many corners, closed by flat fans (so end rings are convex).

    All rings have one winding; whichever it is, the faces end up looking outward.
    """
    count, n = rings.shape[:2]
    first = (np.arange(count - 1)[:, None] * n + np.arange(n)).ravel()
    following = (np.arange(count - 1)[:, None] * n + (np.arange(n) + 1) % n).ravel()
    sides = np.stack([first, first + n, following, following, first + n, following + n], 1).reshape(-1, 3)
    fan = np.stack([np.zeros(n - 2, int), np.arange(1, n - 1), np.arange(2, n)], 1)
    top = fan + (count - 1) * n
    faces = np.concatenate([fan, top[:, ::-1], sides])
    mesh = Mesh(rings.reshape(-1, 3).astype(np.float32), faces.astype(np.int64))
    return mesh if mesh.volume() > 0 else Mesh(mesh.vertices, mesh.faces[:, ::-1].copy())


def box(size: Vector, base: Vector = (0.0, 0.0, 0.0)) -> Mesh:
    """A box of width, height, depth whose bottom face is centred at `base`."""
    return frustum(size, (size[0], size[2]), base)


def frustum(size: Vector, top: tuple[float, float], base: Vector = (0.0, 0.0, 0.0)) -> Mesh:
    """A box whose top face has another width and depth."""
    return _stacked([(0.0, size[0], size[2]), (size[1], *top)], _SQUARE, base)


def cushion(size: Vector, edge: float, base: Vector = (0.0, 0.0, 0.0)) -> Mesh:
    """A box with bevelled edges, `edge` metres wide."""
    w, h, d = size
    edge = min(edge, 0.45 * h, 0.45 * w, 0.45 * d)
    ring = np.array([(sx * (w / 2 - ex), sz * (d / 2 - ez)) for sx, sz, ex, ez in _bevels(edge)])
    shrink = np.array([(w - 2 * edge) / w, (d - 2 * edge) / d])
    rings = [(0.0, shrink), (edge, np.ones(2)), (h - edge, np.ones(2)), (h, shrink)]
    return loft(np.stack([_lifted(ring * scale, y) for y, scale in rings]) + np.array(base))


def _bevels(edge: float) -> list[tuple[int, int, float, float]]:
    """Signs and insets of the eight corners of a square with cut corners, in order."""
    corners = ((1, 1), (1, -1), (-1, -1), (-1, 1))
    steps = [((0.0, edge), (edge, 0.0)), ((edge, 0.0), (0.0, edge))]
    return [(sx, sz, *inset) for sx, sz in corners for inset in steps[0 if sx * sz < 0 else 1]]


def cylinder(radius: float, height: float, base: Vector = (0.0, 0.0, 0.0), top: float | None = None) -> Mesh:
    """An upright cylinder, or a cone cut off where its radius is `top`."""
    top = radius if top is None else top
    return _stacked([(0.0, 2 * radius, 2 * radius), (height, 2 * top, 2 * top)], _CIRCLE, base)


def ellipsoid(size: Vector, base: Vector = (0.0, 0.0, 0.0), rings: int = 8) -> Mesh:
    """A rounded body of width, height, depth that stands on `base`."""
    angle = np.linspace(0.12, math.pi - 0.12, rings)
    stack = [(size[1] * (1 - math.cos(a)) / 2, size[0] * math.sin(a), size[2] * math.sin(a)) for a in angle]
    return _stacked(stack, _CIRCLE, base)


def prism(polygon: Polygon, low: float, high: float) -> Mesh:
    """A convex polygon of the ground plane, from height `low` to `high`."""
    flat = np.array(polygon)
    return loft(np.stack([_lifted(flat, low), _lifted(flat, high)]))


def gable(width: float, height: float, depth: float, base: Vector = (0.0, 0.0, 0.0)) -> Mesh:
    """A roof whose ridge runs along x."""
    profile = np.array([(0.0, -depth / 2), (height, 0.0), (0.0, depth / 2)])
    ends = [np.concatenate([np.full((3, 1), x), profile], 1) for x in (-width / 2, width / 2)]
    return loft(np.stack(ends) + np.array(base))


def lying(mesh: Mesh) -> Mesh:
    """The mesh with its x and y exchanged: an upright cylinder becomes an axle along x."""
    return Mesh(mesh.vertices[:, [1, 0, 2]], mesh.faces[:, ::-1].copy())


_SQUARE = np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5)])
_TURN = np.arange(16) * (2 * math.pi / 16)
_CIRCLE = np.stack([np.cos(_TURN), -np.sin(_TURN)], 1) / 2


def _stacked(stack: Sequence[tuple[float, float, float]], outline: np.ndarray, base: Vector) -> Mesh:
    """Copies of an outline [n, 2] at (height, width, depth), skinned."""
    return loft(np.stack([_lifted(outline * [w, d], y) for y, w, d in stack]) + np.array(base))


def _lifted(flat: np.ndarray, y: float) -> np.ndarray:
    """Points (x, z) [n, 2] at height y, [n, 3]."""
    return np.stack([flat[:, 0], np.full(len(flat), y), flat[:, 1]], 1)


def moved(mesh: Mesh, offset: Vector, yaw: float = 0.0) -> Mesh:
    """The mesh turned about y, front +z towards (sin yaw, cos yaw) in (x, z), then shifted."""
    s, c = math.sin(yaw), math.cos(yaw)
    turn = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    vertices = mesh.vertices.astype(np.float64) @ turn.T + np.array(offset)
    return Mesh(vertices.astype(np.float32), mesh.faces, mesh.colors)


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one, without their colours."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    faces = np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)])
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), faces)


def box_union(solid: Sequence[tuple[Vector, Vector]], empty: Sequence[tuple[Vector, Vector]]) -> Mesh:
    """The surface of axis-parallel boxes (low, high) joined together, less the `empty` ones.

    Space is cut at every face, and the quads between a full and an empty cell are kept: no face lies
    inside, so distances are those of the union. Cells that meet in an edge only would not be
    watertight; walls with openings have none.
    """
    corners = np.array([*solid, *empty], np.float64)  # [N, 2, 3]
    cuts = [np.unique(corners[..., axis].round(6)) for axis in range(3)]
    full = np.zeros([len(cut) + 1 for cut in cuts], bool)  # one empty cell around everything
    for number, (low, high) in enumerate(corners.round(6)):
        cells = tuple(slice(*(np.searchsorted(cut, (a, b)) + 1)) for cut, a, b in zip(cuts, low, high, strict=True))
        full[cells] = number < len(solid)
    quads = [_quads(full, axis, side) for axis in range(3) for side in (False, True)]
    nodes = np.concatenate(quads)  # [Q, 4, 3]
    shape = [len(cut) for cut in cuts]
    used, faces = np.unique(np.ravel_multi_index(tuple(nodes.reshape(-1, 3).T), shape), return_inverse=True)
    index = np.unravel_index(used, shape)
    vertices = np.stack([cut[i] for cut, i in zip(cuts, index, strict=True)], 1).astype(np.float32)
    q = faces.reshape(-1, 4)
    return Mesh(vertices, np.concatenate([q[:, [0, 1, 2]], q[:, [0, 2, 3]]]).astype(np.int64))


def _quads(full: np.ndarray, axis: int, low_is_full: bool) -> np.ndarray:
    """Corner nodes [Q, 4, 3] of faces across `axis`, seen counter-clockwise from the empty side."""
    a, b = np.moveaxis(full, axis, 0)[:-1], np.moveaxis(full, axis, 0)[1:]
    border = np.argwhere((a & ~b) if low_is_full else (b & ~a))  # [Q, 3]: along the axis, then the other two
    steps = [(-1, -1), (0, -1), (0, 0), (-1, 0)]
    turn = steps if low_is_full == (axis != 1) else steps[::-1]
    rest = [i for i in range(3) if i != axis]
    nodes = np.empty((len(border), 4, 3), np.int64)
    for corner, step in enumerate(turn):
        nodes[:, corner, axis] = border[:, 0]
        for k in range(2):
            nodes[:, corner, rest[k]] = border[:, 1 + k] + step[k]
    return nodes
