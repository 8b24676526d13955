"""The union of a scene's solids: signed distance, and points on its surface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import igl
import numpy as np
import torch
import trimesh

from data.mesh_repair import Surface, repair
from data.mesh_sdf import MeshSDF
from data.palette import VOID, class_named
from data.plane_geometry import Window
from data.scene import Scene
from fields.mesh_types import Mesh

ROD = 0.08  # metres: what is thinner than this in two directions counts as thin (legs, poles, bars)
SHEET = 0.04  # metres of thickness that surfaces without a volume are given
_TOUCH = 1e-4  # metres: surface deeper than this inside another solid is not seen
_PSEUDONORMAL = igl.SIGNED_DISTANCE_TYPE_PSEUDONORMAL
_ROUND = 8192  # candidates drawn together
_MAX_ROUNDS = 400

Distance = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Solid:
    """Something with an inside: its surface, `distance` in metres at [N, 3], and what it is.

    reach: how far its surface may lie from its triangles, where these are sheets; else 0.
    """

    surface: Surface
    distance: Distance
    label: int = VOID
    reach: float = 0.0

    @cached_property
    def box(self) -> np.ndarray:
        """Low and high corner [2, 3]."""
        used = self.surface.vertices[np.unique(self.surface.faces)]
        return np.stack([used.min(0) - self.reach, used.max(0) + self.reach])

    @cached_property
    def thin(self) -> bool:
        """Whether it is a rod: thinner than `ROD` along two axes at least."""
        return bool(np.sort(self.box[1] - self.box[0])[1] <= ROD)


@dataclass(frozen=True)
class SurfacePoints:
    """Points [N, 3] in metres, outward normals [N, 3], class index uint8 [N] and whether on a thin part, bool [N]."""

    x: np.ndarray
    normals: np.ndarray
    labels: np.ndarray
    thin: np.ndarray

    def __getitem__(self, index: np.ndarray | slice) -> SurfacePoints:
        return SurfacePoints(self.x[index], self.normals[index], self.labels[index], self.thin[index])


class SolidUnion:
    """Several solids as one: the distance is the smallest of theirs.

    That is exact outside and has the right sign inside, where it is at most too shallow: surfaces that
    lie inside another solid leave no trace, which they would in the distance to all triangles together.
    """

    def __init__(self, solids: Sequence[Solid]) -> None:
        self.solids = tuple(solids)
        self._boxes = np.array([solid.box for solid in self.solids]).reshape(-1, 2, 3)

    @property
    def window(self) -> Window:
        """x0, z0, x1, z1 of everything."""
        low, high = self._boxes[:, 0].min(0), self._boxes[:, 1].max(0)
        return float(low[0]), float(low[2]), float(high[0]), float(high[2])

    def within(self, low: np.ndarray, high: np.ndarray) -> SolidUnion:
        """The solids whose boxes meet the box from `low` to `high` [3]."""
        meets = (self._boxes[:, 0] <= high).all(1) & (self._boxes[:, 1] >= low).all(1)
        return SolidUnion([self.solids[i] for i in np.flatnonzero(meets)])

    def sdf(self, x: np.ndarray, reach: float) -> np.ndarray:
        """Distances float64 [N] at `x` [N, 3], negative inside; whatever is farther than `reach` counts as `reach`."""
        nearest = np.full(len(x), reach)
        for solid, (low, high) in zip(self.solids, self._boxes, strict=True):
            near = np.flatnonzero(((x >= low - reach) & (x <= high + reach)).all(1))
            if len(near):
                nearest[near] = np.minimum(nearest[near], solid.distance(x[near]))
        return np.maximum(nearest, -reach)

    def surface_points(
        self, count: int, box: np.ndarray, rng: np.random.Generator, thin_weight: float = 1.0
    ) -> SurfacePoints | None:
        """`count` points on the visible surface inside `box` [2, 3], even by area; None when there is hardly any.

        thin_weight: how much denser thin parts are sampled.
        """
        corners = np.concatenate([s.surface.vertices[s.surface.faces] for s in self.solids])  # [F, 3, 3]
        owner = np.repeat(np.arange(len(self.solids)), [len(s.surface.faces) for s in self.solids])
        meets = (corners.min(1) <= box[1]).all(1) & (corners.max(1) >= box[0]).all(1)
        corners, owner = corners[meets], owner[meets]
        if not len(corners):
            return None
        vectors = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(vectors, axis=1)
        traits = np.array([(s.label, s.thin, s.reach) for s in self.solids])
        share = np.cumsum(area * np.where(traits[owner, 1] > 0, thin_weight, 1.0))
        normals = vectors / np.maximum(area, 1e-300)[:, None]
        found: list[SurfacePoints] = []
        for attempt in range(_MAX_ROUNDS):
            face = np.searchsorted(share, rng.random(_ROUND) * share[-1]).clip(max=len(share) - 1)
            label, thin, offset = traits[owner[face]].T
            # Which triangles are sheets only the distance knows: try the middle and both sides, and look.
            shift = offset * rng.integers(-1, 2, _ROUND)
            n = normals[face] * np.where(shift < 0, -1.0, 1.0)[:, None]
            x = _on(corners[face], rng) + n * np.abs(shift)[:, None]
            drawn = SurfacePoints(x, n, label.astype(np.uint8), thin > 0)
            found.append(drawn[self._visible(drawn.x, box)])
            total = sum(len(part.x) for part in found)
            if total >= count or (attempt == 8 and total < count // 64):
                break
        return _joined(found)[:count] if total >= count else None

    def _visible(self, x: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Indices of the points inside the box and on no solid's inside."""
        inside = np.flatnonzero(((x >= box[0]) & (x <= box[1])).all(1))
        return inside[np.abs(self.sdf(x[inside], 2 * _TOUCH)) <= _TOUCH]


