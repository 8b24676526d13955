"""Distances for students that want them, and how far a student's surface is from its teacher's."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from fields.errors import UserError
from fields.field import Field
from fields.mesh import extract_mesh_steps
from fields.progress import Progress
from fields.volume import Volume

from .meshing import MeshOptions, surface_steps
from .teachers import Teacher

_RESOLUTION = 128
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


def with_distances(
    teacher: Teacher, kind: str, preset: str
) -> Generator[Progress, None, tuple[Volume, dict[str, Any] | None]]:
    """The volume that teaches a student of `kind`, and what is to be told about its surface.

    A density field has no distances to teach: the surface that cameras see is extracted first, and the distances
    to that are taught.
    """
    if kind != "sdf" or teacher.volume.kind == "sdf":
        return teacher.volume, None
    from data.distance import distance_volume

    cells = _LATTICE.get(preset, _FINE)
    surface, _ = yield from surface_steps(teacher.volume, MeshOptions(cells), teacher.notes)
    volume, found = yield from distance_volume(teacher.volume, cells, surface=surface)
    return volume, {"direct_watertight": found.watertight, "open_edges": found.open_edges}


def surface_error(target: Volume, student: Field) -> Generator[Progress, None, dict[str, Any]]:
    """Chamfer distance (a share of the diagonal) of the student's mesh from that of the distances taught."""
    from data.mesh_metrics import compare_meshes

    direct = yield from _surface(target)
    taught = yield from _surface(student)
    found = compare_meshes(taught, direct, samples=_SAMPLES)
    return {
        "chamfer": found["chamfer"],
        "fscore": found["fscore"],
        "watertight": bool(found["watertight"]),
        "resolution": _RESOLUTION,
    }


def _surface(volume: Volume) -> Generator[Progress, None, Any]:
    """Where the distance is zero, as a `trimesh.Trimesh`."""
    import trimesh

    mesh = yield from extract_mesh_steps(
        volume.evaluate_geometry, volume.space.bounds, _RESOLUTION, level=0.0, inside="negative"
    )
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
