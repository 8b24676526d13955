"""Signed distance to the surface of any scene mesh, and the points a field is fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
import torch
import trimesh
from torch import Tensor

from fields.distance_pool import POOL, DistancePool

from .mesh_repair import Surface, Topology, repair
from .mesh_sign import choose_sign, chunked, thin_faces

_THIN_SHARE = 0.005


@dataclass(frozen=True)
class SDFReport:
    """What the surface was like and how its inside was found.

    ambiguous: share of the surface where winding numbers are undecided; thin: share of the area in
    sheets; method: "winding" or "visibility".
    """

    watertight: bool
    components: int
    holes: int
    ambiguous: float
    thin: float
    method: str
    notes: tuple[str, ...]


class MeshSDF:
    """Signed distance to a mesh, negative inside, in the mesh's own units.

    Windings are repaired first; inside is found by winding numbers, or by visibility from outside
    where those are undecided for much of the box (`report.method`). Sheets that bound no
    volume count as shells `thickness` times the diagonal thick, since a surface without inside has no
    sign.
    """

    def __init__(
        self, mesh: trimesh.Trimesh, *, padding: float = 0.05, cube: bool = True, thickness: float = 0.005,
        pool: int = POOL, seed: int = 0,
    ) -> None:  # fmt: skip
        """
        Args:
            mesh: any triangles; at least one face with an area (`E-MESH-DEGENERATE` otherwise).
            padding: margin of `bounds` around the mesh, as a share of its longest side.
            cube: whether `bounds` is a cube or follows the mesh's proportions.
            pool: how many points `sample` draws from; made at its first call from `seed`.
        """
        self.surface, topology = repair(mesh.vertices, mesh.faces)
        box = _padded(self.surface, padding, cube)
        self.bounds = torch.from_numpy(box).float()  # [2, 3]
        self.diagonal = self.surface.diagonal
        self._inside, method, ambiguous = choose_sign(self.surface)
        self._tree = _Tree(self.surface)
        self._area = np.cumsum(np.linalg.norm(self.surface.face_vectors(), axis=1))
        self._half_shell = thickness * self.diagonal / 2
        thin = self._find_sheets()
        self.report = _report(topology, method, ambiguous, thin, 2 * self._half_shell)
        self._pool_size, self._seed = pool, seed
        self._pool: DistancePool | None = None

    def sdf(self, x: Tensor) -> Tensor:
        """Signed distances float32 [N] at `x` [N, 3] (on the CPU)."""
        points = np.ascontiguousarray(x.detach().cpu().double().numpy())
        distance = self._tree.distance(points)
        signed = np.where(self._inside(points), -distance, distance)
        if self._sheets is not None:
            signed = np.minimum(signed, self._sheets.distance(points) - self._half_shell)
        return torch.from_numpy(signed).float()

    def contains(self, x: np.ndarray) -> np.ndarray:
        """Whether points [N, 3] lie inside, bool [N]; without distances unless there are sheets."""
        if self._sheets is None:
            return self._inside(x)
        return self._inside(x) | (self._sheets.distance(x) < self._half_shell)

    def distance(self, x: np.ndarray) -> np.ndarray:
        """Unsigned distances float64 [N] to the surface itself at `x` [N, 3]."""
        return self._tree.distance(np.ascontiguousarray(x, np.float64))

    def surface_points(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points [N, 3] spread evenly over the surface and the faces' normals [N, 3]."""
        u = torch.rand(count, 3, generator=generator, dtype=torch.float64).numpy()
        face = np.searchsorted(self._area, u[:, 0] * self._area[-1]).clip(max=len(self._area) - 1)
        corners = self.surface.vertices[self.surface.faces[face]]  # [N, 3, 3]
        root = np.sqrt(u[:, 1:2])
        weights = np.concatenate([1 - root, root * (1 - u[:, 2:]), root * u[:, 2:]], 1)
        vectors = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        x = np.einsum("nk,nkd->nd", weights, corners)
        return torch.from_numpy(x).float(), torch.from_numpy(normals).float()

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points [N, 3] for fitting and their distances [N]: near the surface at two scales, and uniform.

        Drawn from a pool whose distances are known, so that a training step waits for none;
        `refresh` brings new points into it.
        """
        if self._pool is None:
            self._pool = DistancePool(
                lambda *draw: self.surface_points(*draw)[0], self.sdf, self.bounds, self._pool_size, self._seed
            )
        return self._pool.sample(count, generator)

    def refresh(self, count: int, generator: torch.Generator) -> None:
        """Replace `count` points of the pool, chosen at random, by new ones (some microseconds each)."""
        if self._pool is not None:
            self._pool.refresh(count, generator)

    def _find_sheets(self) -> float:
        """Set up the shells around sheets; gives the share of the area that they have."""
        thin = thin_faces(self.surface, self._inside)
        share = float(np.diff(self._area, prepend=0.0)[thin].sum() / self._area[-1])
        use = share > _THIN_SHARE
        self._sheets = _Tree(Surface(self.surface.vertices, self.surface.faces[thin])) if use else None
        return share


class _Tree:
    """Closest distances to a surface, with the bounding-box tree built once."""

    def __init__(self, surface: Surface) -> None:
        self._surface, self._tree = surface, igl.AABB()
        self._tree.init(surface.vertices, surface.faces)

    def distance(self, x: np.ndarray) -> np.ndarray:
        """Distances [N] at `x` [N, 3]."""
        vertices, faces = self._surface.vertices, self._surface.faces
        return np.sqrt(chunked(lambda part: self._tree.squared_distance(vertices, faces, part)[0], x))


def _padded(surface: Surface, padding: float, cube: bool) -> np.ndarray:
    """The padded box [2, 3] around the vertices that faces use."""
    used = surface.vertices[np.unique(surface.faces)]
    low, high = used.min(0), used.max(0)
    longest = float((high - low).max())
    half = np.full(3, longest / 2) if cube else (high - low) / 2
    half = half + padding * longest
    middle = (low + high) / 2
    return np.stack([middle - half, middle + half])


def _report(topology: Topology, method: str, ambiguous: float, thin: float, thickness: float) -> SDFReport:
    """The report, with a sentence for everything that a user should know of."""
    notes = []
    if not topology.watertight:
        notes.append(f"the mesh is open: holes {topology.holes}, parts {topology.components}")
    if topology.flipped:
        notes.append(f"{topology.flipped} faces were turned to agree with each other or to face outward")
    if method == "visibility":
        notes.append(f"winding numbers are undecided at {ambiguous:.0%} of the surface; "
                     "inside is what cannot be seen from outside")
    if thin > _THIN_SHARE:
        notes.append(f"{thin:.0%} of the area bounds no volume and was made {thickness:.3g} thick")
    return SDFReport(topology.watertight, topology.components, topology.holes, ambiguous, thin, method,
                     tuple(notes))
