"""Inside or outside of a surface that need not be closed.

Generalised winding numbers (Jacobson et al. 2013; fast version Barill et al. 2018), and
visibility from outside where they stay undecided along much of the surface.
"""

from __future__ import annotations

from collections.abc import Callable

import igl
import numpy as np

from .mesh_repair import Surface

AMBIGUOUS_LIMIT = 0.4
_CHUNK = 2**15
_PROBES = 2**14
_ESCAPES = 2
_TURN = np.array([[0.9363, -0.2896, 0.1987], [0.3130, 0.9447, -0.0978], [-0.1594, 0.1538, 0.9752]])

Inside = Callable[[np.ndarray], np.ndarray]  # [N, 3] -> bool [N]


class WindingSign:
    """Inside where the winding number's magnitude exceeds one half; a turned mesh has the same inside."""

    def __init__(self, surface: Surface) -> None:
        self._tree = igl.FastWindingNumberBVH()
        self._tree.init(surface.vertices, surface.faces)

    def number(self, x: np.ndarray) -> np.ndarray:
        """Winding numbers [N] at `x` [N, 3]."""
        return chunked(self._tree.winding_number, x)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.abs(self.number(x)) > 0.5


class VisibilitySign:
    """Inside where fewer than two of 26 rays leave the surface behind; windings do not matter."""

    def __init__(self, surface: Surface) -> None:
        self._surface, self._tree = surface, igl.AABB()
        self._tree.init(surface.vertices, surface.faces)
        grid = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), -1).reshape(-1, 3)
        # turned a little, so that no ray runs inside the planes that rooms are made of
        directions = grid[np.abs(grid).sum(1) > 0] @ _TURN
        self._directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        escapes = np.zeros(len(x), np.int64)
        for direction in self._directions:
            left = np.flatnonzero(escapes < _ESCAPES)
            if len(left):
                escapes[left] += ~self._hits(x[left], direction)
        return escapes < _ESCAPES

    def _hits(self, x: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Whether the rays from `x` [N, 3] meet the surface, bool [N]."""
        vertices, faces = self._surface.vertices, self._surface.faces

        def first(part: np.ndarray) -> np.ndarray:
            rays = np.tile(direction, (len(part), 1))
            return self._tree.intersect_ray_first(vertices, faces, part, rays)[0]

        return chunked(first, x) >= 0


def choose_sign(surface: Surface) -> tuple[Inside, str, float]:
    """(inside test, "winding" or "visibility", ambiguous share of the surface).

    Next to a sound surface winding numbers are whole. Holes move them a little; next to sheets, and
    where neighbouring windings disagree, they are about a half: there the surface is ambiguous
    (more than 0.3 from a whole number), and where that is much of it, inside means nothing.
    """
    winding = WindingSign(surface)
    faces = np.random.default_rng(0).choice(len(surface.faces), _PROBES, p=_area_shares(surface))
    sides = beside(surface, faces, 1e-3 * surface.diagonal)
    off = [np.abs(number - np.round(number)) for number in map(winding.number, sides)]
    ambiguous = float((np.concatenate(off) > 0.3).mean())
    if ambiguous <= AMBIGUOUS_LIMIT:
        return winding, "winding", ambiguous
    return VisibilitySign(surface), "visibility", ambiguous


def thin_faces(surface: Surface, inside: Inside) -> np.ndarray:
    """Faces [F] with the outside on both sides: sheets, which bound no volume."""
    front, back = beside(surface, np.arange(len(surface.faces)), 1e-4 * surface.diagonal)
    return ~inside(front) & ~inside(back)


def beside(surface: Surface, faces: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 3] at `step` before and behind the middles of `faces` [N]."""
    vectors = surface.face_vectors()[faces]
    offset = step * vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-300)
    middle = surface.vertices[surface.faces[faces]].mean(1)
    return middle + offset, middle - offset


def _area_shares(surface: Surface) -> np.ndarray:
    area = np.linalg.norm(surface.face_vectors(), axis=1)
    return area / area.sum()


def chunked(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """`function` [N, 3] -> [N] over short stretches, as igl holds the GIL for a whole call."""
    parts = [function(x[i : i + _CHUNK]) for i in range(0, len(x), _CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0)
