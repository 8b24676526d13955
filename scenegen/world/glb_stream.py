"""A binary glTF 2.0 file that is written mesh by mesh: the geometry goes to a stream, the header is made last.

Only the description of each mesh stays in memory, some kilobytes. Layout and limits: Khronos, "glTF 2.0
Specification", 3.6 (accessors), 3.7.2 (meshes) and 4.4 (GLB).
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from fields.errors import UserError

MAX_BYTES = 2**32 - 1  # of a GLB: its header counts in 32 bits
_FLOAT, _UINT32, _UINT16 = 5126, 5125, 5123
_VERTEX_DATA, _INDEX_DATA = 34962, 34963
_MAX_SHORT = 2**16 - 1  # vertices: the last index of 16 bits restarts primitives
_DESCRIPTION = 2**13  # bytes of text that a mesh takes at most


class GlbStream:
    """Collects meshes, each a node of its own below one root node."""

    def __init__(self, binary: BinaryIO, material: Callable[[str], dict[str, object]]) -> None:
        """
        Args:
            binary: an empty file for the geometry, readable too.
            material: the glTF material of a name that a mesh uses.
        """
        self._binary, self._material = binary, material
        self._length = 0
        self._views: list[str] = []  # JSON: a tenth of the memory of dictionaries
        self._accessors: list[str] = []
        self._meshes: list[str] = []
        self._names: list[str] = []
        self._materials: dict[str, int] = {}

    def add(self, name: str, positions: np.ndarray, normals: np.ndarray, faces: Mapping[str, np.ndarray]) -> None:
        """A mesh with positions and unit normals [V, 3], and faces [F, 3] by the name of their material.

        Raises:
            UserError: `E-LIMIT-GLB` when the file would be larger than the format allows.
        """
        positions = positions.astype("<f4")
        bounds = {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}
        attributes = {
            "POSITION": self._array(positions, "VEC3", self._view(positions, _VERTEX_DATA), 0, bounds),
            "NORMAL": self._array(normals.astype("<f4"), "VEC3", self._view(normals.astype("<f4"), _VERTEX_DATA), 0),
        }
        kind = "<u2" if len(positions) <= _MAX_SHORT else "<u4"
        parts = {key: part.astype(kind).reshape(-1) for key, part in faces.items() if len(part)}
        view, offset, primitives = self._view(np.concatenate(list(parts.values())), _INDEX_DATA), 0, []
        for key, part in parts.items():
            indices = self._array(part, "SCALAR", view, offset)
            number = self._materials.setdefault(key, len(self._materials))
            primitives.append({"attributes": attributes, "indices": indices, "material": number, "mode": 4})
            offset += part.nbytes
        self._names.append(name)
        self._meshes.append(_json({"name": name, "primitives": primitives}))
        if self._length + len(self._meshes) * _DESCRIPTION > MAX_BYTES:
            raise UserError("E-LIMIT-GLB", "scene is too large for one GLB file", got=f"{len(self._meshes)} parts",
                            expected=f"less than {MAX_BYTES} bytes", fix="mesh it at fewer cells")  # fmt: skip

    def finish(self, file: BinaryIO, translation: Sequence[float]) -> int:
        """Write header, description and geometry to `file`; how many bytes. `translation` moves the root node."""
        text = self._document(translation).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + self._length
        file.write(struct.pack("<4sII", b"glTF", 2, size))
        file.write(struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", self._length, b"BIN\0"))
        self._binary.seek(0)
        shutil.copyfileobj(self._binary, file, 2**16)
        return size

    def _document(self, translation: Sequence[float]) -> str:
        children = [{"name": name, "mesh": number} for number, name in enumerate(self._names)]
        root = {"name": "scene", "translation": list(translation), "children": list(range(1, len(children) + 1))}
        head = {
            "asset": {"version": "2.0", "generator": "Fieldscape"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [root, *children],
            "materials": [self._material(name) for name in self._materials],
            "buffers": [{"byteLength": self._length}],
        }
        lists = {"meshes": self._meshes, "accessors": self._accessors, "bufferViews": self._views}
        tail = ",".join(f'"{name}":[{",".join(parts)}]' for name, parts in lists.items())
        return f"{_json(head)[:-1]},{tail}}}"

    def _view(self, values: np.ndarray, target: int) -> int:
        """Append values to the geometry; the number of their buffer view."""
        content = values.tobytes()
        self._binary.write(content + bytes(-len(content) % 4))
        view = {"buffer": 0, "byteOffset": self._length, "byteLength": len(content), "target": target}
        self._views.append(_json(view))
        self._length += len(content) + -len(content) % 4
        return len(self._views) - 1

    def _array(
        self, values: np.ndarray, kind: str, view: int, offset: int, bounds: Mapping[str, object] | None = None
    ) -> int:
        """Describe values that lie in a view; the number of their accessor."""
        component = {"f4": _FLOAT, "u2": _UINT16, "u4": _UINT32}[values.dtype.str[1:]]
        accessor = {"bufferView": view, "byteOffset": offset, "componentType": component, "type": kind}
        self._accessors.append(_json({**accessor, "count": len(values), **(bounds or {})}))
        return len(self._accessors) - 1


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
