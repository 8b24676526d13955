"""A scene's surface in chunks of one block's stride, each a pure function of the blocks around it.

Chunks read the same values at the nodes they share, and a vertex follows from the two values at the ends of its
lattice edge, so vertices on the border of two chunks have the same bits: no crack, no doubled wall.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fields.marching import march_blocks, weld
from fields.mesh_types import Mesh

from .neighbours import Index
from .surface import SceneSurface

ISLAND = 0.1  # metres: smaller pieces of surface are left out
_LEAST_FRACTION = 1e-3  # of an edge, between a vertex and either end: no face is without area
_KEY_RANGE = 2**24  # nodes along x and z that an edge's key tells apart
_KEY_HEIGHTS = 2**10


@dataclass(frozen=True, eq=False)
class ChunkMesh:
    """The surface in one chunk.

    keys: int64 [V], the lattice edge of each vertex, the same in every chunk; x: float64 [V, 3] metres; normals:
    float32 [V, 3]; faces: int64 [F, 3], counter-clockwise seen from outside.
    """

    keys: np.ndarray
    x: np.ndarray
    normals: np.ndarray
    faces: np.ndarray


def chunks_of(finished: Iterable[Index], across: int = 8) -> list[Index]:
    """Chunks that can hold surface of some blocks, row by row in strips of `across`, so as to need few blocks at once.

    A chunk reads blocks (i - 1, k - 1) to (i + 1, k + 1).
    """
    found = {(i + di, k + dk) for i, k in finished for di in (0, 1) for dk in (0, 1)}
    return sorted(found, key=lambda chunk: (chunk[0] // across, chunk[1], chunk[0]))


def chunk_mesh(surface: SceneSurface, chunk: Index) -> ChunkMesh | None:
    """The surface in the cells of a chunk; None where there is none.

    Chunk (i, k) begins one cell before block (i, k). A margin around it is marched too: normals take in all faces of
    a vertex, and an island that reaches over the border is seen whole on both sides.
    """
    margin = int(np.ceil(ISLAND / surface.cell)) + 1
    begin = [number * surface.stride - 1 for number in chunk]
    low, high = ([at + step for at in begin] for step in (-margin, surface.stride + 1 + margin))
    values = -surface.values((low[0], low[1]), (high[0], high[1]))  # positive inside
    parts = [part for part in march_blocks(values) if part is not None]
    if not parts:
        return None
    vertices, faces = weld(parts)
    node, axis, x = _crossings(values, vertices)
    kept = _within(node, faces, margin, surface.stride) & _no_island(x, faces, values.shape, ISLAND / surface.cell)
    if not kept.any():
        return None
    used, inner = np.unique(faces[kept], return_inverse=True)
    origin = np.array([low[0], -1, low[1]])
    world = (x[used] + (origin + 0.5)) * surface.cell + [0.0, surface.frame.floor, 0.0]
    keys = _keys(node[used] + origin, axis[used])
    return ChunkMesh(keys, world, Mesh(x, faces).normals()[used], inner.reshape(-1, 3))


def _crossings(values: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First node int64 [V, 3] and axis [V] of each vertex's lattice edge, and where the surface crosses it, [V, 3].

    Marching cubes places vertices a hair differently in another window; a quotient of two values does not differ.
    """
    node = np.floor(vertices).astype(np.int64)
    axis, rows = (vertices - node).argmax(axis=1), np.arange(len(vertices))
    end = node.copy()
    end[rows, axis] += 1
    a, b = (values[tuple(at.T)].astype(np.float64) for at in (node, end))
    fraction = np.divide(a, a - b, out=np.zeros(len(node)), where=a != b)
    x = node.astype(np.float64)
    x[rows, axis] += fraction.clip(_LEAST_FRACTION, 1 - _LEAST_FRACTION)
    return node, axis, x


def _within(node: np.ndarray, faces: np.ndarray, margin: int, stride: int) -> np.ndarray:
    """Faces [F] of the chunk's own cells; a cell's lowest node is the least of its edges' first nodes."""
    cell = node[faces][:, :, [0, 2]].min(axis=1)
    return ((cell >= margin) & (cell < margin + stride)).all(axis=1)


def _no_island(x: np.ndarray, faces: np.ndarray, shape: tuple[int, ...], limit: float) -> np.ndarray:
    """Faces [F] of pieces at least `limit` nodes long, or cut off by the sides of the lattice."""
    part, low, high = pieces(x, faces)
    cut = ((low <= 0) | (high >= np.array(shape) - 1))[:, [0, 2]].any(axis=1)
    return (cut | ((high - low).max(axis=1) >= limit))[part]


def pieces(x: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The connected piece of each face [F] of a mesh whose vertices [V, 3] all have one, and low and high [P, 3]."""
    ends = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_array((np.ones(len(ends), np.int8), ends.T), shape=(len(x), len(x)))
    count, label = connected_components(graph, directed=False)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, label, x)
    np.maximum.at(high, label, x)
    return label[faces[:, 0]], low, high


def weld_chunks(meshes: Sequence[ChunkMesh]) -> tuple[np.ndarray, np.ndarray]:
    """Chunks as one mesh, x float64 [V, 3] and faces [F, 3] in their order: one vertex for each lattice edge."""
    keys = np.concatenate([mesh.keys for mesh in meshes])
    starts = np.cumsum([0, *(len(mesh.keys) for mesh in meshes[:-1])])
    faces = np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)])
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return np.concatenate([mesh.x for mesh in meshes])[first], inverse.reshape(-1)[faces]


def _keys(node: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """One number int64 [V] for each edge of the global lattice."""
    a, b, c = node.T + np.array([[_KEY_RANGE // 2], [1], [_KEY_RANGE // 2]])
    return ((a * _KEY_RANGE + c) * _KEY_HEIGHTS + b) * 3 + axis
