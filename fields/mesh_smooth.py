"""Ripples out of a mesh without shrinking it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .mesh_types import Mesh

_SHRINK, _GROW = 0.5, -0.53  # factors of the two steps; waves longer than about ten edges stay


def smooth(mesh: Mesh, rounds: int = 10) -> Mesh:
    """The mesh after some rounds of smoothing by turns with a positive and a negative factor.

    Taubin, "A Signal Processing Approach to Fair Surface Design", 1995. Faces stay as they are, so a closed
    mesh stays closed.
    """
    from scipy.sparse import coo_array

    count = len(mesh.vertices)
    ends = np.concatenate([mesh.faces[:, [0, 1, 2]], mesh.faces[:, [1, 2, 0]]], 1).reshape(-1, 2, 3)
    first, second = (part.reshape(-1) for part in (ends[:, 0], ends[:, 1]))
    pairs = np.concatenate([first, second]), np.concatenate([second, first])
    links = coo_array((np.ones(len(pairs[0])), pairs), shape=(count, count)).tocsr()
    degree = np.maximum(links.sum(axis=1), 1)[:, None]
    x = mesh.vertices.astype(np.float64)
    for _ in range(rounds):
        for factor in (_SHRINK, _GROW):
            x += factor * (links @ x / degree - x)
    return replace(mesh, vertices=x.astype(np.float32))
