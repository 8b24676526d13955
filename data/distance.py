"""Teachers of distance: a mesh, or the surface of a radiance field, as a signed-distance volume."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import igl
import numpy as np
import torch
import trimesh
from torch import Tensor
from torch.nn.functional import normalize

from fields.function_volume import FunctionVolume, Rgb
from fields.mesh import Mesh, automatic_level, extract_mesh_steps
from fields.progress import Progress
from fields.sdf_gradient import gradient_of
from fields.space import Space
from fields.volume import Volume

from .mesh_sdf import MeshSDF
from .sdf_lattice import SDFLattice, bake_distance

RESOLUTION = 192  # cells of the distance lattice along the longest side
_CLAY = (0.72, 0.70, 0.67)  # sRGB of meshes without colours


@dataclass(frozen=True)
class SurfaceReport:
    """What the surface was like that a density's distances are measured to."""

    level: float | None  # density per scene unit; None for a surface that was given
    faces: int
    watertight: bool
    open_edges: int  # edges that do not belong to exactly two faces


def mesh_volume(mesh: trimesh.Trimesh, bounds: Tensor | None = None, resolution: int = RESOLUTION) -> Volume:
    """`mesh_volume_steps` run to its end; same arguments and errors."""
    return _finish(mesh_volume_steps(mesh, bounds, resolution))


def mesh_volume_steps(
    mesh: trimesh.Trimesh, bounds: Tensor | None = None, resolution: int = RESOLUTION
) -> Generator[Progress, None, Volume]:
    """Signed-distance volume of any mesh that `MeshSDF` takes, as a generator's return value.

    Colours are those of the nearest surface point: of vertices, faces or texture, else clay. Surfaces are
    rendered half a marching step wide.

    Args:
        mesh: need not be closed (see `MeshSDF`).
        bounds: box [2, 3] of the volume; by default a cube with a margin.
        resolution: cells along the longest side of the lattice that distances are looked up in.

    Raises:
        UserError: `E-MESH-DEGENERATE`.
    """
    source = MeshSDF(mesh)
    box = source.bounds if bounds is None else bounds.float().cpu()
    lattice = yield from bake_distance(source.sdf, box, resolution)
    return _volume(lattice, _surface_colors(mesh))


def distance_volume(
    radiance: Volume,
    resolution: int = RESOLUTION,
    level: float | Literal["auto"] = "auto",
    *,
    surface: Mesh | None = None,
) -> Generator[Progress, None, tuple[Volume, SurfaceReport]]:
    """The surface of a density volume as a signed-distance volume: what teaches distance students.

    Its colour anywhere is that of the density volume at the nearest point of the surface, seen in the same direction.

    Args:
        resolution: cells along the longest side, of the surface's lattice and the distances'.
        level: density per scene unit at the surface; "auto" chooses it.
        surface: the surface itself, in the volume's coordinates, where more is known of it than a level tells:
            fitted fields are often hollow, and cameras see where they are solid.

    Raises:
        TypeError: for a volume of kind `sdf`.
        UserError: `E-MC-…` when there is no such surface, `E-LIMIT-GRID`.
    """
    if radiance.kind != "density":
        raise TypeError("distance_volume: this volume has distances already")
    bounds, height = radiance.space.bounds.cpu(), None
    if surface is None:
        height = _level(radiance) if level == "auto" else level
        surface = yield from extract_mesh_steps(
            radiance.evaluate_geometry, radiance.space.bounds, resolution, level=height,
            occupied=radiance.occupancy.occupied,
        )  # fmt: skip
    report = SurfaceReport(height, len(surface.faces), surface.is_watertight(), _open_edges(surface))
    source = MeshSDF(trimesh.Trimesh(surface.vertices, surface.faces, process=False))
    lattice = yield from bake_distance(source.sdf, bounds, resolution)
    lattice = lattice.to(radiance.device)

    def rgb(x: Tensor, directions: Tensor) -> Tensor:
        with torch.no_grad():
            return radiance.evaluate(_nearest(lattice, x), directions).rgb

    return _volume(lattice, rgb).to(radiance.device), report


def _volume(lattice: SDFLattice, rgb: Rgb) -> FunctionVolume:
    volume = FunctionVolume(Space(lattice.bounds), "sdf", lattice, rgb)
    volume.to(lattice.bounds.device)
    volume.occupancy.rebuild(volume, torch.Generator().manual_seed(0))
    return volume


def _nearest(lattice: SDFLattice, x: Tensor) -> Tensor:
    """Surface points [N, 3] nearest to x [N, 3]: along the distance's gradient, in two strides."""
    for _ in range(2):
        slope = gradient_of(lattice, x, lattice.spacing / 2)
        x = x - lattice(x)[:, None] * normalize(slope, dim=-1)
    return x


def _surface_colors(mesh: trimesh.Trimesh) -> Rgb:
    """Colours [N, 3] of the mesh nearest to positions [N, 3], from whatever side."""
    colors = _vertex_colors(mesh)
    if colors is None:
        return lambda x, directions: x.new_tensor(_CLAY).expand(len(x), 3)
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    tree = igl.AABB()
    tree.init(vertices, faces)

    def rgb(x: Tensor, directions: Tensor) -> Tensor:
        _, face, nearest = tree.squared_distance(vertices, faces, x.detach().cpu().double().numpy())
        corners = faces[np.asarray(face).reshape(-1)]  # [N, 3]
        weights = _barycentric(np.asarray(nearest).reshape(-1, 3), vertices[corners])
        return torch.from_numpy(np.einsum("nk,nkc->nc", weights, colors[corners])).to(x)

    return rgb


def _vertex_colors(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """sRGB [V, 3] in [0, 1] of vertices, whatever the mesh keeps colours in."""
    visual = mesh.visual
    if isinstance(visual, trimesh.visual.TextureVisuals):
        visual = visual.to_color()
    if visual is None or not visual.defined:
        return None
    return np.asarray(visual.vertex_colors)[:, :3] / 255.0


def _barycentric(x: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Weights [N, 3] of triangle corners [N, 3, 3] at points x [N, 3] in them."""
    a, b, c = corners.transpose(1, 0, 2)
    areas = [np.linalg.norm(np.cross(p - x, q - x), axis=1) for p, q in ((b, c), (c, a), (a, b))]
    weights = np.stack(areas, 1) + 1e-300
    return weights / weights.sum(1, keepdims=True)


def _open_edges(mesh: Mesh) -> int:
    ends = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, uses = np.unique(ends, axis=0, return_counts=True)
    return int((uses != 2).sum())


def _level(radiance: Volume, samples: int = 1 << 17) -> float:
    """A density at which space turns solid."""
    low, high = radiance.space.bounds
    x = low + (high - low) * torch.rand(samples, 3, generator=torch.Generator().manual_seed(0)).to(low)
    return automatic_level(radiance.evaluate_geometry(x), radiance.space.step)


def _finish(steps: Generator[Progress, None, Volume]) -> Volume:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
