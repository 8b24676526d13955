"""Marching cubes over a lattice of any size, block by block, welded without seams.

Lorensen and Cline, "Marching Cubes", 1987; the triangles of one block come from PyMCubes, which
holds the GIL while it works: blocks keep each pause to some milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 64
_MIN_FRACTION = 1e-3


def march_blocks(values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray] | None]:
    """(edge keys [V], vertices [V, 3], faces [F, 3]) of each block that the surface `values` = 0 meets.

    values: float32 [X, Y, Z], positive inside. Blocks without surface give None. Neighbouring
    blocks read the same lattice samples, so they agree on every shared edge, and `weld` joins them.
    """
    for low in np.ndindex(*(-(-(n - 1) // BLOCK) for n in values.shape)):
        start = np.array(low) * BLOCK
        i, j, k = start
        block = values[i : i + BLOCK + 1, j : j + BLOCK + 1, k : k + BLOCK + 1]
        if block.max() > 0 and block.min() <= 0:
            yield _march(block.astype(np.float64), start, values.shape)
        else:
            yield None


def block_count(shape: tuple[int, ...]) -> int:
    """How many blocks `march_blocks` visits for a lattice of `shape` samples."""
    return int(np.prod([-(-(n - 1) // BLOCK) for n in shape]))


def weld(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """One mesh (vertices [V, 3], faces [F, 3]) of the blocks: one vertex for each lattice edge."""
    keys = np.concatenate([part[0] for part in parts])
    starts = np.cumsum([0] + [len(part[0]) for part in parts[:-1]])
    faces = np.concatenate([part[2] + start for part, start in zip(parts, starts, strict=True)])
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    vertices = np.concatenate([part[1] for part in parts])[first]
    return vertices, inverse.reshape(-1)[faces]


def _march(block: np.ndarray, start: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangles of one block in lattice coordinates."""
    import mcubes

    vertices, faces = mcubes.marching_cubes(_off_zero(block), 0.0)
    keys, vertices = _on_edges(vertices, start, shape)
    return keys, vertices, faces.astype(np.int64)


def _off_zero(block: np.ndarray) -> np.ndarray:
    """Samples on the level moved just off it, zero to the outside, so that no vertex sits on a sample."""
    least = 1e-10 * np.abs(block).max()
    return np.where(np.abs(block) < least, np.where(block > 0, least, -least), block)


def _on_edges(vertices: np.ndarray, start: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The lattice edge of each vertex, as a number, and its position kept off both ends.

    A vertex lies between two neighbouring samples: two of its coordinates are whole. Keeping it a
    thousandth of a cell from both ends leaves no face without area.
    """
    rows = np.arange(len(vertices))
    axis = np.abs(vertices - np.round(vertices)).argmax(1)
    node = np.round(vertices).astype(np.int64)
    node[rows, axis] = np.floor(vertices[rows, axis]).astype(np.int64)
    fraction = (vertices - node)[rows, axis].clip(_MIN_FRACTION, 1 - _MIN_FRACTION)
    node += start
    keys = ((node[:, 0] * shape[1] + node[:, 1]) * shape[2] + node[:, 2]) * 3 + axis
    placed = node.astype(np.float64)
    placed[rows, axis] += fraction
    return keys, placed
