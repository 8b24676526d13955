"""Distances for students that want them, and how far a student's surface is from its teacher's."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from fields.errors import UserError
from fields.field import Field
from fields.mesh import Mesh
from fields.progress import Progress
from fields.volume import Volume

from .meshing import MeshOptions, surface_steps
from .teachers import Teacher

_LATTICE, _FINE = {"tiny": 64, "small": 192}, 256  # cells of taught distances, no finer than the student is
_SAMPLES = 30_000


def check_kind(teacher: Teacher, kind: str) -> None:
    """Refuse what cannot be taught, before any work.

    Raises:
        UserError: `E-USAGE-KIND`.
    """
    if kind == "sdf" and teacher.volume.kind == "density" and teacher.volume.space.unbounded:
        raise UserError(
            "E-USAGE-KIND",
            "an unbounded scene has no inside",
            where=teacher.path,
            got="--kind sdf",
            expected="a teacher with a bounded box",
            fix="leave --kind out, or cut a box out of it with --crop",
        )


@dataclass(frozen=True)
class DirectSurface:
    """A radiance teacher's own surface, as the `mesh` command extracts it: what its distances are measured to."""

    mesh: Mesh
    resolution: int  # cells along the longest side
    open_edges: int


def with_distances(
    teacher: Teacher, kind: str, preset: str
) -> Generator[Progress, None, tuple[Volume, DirectSurface | None]]:
    """The volume that teaches a student of `kind`, and the surface it was made from.

    A density field has no distances to teach: the surface that cameras see is extracted first, and the distances
    to that are taught.
    """
    if kind != "sdf" or teacher.volume.kind == "sdf":
        return teacher.volume, None
    from data.distance import distance_volume

    cells = _LATTICE.get(preset, _FINE)
    surface, _ = yield from surface_steps(teacher.volume, MeshOptions(cells), teacher.notes)
    volume, found = yield from distance_volume(teacher.volume, cells, surface=surface)
    return volume, DirectSurface(surface, cells, found.open_edges)


def surface_error(direct: DirectSurface, student: Field) -> Generator[Progress, None, dict[str, Any]]:
    """Chamfer distance (a share of the diagonal) of the student's mesh from its teacher's own, both extracted alike."""
    from data.mesh_metrics import compare_meshes

    mesh, _ = yield from surface_steps(student, MeshOptions(direct.resolution), {})
    found = compare_meshes(_loaded(mesh), _loaded(direct.mesh), samples=_SAMPLES)
    return {
        "chamfer": found["chamfer"],
        "fscore": found["fscore"],
        "watertight": bool(found["watertight"]),
        "direct_watertight": direct.mesh.is_watertight(),
        "open_edges": direct.open_edges,
        "resolution": direct.resolution,
    }


def _loaded(mesh: Mesh) -> Any:
    """As a `trimesh.Trimesh`."""
    import trimesh

    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
