"""What a conversion starts from: a field, a mesh, or an edit of them."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fields.checkpoint import read_header
from fields.progress import Progress
from fields.volume import Volume

from .editing import Edit, apply_edits, merged_fields
from .library import OpenField, open_field
from .viewpoint import Viewpoint, of_field


@dataclass(frozen=True)
class Teacher:
    """A volume that can teach, with what is known about it.

    `identity` tells one teacher from another when a conversion is resumed: the checksum of its file and its edits.
    `remarks` are worth telling people.
    """

    volume: Volume
    name: str
    path: Path
    notes: dict[str, Any]
    identity: str
    remarks: tuple[str, ...] = field(default=())

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.volume.parameters())

    @property
    def view(self) -> Viewpoint:
        """From where it is looked at by default."""
        return of_field(self.volume, self.notes)

    @property
    def chain(self) -> list[dict[str, Any]]:
        """The conversions that led to it, oldest first."""
        found = self.notes.get("conversions", [])
        return [link for link in found if _is_link(link)] if isinstance(found, list) else []


def _is_link(value: object) -> bool:
    """Whether a note of some file is an entry as conversions write it."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("psnr"), (int, float))
        and all(isinstance(value.get(key), str) for key in ("from", "to", "kind"))
    )


def teacher_of(opened: OpenField) -> Teacher:
    """A field as a teacher."""
    header = read_header(opened.path)
    return Teacher(opened.field, opened.field.name, opened.path, opened.notes, str(header["sha256"]))


def names_mesh_teacher(text: str) -> bool:
    """Whether FIELD is a mesh file, by its suffix."""
    from data.meshes import READERS

    path = Path(text)
    return path.suffix.lower() in READERS and not path.is_dir()


def open_teacher(text: str, device: str = "cpu", edits: Sequence[Edit] = ()) -> Generator[Progress, None, Teacher]:
    """The teacher that FIELD names (a run folder, a field file, or a mesh file), after some edits.

    Raises:
        UserError: `E-CKPT-…`, `E-USAGE-EDIT`, or what reading the mesh refuses.
    """
    if names_mesh_teacher(text):
        found = yield from _mesh_teacher(text, device)
    else:
        found = teacher_of(open_field(text, device))
    return (yield from _edited(found, edits, device)) if edits else found


def _edited(teacher: Teacher, edits: Sequence[Edit], device: str) -> Generator[Progress, None, Teacher]:
    merged: dict[str, Teacher] = {}
    for name in merged_fields(edits):
        merged[name] = yield from open_teacher(name, device)
    volume = apply_edits(teacher.volume, {name: other.volume for name, other in merged.items()}, edits)
    chain = [*teacher.chain, *(link for other in merged.values() for link in other.chain)]
    notes = {**teacher.notes, "conversions": chain, "edits": [edit.what for edit in edits]}
    notes.pop("poses", None)  # an edit may have moved the scene
    view = notes.get("viewpoint")
    if isinstance(view, dict):
        notes["viewpoint"] = view | _seen_whole(volume, teacher.volume, view)
    identity = " ".join([teacher.identity, *(other.identity for other in merged.values()), repr(tuple(edits))])
    return replace(teacher, volume=volume, name=f"edited {teacher.name}", notes=notes, identity=identity)


def _seen_whole(edited: Volume, before: Volume, view: dict[str, Any]) -> dict[str, Any]:
    """Centre and distance that show an edited scene as the original was shown."""
    low, high = edited.occupancy.occupied_box().cpu()
    was_low, was_high = before.occupancy.occupied_box().cpu()
    scale = float((high - low).norm() / (was_high - was_low).norm())
    return {"centre": ((low + high) / 2).tolist(), "distance": scale * float(view.get("distance", 1.0))}


def _mesh_teacher(text: str, device: str) -> Generator[Progress, None, Teacher]:
    from data.distance import mesh_volume_steps
    from data.meshes import load_mesh

    path = Path(text)
    mesh = load_mesh(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    volume = yield from mesh_volume_steps(mesh)
    notes = {"source": path.name, "colors": mesh.visual is not None and bool(mesh.visual.defined)}
    return Teacher(volume.to(device), "mesh", path, notes, digest)
