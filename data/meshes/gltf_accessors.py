"""glTF 2.0 accessors as numpy arrays, every count and offset checked before it is used (section 3.6.2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fields.errors import UserError

from .gltf_container import glb_error
from .raw import MeshLimits

_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Accessors:
    """Reads accessors of one document; `where` names the file in errors."""

    def __init__(self, document: dict, buffers: list[bytes], where: object, limits: MeshLimits) -> None:
        self._document, self._buffers, self._where, self._limits = document, buffers, where, limits

    def read(self, index: Any) -> np.ndarray:
        """Accessor `index` as [count, components], floats in [0, 1] or [-1, 1] when normalized.

        Raises:
            UserError: `E-GLB-ACCESSOR`, `E-GLB-BUFFER`, `E-LIMIT-MESH`.
        """
        place = f"{self._where}:accessors[{index}]"
        accessor = entry(self._document, "accessors", index, "E-GLB-ACCESSOR", self._where)
        dtype = _COMPONENTS.get(accessor.get("componentType", 0))
        width = _WIDTHS.get(accessor.get("type", ""))
        count = accessor.get("count")
        if dtype is None or width is None or not isinstance(count, int) or count < 0:
            raise glb_error("E-GLB-ACCESSOR", "accessor has no valid type or count", place, count)
        if "bufferView" in accessor:
            values = self._strided(accessor, np.dtype(dtype), width, place)
        else:
            self._check_limit(count, place)
            values = np.zeros((count, width), dtype)
        if "sparse" in accessor:
            values = self._sparse(accessor["sparse"], values, place)
        return _normalized(values) if accessor.get("normalized") is True else values

    def _check_limit(self, count: int, place: str) -> None:
        most = max(self._limits.vertices, 3 * self._limits.faces)
        if count > most:
            raise UserError("E-LIMIT-MESH", "accessor is too long", where=place, got=count,
                            expected=f"at most {most}", fix="simplify the mesh first")

    def _strided(self, accessor: dict, dtype: np.dtype, width: int, place: str) -> np.ndarray:
        view, stride = self._view(accessor["bufferView"])
        row = dtype.itemsize * width
        offset, count = accessor.get("byteOffset", 0), accessor["count"]
        stride = stride or row
        if not isinstance(offset, int) or offset < 0 or stride < row:
            raise glb_error("E-GLB-ACCESSOR", "accessor has no valid offset or stride", place, offset)
        if count and offset + stride * (count - 1) + row > len(view):
            raise glb_error("E-GLB-ACCESSOR", "accessor reaches past its buffer view", place,
                            f"{count} items", f"{len(view)} bytes in the view")
        self._check_limit(count, place)
        if not count:
            return np.zeros((0, width), dtype)
        return np.ndarray((count, width), dtype, view, offset, (stride, dtype.itemsize))

    def _view(self, index: Any) -> tuple[memoryview, int]:
        place = f"{self._where}:bufferViews[{index}]"
        view = entry(self._document, "bufferViews", index, "E-GLB-BUFFER", self._where)
        buffer = view.get("buffer")
        if not isinstance(buffer, int) or not 0 <= buffer < len(self._buffers):
            raise glb_error("E-GLB-BUFFER", "buffer view names no buffer", place, buffer)
        start, size, stride = view.get("byteOffset", 0), view.get("byteLength"), view.get("byteStride", 0)
        if not all(isinstance(value, int) and value >= 0 for value in (start, size, stride)):
            raise glb_error("E-GLB-BUFFER", "buffer view has no valid offset, length or stride", place)
        if start + size > len(self._buffers[buffer]):
            raise glb_error("E-GLB-BUFFER", "buffer view reaches past its buffer", place,
                            f"{start} + {size} bytes", f"at most {len(self._buffers[buffer])}")
        return memoryview(self._buffers[buffer])[start : start + size], stride

    def _sparse(self, sparse: Any, values: np.ndarray, place: str) -> np.ndarray:
        """Replace single rows of an accessor (section 3.6.2.3)."""
        try:
            count, where = sparse["count"], sparse["indices"]
            kind = np.dtype(_COMPONENTS[where["componentType"]])
            rows = self._strided({**where, "count": count}, kind, 1, place)
            new = self._strided({**sparse["values"], "count": count}, values.dtype, values.shape[1], place)
            result = values.copy()
            result[rows[:, 0]] = new
        except (KeyError, TypeError, IndexError):
            raise glb_error("E-GLB-ACCESSOR", "sparse accessor is not valid", place) from None
        return result


def entry(document: dict, table: str, index: Any, code: str, where: object) -> dict:
    """`document[table][index]`, or an error that says what is missing."""
    rows = document.get(table, [])
    known = isinstance(rows, list) and isinstance(index, int) and 0 <= index < len(rows)
    if not known or not isinstance(rows[index], dict):
        raise glb_error(code, f"{table} entry does not exist", where, index,
                        f"below {len(rows) if isinstance(rows, list) else 0}")
    return rows[index]


def _normalized(values: np.ndarray) -> np.ndarray:
    """Integers to floats as in section 3.6.2.2 of the specification."""
    if values.dtype.kind == "f":
        return values
    scaled = values.astype(np.float64) / np.iinfo(values.dtype).max
    return np.maximum(scaled, -1.0)
