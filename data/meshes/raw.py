"""What every mesh reader returns, and the checks that hold for all formats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fields.errors import UserError

MAX_COORDINATE = 1e6
MIN_EXTENT = 1e-9


@dataclass(frozen=True)
class MeshLimits:
    """The most that one mesh file may hold; above it `E-LIMIT-MESH`."""

    file_bytes: int = 256 * 2**20
    vertices: int = 5_000_000
    faces: int = 10_000_000


@dataclass(frozen=True)
class RawMesh:
    """Triangles as read, before any merging or repair.

    vertices: float64 [V, 3]; faces: int64 [F, 3]; vertex_colors: uint8 sRGB [V, 4] or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    vertex_colors: np.ndarray | None = None


def parse_error(what: str, where: object, got: object = "", expected: str = "") -> UserError:
    """`E-MESH-PARSE` for a file whose content is not what its format says."""
    return UserError("E-MESH-PARSE", what, where=where, got=got, expected=expected,
                     fix="export the mesh again; the file looks damaged")


def index_error(where: object, got: object, count: int) -> UserError:
    """`E-MESH-INDEX` for a face that names a vertex which does not exist."""
    return UserError("E-MESH-INDEX", "face index outside the vertices", where=where, got=got,
                     expected=f"one of {count} vertices", fix="export the mesh again; the file looks damaged")


def check_counts(vertices: int, faces: int, where: object, limits: MeshLimits) -> None:
    """Refuse counts above the limits; call it before allocating anything of that size."""
    for name, count, most in (("vertices", vertices, limits.vertices), ("faces", faces, limits.faces)):
        if count > most:
            raise UserError("E-LIMIT-MESH", f"mesh has too many {name}", where=where, got=count,
                            expected=f"at most {most}", fix="simplify the mesh first")


def check_mesh(raw: RawMesh, where: object, limits: MeshLimits, *, allow_flat: bool = False) -> None:
    """Checks that hold for every format, on the vertices that faces use.

    Raises:
        UserError: `E-MESH-EMPTY`, `-NOFACES`, `-INDEX`, `-NONFINITE`, `-RANGE`, `-DEGENERATE`,
            `E-LIMIT-MESH`.
    """
    _check_present(raw, where)
    check_counts(len(raw.vertices), len(raw.faces), where, limits)
    low, high = int(raw.faces.min()), int(raw.faces.max())
    if low < 0 or high >= len(raw.vertices):
        raise index_error(where, low if low < 0 else high, len(raw.vertices))
    used = np.unique(raw.faces)
    _check_coordinates(raw.vertices[used], used, where)
    if not allow_flat:
        _check_extents(raw.vertices[used], where)


def _check_present(raw: RawMesh, where: object) -> None:
    if len(raw.faces):
        return
    if len(raw.vertices):
        raise UserError("E-MESH-NOFACES", "mesh has no faces", where=where, expected="triangles or polygons",
                        got=f"{len(raw.vertices)} vertices and no face (a point cloud, or a file cut short)",
                        fix="export the surface, not the points")
    raise UserError("E-MESH-EMPTY", "mesh file holds no geometry", where=where, got="no vertex and no face",
                    expected="triangles or polygons", fix="check what was exported")


def _check_coordinates(x: np.ndarray, index: np.ndarray, where: object) -> None:
    bad = ~np.isfinite(x).all(1)
    if bad.any():
        first = int(np.argmax(bad))
        raise UserError("E-MESH-NONFINITE", "vertex coordinate is not a finite number", where=where,
                        got=f"vertex {index[first]} = {x[first].tolist()} and {int(bad.sum()) - 1} more",
                        expected="finite numbers", fix="repair or remove these vertices")
    far = np.abs(x).max(1)
    if far.max() > MAX_COORDINATE:
        raise UserError("E-MESH-RANGE", "vertex coordinate is too large", where=where,
                        got=f"vertex {index[int(far.argmax())]} at {far.max():.3g}",
                        expected=f"magnitudes up to {MAX_COORDINATE:.0e}", fix="scale or centre the mesh")


def _check_extents(x: np.ndarray, where: object) -> None:
    extents = x.max(0) - x.min(0)
    if extents.max() < MIN_EXTENT or extents.min() < 1e-9 * extents.max():
        raise UserError("E-MESH-DEGENERATE", "mesh has no volume", where=where,
                        got="extents " + " x ".join(f"{value:.3g}" for value in extents),
                        expected="three extents above zero", fix="give the surface some thickness")


def fan(polygons: list[list[int]]) -> np.ndarray:
    """Triangles [F, 3] of polygons, as fans around each first corner (right for convex ones)."""
    triangles = [(p[0], p[i], p[i + 1]) for p in polygons for i in range(1, len(p) - 1)]
    return np.array(triangles, np.int64).reshape(-1, 3)


def check_text(content: bytes, where: object) -> None:
    """Refuse binary data in a file whose suffix says text."""
    head = np.frombuffer(content[:65536], np.uint8)
    control = (head < 32) & ~np.isin(head, (9, 10, 11, 12, 13, 26))
    if control.any():
        place = int(np.argmax(control))
        raise parse_error("not a text file", where, f"byte {head[place]:#04x} at offset {place}", "text")


def color_bytes(rgb: np.ndarray, scale: float = 255.0) -> np.ndarray:
    """uint8 RGBA [N, 4] of colours [N, 3 or 4]; white where a value is not finite."""
    values = np.where(np.isfinite(rgb), rgb, 255.0 / scale) * scale
    result = np.full((len(rgb), 4), 255, np.uint8)
    result[:, : rgb.shape[1]] = np.clip(values + 0.5, 0, 255).astype(np.uint8)
    return result


def unit_or_byte_colors(rgb: np.ndarray) -> np.ndarray:
    """uint8 RGBA of float colours [N, 3 or 4] whose scale, 1 or 255, only the values tell."""
    return color_bytes(rgb, 255.0 if np.nanmax(rgb, initial=0.0) <= 1 else 1.0)
