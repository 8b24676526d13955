"""What is done to an extracted mesh: level choice, colours, fewer faces, no floaters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .mesh_types import Mesh

_TILT = math.radians(30)
_MOSTLY = 0.5


def automatic_level(density: Tensor, step: float) -> float:
    """A density level for the surface of a radiance field.

    The level at which one marching step has alpha 1/2: 1 - exp(-density * step) = 1/2, so
    ln 2 / step. Where the field stays below it almost everywhere (a foggy field) or above it, the
    threshold between its two classes of log density instead (Otsu, 1979).

    density: samples [N] from the box, not negative, in 1/unit; step: scene units.
    """
    values = density.detach().float().cpu().numpy().reshape(-1).astype(np.float64)
    level = math.log(2) / step
    share = float((values > level).mean()) if len(values) else 0.0
    if 1e-4 < share < 0.9:
        return level
    return float(np.expm1(_otsu(np.log1p(np.maximum(values, 0.0)))))


def _otsu(values: np.ndarray, bins: int = 256) -> float:
    """The threshold with the greatest variance between the two classes."""
    count, edges = np.histogram(values, bins)
    centre = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(count)[:-1]
    above = count.sum() - below
    moment = np.cumsum(count * centre)
    mean_below = moment[:-1] / np.maximum(below, 1)
    mean_above = (moment[-1] - moment[:-1]) / np.maximum(above, 1)
    between = below * above * (mean_below - mean_above) ** 2
    return float(edges[1:-1][np.isclose(between, between.max())].mean())


@torch.no_grad()
def vertex_colors(
    mesh: Mesh,
    color: Callable[[Tensor, Tensor], Tensor],
    *,
    device: torch.device | str = "cpu",
    chunk: int = 2**16,
) -> Mesh:
    """The mesh with the field's own colours at its vertices.

    `color` takes x [N, 3] and unit directions [N, 3] (towards the surface) and gives sRGB [N, 3].
    """
    x, normals = torch.from_numpy(mesh.vertices).to(device), torch.from_numpy(mesh.normals()).to(device)
    parts = [seen_color(*part, color) for part in zip(x.split(chunk), normals.split(chunk), strict=True)]
    return replace(mesh, colors=torch.cat(parts).numpy())


@torch.no_grad()
def seen_color(x: Tensor, outward: Tensor, color: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Colours [N, 3] in [0, 1] on the CPU of a surface at x [N, 3] with unit normals [N, 3].

    `color` as in `vertex_colors`; it is asked along the inward normal and four directions 30 degrees around
    it, and averaged, which takes most of a view-dependent highlight away.
    """
    return torch.stack([color(x, d).float().cpu() for d in _views(-outward)]).mean(0).clamp(0, 1)


def _views(inward: Tensor) -> list[Tensor]:
    """`inward` [N, 3] itself and four unit directions tilted around it."""
    least = torch.nn.functional.one_hot(inward.abs().argmin(-1), 3).to(inward)
    u = torch.nn.functional.normalize(torch.linalg.cross(inward, least), dim=-1)
    v = torch.linalg.cross(inward, u)
    sides = (u, -u, v, -v)
    return [inward, *(math.cos(_TILT) * inward + math.sin(_TILT) * side for side in sides)]


def simplify(mesh: Mesh, faces: int) -> Mesh:
    """At most `faces` faces where that is possible, by edge collapse with quadrics (Garland and Heckbert, 1997).

    No collapse changes the topology (the link condition: the ends of an edge have only the corners opposite to
    it as common neighbours). So a closed mesh stays closed, and each of its parts and tunnels stays, which sets
    the fewest faces there can be. Colours do not survive (ask the field again with `vertex_colors`); a mesh that
    is small enough is returned as it is. The mesh is centred and brought to a size of 1 first, so that quadrics of
    distant places lose no digits.

    Raises:
        ValueError: an edge has more than two faces, which no extracted mesh has.
    """
    import igl

    if len(mesh.faces) <= faces:
        return mesh
    if not igl.is_edge_manifold(mesh.faces)[0]:
        raise ValueError("simplify: an edge has more than two faces")
    low, extent = mesh.vertices.min(axis=0), float(np.ptp(mesh.vertices, axis=0).max())
    vertices = np.asfortranarray((mesh.vertices - low) / extent, np.float64)
    vertices, triangles, _, _ = igl.qslim(vertices, np.asfortranarray(mesh.faces, np.int32), faces)
    return Mesh((vertices * extent + low).astype(np.float32), triangles.astype(np.int64))


def largest_components(mesh: Mesh, min_fraction: float = 0.01) -> Mesh:
    """Without the connected parts that have less than `min_fraction` of the largest part's area."""
    part = _parts(mesh)[mesh.faces[:, 0]]
    area = np.bincount(part, mesh.areas())
    keep = area[part] >= min_fraction * area.max()
    return _compact(replace(mesh, faces=mesh.faces[keep]))


def components_where(mesh: Mesh, expected: Callable[[Tensor], Tensor], device: torch.device | str = "cpu") -> Mesh:
    """Without the connected parts most of whose vertices lie where no surface is expected; whole if that is all.

    `expected`: positions [N, 3] to bool [N].
    """
    part = _parts(mesh)
    there = torch.cat([expected(x.to(device)).cpu() for x in torch.from_numpy(mesh.vertices).split(1 << 18)]).numpy()
    share = np.bincount(part, there) / np.bincount(part)
    keep = (share >= _MOSTLY)[part[mesh.faces[:, 0]]]
    return _compact(replace(mesh, faces=mesh.faces[keep])) if keep.any() and not keep.all() else mesh


def _parts(mesh: Mesh) -> np.ndarray:
    """The number of the connected part that each vertex belongs to, [V]."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([mesh.faces[:, :2], mesh.faces[:, 1:]])
    graph = coo_array((np.ones(len(ends), np.int8), ends.T), shape=(len(mesh.vertices),) * 2)
    _, label = connected_components(graph, directed=False)
    return np.asarray(label)


def _compact(mesh: Mesh) -> Mesh:
    """Without vertices that no face uses."""
    used, faces = np.unique(mesh.faces, return_inverse=True)
    colors = None if mesh.colors is None else mesh.colors[used]
    return Mesh(mesh.vertices[used], faces.reshape(-1, 3), colors)
