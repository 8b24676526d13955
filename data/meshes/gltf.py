"""glTF 2.0 models (.glb, .gltf) as one triangle mesh in world coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .gltf_accessors import Accessors, entry
from .gltf_container import glb_error, load_buffers, read_glb
from .gltf_nodes import world_matrices
from .raw import MeshLimits, RawMesh, check_counts, color_bytes, index_error

_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_UNREADABLE = ("KHR_draco_mesh_compression", "EXT_meshopt_compression")


def read_gltf(document: Any, binary: bytes, path: Path, limits: MeshLimits) -> RawMesh:
    """Every triangle of the default scene, transformed; textures are never opened.

    Colours are COLOR_0 times the material's base colour factor, converted from linear to sRGB.

    Raises:
        UserError: `E-GLB-*`, `E-MESH-INDEX`, `E-LIMIT-MESH`, `E-PATH-ESCAPE`, `E-URI-SCHEME`.
    """
    _check_document(document, path)
    buffers = load_buffers(document, binary, path, limits.file_bytes)
    accessors = Accessors(document, buffers, path.name, limits)
    parts: list[RawMesh] = []
    for mesh, matrix in world_matrices(document, path.name):
        parts += [_placed(part, matrix) for part in _primitives(document, mesh, accessors, path)]
        check_counts(sum(len(p.vertices) for p in parts), sum(len(p.faces) for p in parts), path, limits)
    return _joined(parts)


def read_glb_mesh(content: bytes, path: Path, limits: MeshLimits) -> RawMesh:
    """`read_gltf` of the bytes of a .glb file."""
    document, binary = read_glb(content, path)
    return read_gltf(document, binary, path, limits)


def _check_document(document: Any, path: Path) -> None:
    if not isinstance(document, dict):
        raise glb_error("E-GLB-JSON", "glTF document is not an object", path, type(document).__name__)
    version = document.get("asset", {}).get("version") if isinstance(document.get("asset"), dict) else None
    if not isinstance(version, str) or not version.startswith("2."):
        raise glb_error("E-GLB-VERSION", "glTF version is not supported", path, version, "2.0")
    for name in ("buffers", "nodes", "scenes", "meshes"):
        if not isinstance(document.get(name, []), list):
            raise glb_error("E-GLB-JSON", f"{name} is not a list", path)
    required = document.get("extensionsRequired", [])
    for name in required if isinstance(required, list) else []:
        if name in _UNREADABLE:
            raise glb_error("E-GLB-EXTENSION", "compressed glTF is not supported", path, name,
                            "plain buffers")


def _primitives(document: dict, mesh: Any, accessors: Accessors, path: Path) -> Iterator[RawMesh]:
    rows = entry(document, "meshes", mesh, "E-GLB-NODES", path).get("primitives", [])
    for number, primitive in enumerate(rows if isinstance(rows, list) else []):
        place = f"{path.name}:meshes[{mesh}].primitives[{number}]"
        attributes = primitive.get("attributes") if isinstance(primitive, dict) else None
        if not isinstance(attributes, dict):
            raise glb_error("E-GLB-JSON", "primitive has no attributes", place)
        mode = primitive.get("mode", _TRIANGLES)
        if "POSITION" not in attributes or mode not in (_TRIANGLES, _STRIP, _FAN):
            continue
        vertices = accessors.read(attributes["POSITION"]).astype(np.float64)
        if vertices.shape[1] != 3:
            raise glb_error("E-GLB-ACCESSOR", "positions are not 3D", place, vertices.shape[1])
        yield RawMesh(vertices, _faces(primitive, mode, vertices, accessors, place),
                      _colors(document, primitive, len(vertices), accessors, place))


def _faces(primitive: dict, mode: int, vertices: np.ndarray, accessors: Accessors, place: str) -> np.ndarray:
    count = len(vertices)
    index = accessors.read(primitive["indices"])[:, 0] if "indices" in primitive else np.arange(count)
    index = index.astype(np.int64)
    if mode != _TRIANGLES and len(index) < 3:
        return np.zeros((0, 3), np.int64)
    if len(index) and not 0 <= index.min() <= index.max() < count:
        raise index_error(place, int(index.max()), count)
    if mode == _TRIANGLES:
        return index[: len(index) // 3 * 3].reshape(-1, 3)
    if mode == _FAN:
        return np.stack([np.broadcast_to(index[:1], index[2:].shape), index[1:-1], index[2:]], 1)
    strip = np.stack([index[:-2], index[1:-1], index[2:]], 1)
    strip[1::2] = strip[1::2, ::-1]
    return strip


def _colors(
    document: dict, primitive: dict, count: int, accessors: Accessors, place: str
) -> np.ndarray | None:
    factor = _base_color(document, primitive, place)
    if "COLOR_0" not in primitive["attributes"]:
        return None if factor is None else np.tile(_srgb_bytes(factor[None, :3]), (count, 1))
    linear = accessors.read(primitive["attributes"]["COLOR_0"])[:, :3].astype(np.float64)
    if linear.shape != (count, 3):
        raise glb_error("E-GLB-ACCESSOR", "colours do not match positions", place, len(linear), str(count))
    return _srgb_bytes(linear if factor is None else linear * factor[:3])


def _base_color(document: dict, primitive: dict, place: str) -> np.ndarray | None:
    if "material" not in primitive:
        return None
    material = entry(document, "materials", primitive["material"], "E-GLB-JSON", place)
    pbr = material.get("pbrMetallicRoughness", {})
    factor = pbr.get("baseColorFactor") if isinstance(pbr, dict) else None
    if isinstance(factor, list) and len(factor) == 4 and all(isinstance(v, int | float) for v in factor):
        return np.array(factor, np.float64)
    return None


def _srgb_bytes(linear: np.ndarray) -> np.ndarray:
    """Linear light to sRGB bytes (IEC 61966-2-1)."""
    linear = np.clip(np.nan_to_num(linear, nan=1.0), 0, 1)
    curve = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return color_bytes(np.where(linear <= 0.0031308, 12.92 * linear, curve))


def _placed(part: RawMesh, matrix: np.ndarray) -> RawMesh:
    """Transformed to the world; mirrored faces are turned back so that they keep facing outward."""
    with np.errstate(invalid="ignore", over="ignore"):
        vertices = part.vertices @ matrix[:3, :3].T + matrix[:3, 3]
        mirrored = np.linalg.det(matrix[:3, :3]) < 0
    return RawMesh(vertices, part.faces[:, ::-1] if mirrored else part.faces, part.vertex_colors)


def _joined(parts: list[RawMesh]) -> RawMesh:
    if not parts:
        return RawMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)])
    colors = None
    if any(part.vertex_colors is not None for part in parts):
        white = [np.full((len(part.vertices), 4), 255, np.uint8) for part in parts]
        colors = np.concatenate([w if p.vertex_colors is None else p.vertex_colors
                                 for p, w in zip(parts, white, strict=True)])
    return RawMesh(np.concatenate([part.vertices for part in parts]), faces, colors)