def closed_solid(mesh: Mesh | Surface, label: int = VOID) -> Solid:
    """The inside of a watertight mesh whose faces look outward."""
    surface = Surface(np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64))

    def distance(x: np.ndarray) -> np.ndarray:
        return igl.signed_distance(x, surface.vertices, surface.faces, _PSEUDONORMAL)[0]

    return Solid(surface, distance, label)


def solids_of_scene(scene: Scene) -> SolidUnion:
    """The parts of a procedural scene; all of them are watertight."""
    return SolidUnion([closed_solid(part.mesh, class_named(part.name).index) for part in scene.parts])


def solids_of_mesh(mesh: trimesh.Trimesh) -> SolidUnion:
    """The pieces of any mesh: watertight ones are solids of their own, the others together have a robust inside.

    Raises:
        UserError: `E-MESH-DEGENERATE`.
    """
    surface, _ = repair(mesh.vertices, mesh.faces)
    pieces = [Surface(surface.vertices, surface.faces[own]) for own in _pieces(surface)]
    closed = [Mesh(piece.vertices, piece.faces).is_watertight() for piece in pieces]
    solids = [closed_solid(_compact(piece)) for piece, whole in zip(pieces, closed, strict=True) if whole]
    loose = [piece.faces for piece, whole in zip(pieces, closed, strict=True) if not whole]
    if loose:
        solids.append(_open_solid(_compact(Surface(surface.vertices, np.concatenate(loose)))))
    return SolidUnion(solids)


def _open_solid(surface: Surface) -> Solid:
    """Inside by winding number or visibility; sheets become `SHEET` thick."""
    measured = MeshSDF(trimesh.Trimesh(surface.vertices, surface.faces, process=False),
                       thickness=SHEET / surface.diagonal)  # fmt: skip

    def distance(x: np.ndarray) -> np.ndarray:
        return measured.sdf(torch.from_numpy(x)).numpy().astype(np.float64)

    return Solid(measured.surface, distance, reach=SHEET / 2 if measured.report.thin > 0 else 0.0)


def _pieces(surface: Surface) -> list[np.ndarray]:
    """Face indices of each connected piece."""
    labels = trimesh.graph.connected_component_labels(
        np.concatenate([surface.faces[:, [0, 1]], surface.faces[:, [1, 2]]]), node_count=len(surface.vertices)
    )[surface.faces[:, 0]]
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _compact(surface: Surface) -> Surface:
    """The surface without vertices that it does not use."""
    used, faces = np.unique(surface.faces, return_inverse=True)
    return Surface(surface.vertices[used], faces.reshape(-1, 3))


def _on(corners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random point on each triangle [N, 3, 3]."""
    root, split = np.sqrt(rng.random((len(corners), 1))), rng.random((len(corners), 1))
    weights = np.concatenate([1 - root, root * (1 - split), root * split], 1)
    return np.einsum("nk,nkd->nd", weights, corners)


def _joined(parts: Sequence[SurfacePoints]) -> SurfacePoints:
    return SurfacePoints(*(np.concatenate([getattr(part, name) for part in parts])
                           for name in ("x", "normals", "labels", "thin")))  # fmt: skip
