"""Polygon File Format (PLY), ASCII and binary of both byte orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .ply_header import Element, Header, read_header
from .raw import MeshLimits, RawMesh, check_counts, color_bytes, fan, parse_error, unit_or_byte_colors

_Columns = dict[str, Any]  # name -> array [count], or a list of lists for list properties
_Reader = Callable[[Element], _Columns]
_INDEX_NAMES = ("vertex_indices", "vertex_index")


def read_ply(content: bytes, where: object, limits: MeshLimits) -> RawMesh:
    """Read a PLY file: positions, vertex colours and faces; everything else is passed over.

    Raises:
        UserError: `E-MESH-PARSE` (also when the counts promise more than the data), `E-LIMIT-MESH`.
    """
    header = read_header(content, where)
    _check_size(header, len(content) - header.start, where)
    for element in header.elements:
        check_counts(element.count if element.name == "vertex" else 0,
                     element.count if element.name == "face" else 0, where, limits)
    reader: _Reader = (_BinaryRows if header.order else _TextRows)(content, header, where)
    tables = {element.name: reader(element) for element in header.elements}
    return _assemble(tables, where)


def _check_size(header: Header, available: int, where: object) -> None:
    """The least number of bytes that the counts need, before anything is allocated."""
    for element in header.elements:
        sizes = (np.dtype(p.count_type or p.type).itemsize for p in element.properties)
        least = element.count * (sum(sizes) if header.order else 2 * len(element.properties))
        if least > available + 1 or (element.count and not element.properties):
            raise parse_error("PLY header promises more than the file holds", where,
                              f"{element.count} x {element.name} in {available} bytes")


class _BinaryRows:
    """Reads the elements of a binary PLY one after another."""

    def __init__(self, content: bytes, header: Header, where: object) -> None:
        self._content, self._order, self._offset, self._where = content, header.order, header.start, where

    def __call__(self, element: Element) -> _Columns:
        if element.has_lists:
            return self._uniform(element) or self._ragged(element)
        return self._table(element, np.dtype([(p.name, self._order + p.type) for p in element.properties]))

    def _table(self, element: Element, dtype: np.dtype) -> _Columns:
        rows = self._take(dtype, element.count)
        return {name: rows[name] for name in dtype.names or ()}

    def _take(self, dtype: np.dtype, count: int) -> np.ndarray:
        if self._offset + dtype.itemsize * count > len(self._content):
            raise parse_error("PLY data is cut short", self._where, f"{len(self._content)} bytes")
        rows = np.frombuffer(self._content, dtype, count, self._offset)
        self._offset += dtype.itemsize * count
        return rows

    def _uniform(self, element: Element) -> _Columns | None:
        """All lists as long as those of the first row: one array; None when that does not hold."""
        start = self._offset
        if not element.count:
            return {p.name: [] for p in element.properties}
        first = self._row(element)
        self._offset = start
        fields: list[tuple] = []
        for p in element.properties:
            if p.count_type:
                fields += [("#" + p.name, self._order + p.count_type),
                           (p.name, self._order + p.type, (len(first[p.name]),))]
            else:
                fields.append((p.name, self._order + p.type))
        dtype = np.dtype(fields)
        if start + dtype.itemsize * element.count > len(self._content):
            return None
        rows = self._take(dtype, element.count)
        if all((rows["#" + p.name] == len(first[p.name])).all() for p in element.properties if p.count_type):
            return {p.name: rows[p.name] for p in element.properties}
        self._offset = start
        return None

    def _ragged(self, element: Element) -> _Columns:
        rows = [self._row(element) for _ in range(element.count)]
        return {p.name: [row[p.name] for row in rows] for p in element.properties}

    def _row(self, element: Element) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for p in element.properties:
            if p.count_type:
                size = int(self._take(np.dtype(self._order + p.count_type), 1)[0])
                row[p.name] = self._take(np.dtype(self._order + p.type), max(size, 0)).tolist()
            else:
                row[p.name] = self._take(np.dtype(self._order + p.type), 1)[0]
        return row


class _TextRows:
    """Reads the elements of an ASCII PLY one after another."""

    def __init__(self, content: bytes, header: Header, where: object) -> None:
        self._tokens, self._next, self._where = content[header.start :].split(), 0, where

    def __call__(self, element: Element) -> _Columns:
        if element.has_lists:
            rows = [self._row(element) for _ in range(element.count)]
            return {p.name: [row[p.name] for row in rows] for p in element.properties}
        width = len(element.properties)
        values = np.array(self._take(width * element.count)).reshape(element.count, width)
        return {p.name: values[:, i] for i, p in enumerate(element.properties)}

    def _take(self, count: int) -> list[float]:
        tokens = self._tokens[self._next : self._next + count]
        if len(tokens) < count:
            raise parse_error("PLY data is cut short", self._where, f"{len(self._tokens)} numbers")
        self._next += count
        try:
            return [float(token) for token in tokens]
        except ValueError as error:
            raise parse_error("PLY value is not a number", self._where, str(error)) from None

    def _row(self, element: Element) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for p in element.properties:
            value = self._take(1)[0]
            row[p.name] = self._take(max(int(value), 0)) if p.count_type and value == value else value
        return row


def _assemble(tables: dict[str, _Columns], where: object) -> RawMesh:
    vertex = tables.get("vertex", {})
    if vertex and not {"x", "y", "z"} <= vertex.keys():
        raise parse_error("PLY vertices have no position", where, ", ".join(vertex), "x, y and z")
    vertices = np.stack([np.asarray(vertex[k], np.float64) for k in "xyz"], 1) if vertex else np.zeros((0, 3))
    face = tables.get("face", {})
    polygons: Any = next((face[name] for name in _INDEX_NAMES if name in face), [])
    return RawMesh(vertices, _triangles(polygons, where), _colors(vertex))


def _triangles(polygons: Any, where: object) -> np.ndarray:
    try:
        if isinstance(polygons, np.ndarray) and polygons.ndim == 2:
            steps = range(1, polygons.shape[1] - 1)
            corners = [polygons[:, [0, i, i + 1]] for i in steps]
            return np.stack(corners, 1).reshape(-1, 3).astype(np.int64) if corners else fan([])
        return fan([[int(index) for index in polygon] for polygon in polygons])
    except (TypeError, ValueError, OverflowError):
        raise parse_error("PLY face is not a list of indices", where) from None


def _colors(vertex: _Columns) -> np.ndarray | None:
    if not {"red", "green", "blue"} <= vertex.keys():
        return None
    rgb = np.stack([np.asarray(vertex[name]) for name in ("red", "green", "blue")], 1)
    return unit_or_byte_colors(rgb) if rgb.dtype.kind == "f" else color_bytes(rgb, 1.0)
