"""Whether a scene's mesh is one whole: cracks, doubled walls, pieces."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from fields.progress import Clock, Progress

from .chunks import ISLAND, chunk_mesh, chunks_of, pieces, weld_chunks
from .surface import SceneSurface


def mesh_figures(surface: SceneSurface) -> Generator[Progress, None, dict[str, float]]:
    """Figures of the welded mesh of a scene that fits into memory; the return value.

    faces, components; open_edges: edges with a face on one side only; doubled_edges: edges that more than two faces
    meet at; island_share: of the faces, in components shorter than 10 cm.
    """
    clock, meshes, chunks = Clock(), [], chunks_of(surface.finished, surface.across)
    for step, chunk in enumerate(chunks, 1):
        mesh = chunk_mesh(surface, chunk)
        meshes += [] if mesh is None else [mesh]
        yield clock.report(step, len(chunks), "mesh")
    if not meshes:
        return {"faces": 0, "components": 0, "open_edges": 0, "doubled_edges": 0, "island_share": 0.0}
    x, faces = weld_chunks(meshes)
    piece, low, high = pieces(x, faces)
    island = (high - low).max(axis=1) < ISLAND
    ends = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, sides = np.unique(ends[:, 0] * len(x) + ends[:, 1], return_counts=True)
    return {
        "faces": len(faces),
        "components": len(low),
        "open_edges": int((sides == 1).sum()),
        "doubled_edges": int((sides > 2).sum()),
        "island_share": float(island[piece].mean()),
    }
