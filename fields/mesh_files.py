"""Writing meshes as GLB, PLY, OBJ or STL: atomic, and counted again before the file takes its name."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .errors import UserError
from .glb import glb_bytes, png_bytes
from .mesh_types import Mesh
from .safeio import write_with

_Counts = tuple[int | None, int]  # vertices (None where the format has none) and faces


def save_mesh(mesh: Mesh, path: str | os.PathLike[str]) -> None:
    """Write `mesh` in the format of the suffix: .glb, .ply (binary), .obj or .stl (binary, no colours).

    Colours are sRGB in PLY and OBJ and linear in GLB, as each format has it.

    Raises:
        UserError: `E-USAGE-FORMAT` for another suffix, `E-MC-EMPTY` for a mesh without faces,
            `E-ENV-WRITE` or `E-ENV-DISK` when the file cannot be written whole.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UserError(
            "E-USAGE-FORMAT",
            "mesh format cannot be written",
            where=path,
            got=suffix or "no suffix",
            expected=" ".join(FORMATS),
            fix="change the suffix of --out",
        )
    if not len(mesh.faces):
        raise UserError(
            "E-MC-EMPTY", "mesh has no faces", where=path, expected="at least one face", fix="choose another --level"
        )
    encode, count = FORMATS[suffix]
    if mesh.texture is not None and suffix not in TEXTURED:
        raise UserError(
            "E-USAGE-FORMAT",
            "format has no textures",
            where=path,
            got=suffix,
            expected=" ".join(TEXTURED),
            fix="change the suffix of --out",
        )

    def save(temporary: str) -> None:
        place = Path(temporary)
        head, beside = _material(mesh, place)
        place.write_bytes(head + encode(mesh))
        _verify(count(place.read_bytes()), mesh, path)
        for other, content in beside.items():
            other.write_bytes(content)

    write_with(path, save)


def files_beside(path: Path) -> tuple[Path, ...]:
    """Further files that a textured mesh at `path` consists of: for OBJ its material and its picture."""
    return (path.with_suffix(".mtl"), path.with_suffix(".png")) if path.suffix.lower() == ".obj" else ()


def _material(mesh: Mesh, path: Path) -> tuple[bytes, dict[Path, bytes]]:
    """Lines at the head of a textured OBJ, and the files beside it."""
    if mesh.texture is None or not files_beside(path):
        return b"", {}
    material, picture = files_beside(path)
    lines = f"newmtl surface\nKd 1 1 1\nmap_Kd {picture.name}\n"
    head = f"mtllib {material.name}\nusemtl surface\n"
    return head.encode(), {picture: png_bytes(mesh.texture), material: lines.encode()}


def _verify(found: _Counts, mesh: Mesh, path: Path) -> None:
    vertices, faces = found
    if faces != len(mesh.faces) or vertices not in (None, len(mesh.vertices)):
        raise UserError(
            "E-ENV-WRITE",
            "mesh file was not written whole",
            where=path,
            got=f"{vertices} vertices, {faces} faces",
            fix="check the disk and write it again",
            expected=f"{len(mesh.vertices)} vertices, {len(mesh.faces)} faces",
        )


def _color_bytes(colors: np.ndarray) -> np.ndarray:
    return (np.clip(colors, 0, 1) * 255 + 0.5).astype(np.uint8)


def _ply(mesh: Mesh) -> bytes:
    fields = [("position", "<f4", 3), ("normal", "<f4", 3)]
    names = ["float x", "float y", "float z", "float nx", "float ny", "float nz"]
    if mesh.colors is not None:
        fields.append(("color", "u1", 3))
        names += ["uchar red", "uchar green", "uchar blue"]
    rows = np.zeros(len(mesh.vertices), np.dtype(fields))
    rows["position"], rows["normal"] = mesh.vertices, mesh.normals()
    if mesh.colors is not None:
        rows["color"] = _color_bytes(mesh.colors)
    faces = np.zeros(len(mesh.faces), np.dtype([("size", "u1"), ("index", "<i4", 3)]))
    faces["size"], faces["index"] = 3, mesh.faces
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(rows)}",
        *(f"property {name}" for name in names),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header",
        "",
    ]
    return "\n".join(header).encode() + rows.tobytes() + faces.tobytes()


def _count_ply(content: bytes) -> _Counts:
    head = content[: content.index(b"end_header")].decode()
    vertices, faces = (int(re.findall(rf"element {name} (\d+)", head)[0]) for name in ("vertex", "face"))
    row = 27 if "uchar red" in head else 24
    complete = len(content) == len(head) + len("end_header\n") + row * vertices + 13 * faces
    return vertices, faces if complete else -1


def _obj(mesh: Mesh) -> bytes:
    columns = mesh.vertices.astype(np.float64)
    pattern = "v %.9g %.9g %.9g"
    if mesh.colors is not None:
        columns = np.concatenate([columns, np.clip(mesh.colors, 0, 1)], 1)
        pattern += " %.4f %.4f %.4f"
    lines = [pattern % tuple(row) for row in columns.tolist()]
    corner = "%d"
    if mesh.uv is not None:
        lines += ["vt %.6f %.6f" % tuple(row) for row in mesh.uv.tolist()]  # noqa: UP031
        corner = "%d/%d"
    faces = np.repeat(mesh.faces + 1, corner.count("%"), axis=1)
    lines += [" ".join(["f", corner, corner, corner]) % tuple(face) for face in faces.tolist()]
    return ("\n".join(lines) + "\n").encode()


def _count_obj(content: bytes) -> _Counts:
    return content.count(b"\nv ") + content.startswith(b"v "), content.count(b"\nf ")


_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def _stl(mesh: Mesh) -> bytes:
    facets = np.zeros(len(mesh.faces), _FACET)
    vectors = mesh.face_vectors()
    facets["normal"] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    facets["corners"] = mesh.vertices[mesh.faces]
    return b"Fieldscape".ljust(80) + struct.pack("<I", len(facets)) + facets.tobytes()


def _count_stl(content: bytes) -> _Counts:
    count = int.from_bytes(content[80:84], "little")
    return None, count if len(content) == 84 + _FACET.itemsize * count else -1


def _count_glb(content: bytes) -> _Counts:
    size = int.from_bytes(content[12:16], "little")
    document = json.loads(content[20 : 20 + size])
    primitive = document["meshes"][0]["primitives"][0]
    counts = [accessor["count"] for accessor in document["accessors"]]
    complete = int.from_bytes(content[8:12], "little") == len(content)
    return counts[primitive["attributes"]["POSITION"]], counts[primitive["indices"]] // 3 if complete else -1


FORMATS: dict[str, tuple[Callable[[Mesh], bytes], Callable[[bytes], _Counts]]] = {
    ".glb": (glb_bytes, _count_glb),
    ".ply": (_ply, _count_ply),
    ".obj": (_obj, _count_obj),
    ".stl": (_stl, _count_stl),
}
TEXTURED = (".glb", ".obj")
