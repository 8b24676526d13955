"""Making scene meshes fit for a sign: equal vertices joined, doubled faces dropped, windings agreed."""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fields.errors import UserError

_JOIN = 2.0**-20  # of the diagonal: three such coordinates fit one 64-bit key
_FLAT = 1e-4


@dataclass(frozen=True)
class Surface:
    """A triangle surface: vertices float64 [V, 3], faces int64 [F, 3], wound outward as far as known."""

    vertices: np.ndarray
    faces: np.ndarray

    @property
    def diagonal(self) -> float:
        """Length of the bounding box's diagonal."""
        return float(np.linalg.norm(np.ptp(self.vertices, axis=0)))

    def face_vectors(self) -> np.ndarray:
        """Face normals times twice the area, [F, 3]."""
        a, b, c = self.vertices[self.faces].transpose(1, 0, 2)
        return np.cross(b - a, c - a)


@dataclass(frozen=True)
class Topology:
    """How whole a surface is."""

    watertight: bool
    components: int
    holes: int
    flipped: int


def repair(vertices: np.ndarray, faces: np.ndarray) -> tuple[Surface, Topology]:
    """The surface with joined vertices, each face once and windings that agree and face outward.

    Raises:
        UserError: `E-MESH-DEGENERATE` when no face has an area.
    """
    surface = _cleaned(vertices, faces)
    wound = _outward(surface)
    flipped = int((wound.faces != surface.faces).any(1).sum())
    ends = np.sort(wound.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, uses = np.unique(ends[:, 0] * len(wound.vertices) + ends[:, 1], return_counts=True)
    border = np.stack(np.divmod(edges[uses % 2 == 1], len(wound.vertices)), 1)
    components = _parts(wound.faces[:, [0, 1, 1, 2]].reshape(-1, 2))
    topology = Topology(not len(border), components, _parts(border), flipped)
    return wound, topology


def _cleaned(vertices: np.ndarray, faces: np.ndarray) -> Surface:
    vertices = np.asarray(vertices, np.float64)
    step = _JOIN * max(float(np.linalg.norm(np.ptp(vertices, axis=0))), 1e-300)
    x, y, z = np.round((vertices - vertices.min(0)) / step).astype(np.int64).T
    _, first, inverse = np.unique((x << 42) | (y << 21) | z, return_index=True, return_inverse=True)
    joined = inverse.reshape(-1)[np.asarray(faces)].astype(np.int64)
    ordered = np.sort(joined, axis=1)
    distinct = (np.diff(ordered, axis=1) > 0).all(1)
    surface = Surface(vertices[first], joined[distinct][_first_of_each(ordered[distinct])])
    if not np.linalg.norm(surface.face_vectors(), axis=1).sum() > 1e-12 * surface.diagonal**2:
        raise UserError("E-MESH-DEGENERATE", "mesh has no area", got=f"{len(faces)} faces without area",
                        expected="triangles with three distinct corners", fix="export the mesh again")
    return surface


def _first_of_each(rows: np.ndarray) -> np.ndarray:
    """Indices, ascending, of the first occurrence of every distinct row of [N, K]."""
    order = np.lexsort(rows.T)  # stable: equal rows stay in their order
    new = np.ones(len(rows), bool)
    new[1:] = (np.diff(rows[order], axis=0) != 0).any(1)
    return np.sort(order[new])


def _outward(surface: Surface) -> Surface:
    """Windings made to agree within each patch, then each patch turned to face outward.

    A closed patch that faces inward stays so where it bounds a cavity of another; flat and
    nearly flat patches stay as most of their area has it.
    """
    faces, patch = igl.bfs_orient(np.ascontiguousarray(surface.faces))
    faces, patch = np.asarray(faces, np.int64), np.asarray(patch).reshape(-1)
    area = np.linalg.norm(surface.face_vectors(), axis=1) / 2
    as_given = (np.roll(faces, 1, 1) == surface.faces).all(1) | (np.roll(faces, 2, 1) == surface.faces).all(1)
    as_given |= (faces == surface.faces).all(1)
    against = np.bincount(patch, np.where(as_given, -area, area)) > 0
    faces[against[patch]] = faces[against[patch]][:, ::-1]
    volume = _volumes(surface.vertices, faces, patch)
    inward = volume < -_FLAT * np.bincount(patch, area) ** 1.5
    inward &= ~_cavities(Surface(surface.vertices, faces), patch, inward)
    faces[inward[patch]] = faces[inward[patch]][:, ::-1]
    unchanged = as_given ^ against[patch] ^ inward[patch]
    return Surface(surface.vertices, np.where(unchanged[:, None], surface.faces, faces))


def _volumes(vertices: np.ndarray, faces: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """Signed volume of each patch against its own centroid [patches]."""
    corners = vertices[faces]
    middle = corners.mean(1)
    count = np.bincount(patch)
    centre = np.stack([np.bincount(patch, middle[:, i]) for i in range(3)], 1) / count[:, None]
    a, b, c = (corners - centre[patch][:, None]).transpose(1, 0, 2)
    return np.bincount(patch, (a * np.cross(b, c)).sum(1) / 6)


def _cavities(surface: Surface, patch: np.ndarray, inward: np.ndarray) -> np.ndarray:
    """Which of the `inward` patches lie inside the rest: just behind them the others still wind around."""
    found = np.zeros(len(inward), bool)
    candidates = np.flatnonzero(inward)
    if not len(candidates) or len(inward) == 1:
        return found
    _, first = np.unique(patch, return_index=True)
    faces = first[candidates]
    normals = surface.face_vectors()[faces]
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    behind = surface.vertices[surface.faces[faces]].mean(1) - 1e-4 * surface.diagonal * normals
    winding = igl.fast_winding_number(surface.vertices, surface.faces, behind)
    found[candidates] = np.abs(winding) > 0.5
    return found


def _parts(edges: np.ndarray) -> int:
    """Connected parts of the graph with these edges [E, 2]."""
    if not len(edges):
        return 0
    nodes, index = np.unique(edges, return_inverse=True)
    ends = index.reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), np.int8), ends.T), shape=(len(nodes),) * 2)
    return int(connected_components(graph, directed=False)[0])
