"""Ripples out of a mesh, without shrinking it and without rounding its edges."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from .mesh_types import Mesh
from .progress import Clock, Progress

_FAIR_ROUNDS = 10
_SHRINK, _GROW = 0.5, -0.53  # factors of the two steps; waves longer than about ten edges stay
_NORMAL_ROUNDS, _VERTEX_ROUNDS = 60, 20
_ALIKE = 0.35  # distance between unit normals of faces that count as one smooth surface


def smooth_steps(mesh: Mesh) -> Generator[Progress, None, Mesh]:
    """The mesh without ripples, as a generator's return value. Faces stay, so a closed mesh stays closed.

    First `_faired`, which takes the lattice's own noise. Then normals are averaged over neighbours that face
    nearly the same way, again and again, and vertices follow them: what is flat or round but for ripples becomes
    so, and edges stay (Zheng et al., "Bilateral Normal Filtering for Mesh Denoising", 2011, local scheme).
    """
    clock, total = Clock(), _NORMAL_ROUNDS + _VERTEX_ROUNDS
    x = _faired(mesh)
    corners = x[mesh.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double_area = np.linalg.norm(cross, axis=1)
    normals = cross / np.maximum(double_area, 1e-30)[:, None]
    around = _neighbours(mesh.faces)
    for done in range(_NORMAL_ROUNDS):
        normals = _filtered(normals, double_area, *around)
        yield clock.report(done + 1, total, "smooth")
    uses = np.maximum(np.bincount(mesh.faces.reshape(-1), minlength=len(x)), 1)[:, None]
    for done in range(_NORMAL_ROUNDS, total):
        x += _pull(x, mesh.faces, normals) / uses
        yield clock.report(done + 1, total, "smooth")
    return replace(mesh, vertices=x.astype(np.float32))


def _faired(mesh: Mesh) -> np.ndarray:
    """Vertices [V, 3] after rounds of smoothing by turns with a positive and a negative factor.

    Taubin, "A Signal Processing Approach to Fair Surface Design", 1995.
    """
    from scipy.sparse import coo_array

    count = len(mesh.vertices)
    first, second = mesh.faces[:, [0, 1, 2]].reshape(-1), mesh.faces[:, [1, 2, 0]].reshape(-1)
    pairs = np.concatenate([first, second]), np.concatenate([second, first])
    links = coo_array((np.ones(len(pairs[0])), pairs), shape=(count, count)).tocsr()
    degree = np.maximum(links.sum(axis=1), 1)[:, None]
    x = mesh.vertices.astype(np.float64)
    for _ in range(_FAIR_ROUNDS):
        for factor in (_SHRINK, _GROW):
            x += factor * (links @ x / degree - x)
    return x


def _neighbours(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces that share an edge: (face, neighbour, starts) with the neighbours of each face together."""
    ends = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    key = ends[:, 0] * (int(faces.max()) + 1) + ends[:, 1]
    order = np.argsort(key, kind="stable")
    same = np.flatnonzero(key[order][1:] == key[order][:-1])
    first, second = order[same] // 3, order[same + 1] // 3
    face, neighbour = np.concatenate([first, second]), np.concatenate([second, first])
    by_face = np.argsort(face, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(face, minlength=len(faces)))])
    return face[by_face], neighbour[by_face], starts


def _filtered(
    normals: np.ndarray, area: np.ndarray, face: np.ndarray, neighbour: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """Normals [F, 3] averaged with those around them, by area and likeness."""
    from scipy.sparse import csr_array

    apart = 2 - 2 * np.einsum("nk,nk->n", normals[face], normals[neighbour])  # squared distance
    weight = np.exp(-apart / (2 * _ALIKE**2)) * area[neighbour]
    mean = normals * area[:, None] + csr_array((weight, neighbour, starts), shape=(len(area),) * 2) @ normals
    return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-30)


def _pull(x: np.ndarray, faces: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Sum [V, 3] of the ways from each vertex to the planes of its faces (Sun et al. 2007, equation 11)."""
    corners = x[faces]
    offset = corners.mean(axis=1, keepdims=True) - corners  # [F, 3, 3]
    way = np.einsum("fck,fk->fc", offset, normals)[..., None] * normals[:, None]
    flat, way = faces.reshape(-1), way.reshape(-1, 3)
    return np.stack([np.bincount(flat, way[:, axis], len(x)) for axis in range(3)], axis=1)
