"""Any mesh file as one `trimesh.Trimesh`, or one line that says what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh

from fields.errors import UserError
from fields.safeio import parse_json

from .gltf import read_glb_mesh, read_gltf
from .obj import read_obj
from .off import read_off
from .ply import read_ply
from .raw import MeshLimits, RawMesh, check_mesh, parse_error
from .stl import read_stl

_Reader = Callable[[bytes, Path, MeshLimits], RawMesh]


def _read_gltf_mesh(content: bytes, path: Path, limits: MeshLimits) -> RawMesh:
    return read_gltf(parse_json(content, path), b"", path, limits)


READERS: dict[str, _Reader] = {
    ".obj": read_obj,
    ".ply": read_ply,
    ".stl": read_stl,
    ".off": read_off,
    ".glb": read_glb_mesh,
    ".gltf": _read_gltf_mesh,
}
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".3mf", ".kmz")
_ARCHIVE_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"7z\xbc\xaf")


def load_mesh(
    path: str | os.PathLike[str], limits: MeshLimits | None = None, *, allow_flat: bool = False
) -> trimesh.Trimesh:
    """Read OBJ, PLY, GLB, glTF, STL or OFF; the suffix decides.

    Scenes become one mesh in world coordinates. Vertex colours and base colours are kept as vertex
    colours; textures and material files are never opened. Vertices that no face uses are dropped,
    nothing else is merged or repaired (see `data.mesh_sdf` for that). `allow_flat` admits meshes
    without volume, such as a ground tile that is one part of a scene.

    Raises:
        UserError: `E-MESH-*`, `E-GLB-*`, `E-JSON-*`, `E-LIMIT-MESH`, `E-LIMIT-ARCHIVE`, `E-PATH-ESCAPE`,
            `E-URI-SCHEME`; nothing else.
    """
    path, limits = Path(path), limits or MeshLimits()
    content = _read(path, limits)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError("E-MESH-FORMAT", "mesh format is not known", where=path,
                        got=path.suffix or "no suffix", expected=" ".join(READERS),
                        fix="convert the mesh to one of these formats")
    try:
        with np.errstate(all="ignore"):  # what is not finite is found by `check_mesh`
            raw = reader(content, path, limits) if content or path.suffix.lower() == ".glb" else _EMPTY
    except UserError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise parse_error("mesh file cannot be read", path, f"{type(error).__name__}: {error}") from None
    check_mesh(raw, path, limits, allow_flat=allow_flat)
    return _as_trimesh(raw)


_EMPTY = RawMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))


def _read(path: Path, limits: MeshLimits) -> bytes:
    if path.suffix.lower() in _ARCHIVES:
        raise _archive_error(path)
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise OSError("not a regular file")
        if size > limits.file_bytes:
            raise UserError("E-LIMIT-MESH", "mesh file is too large", where=path, got=f"{size} bytes",
                            expected=f"at most {limits.file_bytes}", fix="simplify the mesh first")
        content = path.read_bytes()
    except OSError as error:
        raise UserError("E-MESH-MISSING", "mesh file cannot be opened", where=path,
                        got=error.strerror or str(error), expected="a readable file",
                        fix="check the path") from None
    if content.startswith(_ARCHIVE_MAGIC):
        raise _archive_error(path)
    return content


def _archive_error(path: Path) -> UserError:
    return UserError("E-LIMIT-ARCHIVE", "archives are not opened", where=path, got="a compressed archive",
                     expected=" ".join(READERS), fix="unpack it and name the mesh file inside")


def _as_trimesh(raw: RawMesh) -> trimesh.Trimesh:
    used, faces = np.unique(raw.faces, return_inverse=True)
    colors = None if raw.vertex_colors is None else raw.vertex_colors[used]
    return trimesh.Trimesh(raw.vertices[used], faces.reshape(-1, 3), vertex_colors=colors, process=False)
