"""STL, binary and ASCII (any number of solids); equal corners become one vertex."""

from __future__ import annotations

import re

import numpy as np

from .raw import MeshLimits, RawMesh, check_counts, check_text, parse_error

_HEADER = 84
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_VERTEX = re.compile(rb"\bvertex\s+(\S+)\s+(\S+)\s+(\S+)", re.IGNORECASE)


def read_stl(content: bytes, where: object, limits: MeshLimits) -> RawMesh:
    """Read an STL file. Binary and ASCII are told apart by the size, as headers may lie.

    Raises:
        UserError: `E-MESH-PARSE` (cut short, or a facet without three vertices), `E-LIMIT-MESH`.
    """
    corners = _ascii(content, where) if _is_ascii(content) else _binary(content, where)
    check_counts(0, len(corners) // 3, where, limits)
    vertices, index = np.unique(corners, axis=0, return_inverse=True)
    return RawMesh(vertices, index.reshape(-1, 3).astype(np.int64))


def _is_ascii(content: bytes) -> bool:
    if len(content) >= _HEADER and len(content) == _HEADER + _FACET.itemsize * _facets(content):
        return False
    return content.lstrip()[:5].lower() == b"solid"


def _facets(content: bytes) -> int:
    return int.from_bytes(content[80:84], "little")


def _binary(content: bytes, where: object) -> np.ndarray:
    if len(content) < _HEADER:
        raise parse_error("STL file is shorter than its header", where, f"{len(content)} bytes", f"{_HEADER}")
    count = _facets(content)
    if count * _FACET.itemsize > len(content) - _HEADER:
        raise parse_error("STL header promises more than the file holds", where,
                          f"{count} facets in {len(content)} bytes")
    facets = np.frombuffer(content, _FACET, count, _HEADER)
    return facets["corners"].reshape(-1, 3).astype(np.float64)


def _ascii(content: bytes, where: object) -> np.ndarray:
    check_text(content, where)
    found = _VERTEX.findall(content)
    if len(found) % 3:
        raise parse_error("STL facet without three vertices", where, f"{len(found)} vertex lines",
                          "three for each facet")
    try:
        return np.array([float(token) for row in found for token in row], np.float64).reshape(-1, 3)
    except ValueError as error:
        raise parse_error("STL vertex is not made of numbers", where, str(error)) from None
