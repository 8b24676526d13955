"""Object File Format (OFF, and COFF with vertex colours)."""

from __future__ import annotations

import numpy as np

from .raw import (
    MeshLimits,
    RawMesh,
    check_counts,
    check_text,
    fan,
    index_error,
    parse_error,
    unit_or_byte_colors,
)

_Line = tuple[int, list[bytes]]


def read_off(content: bytes, where: object, limits: MeshLimits) -> RawMesh:
    """Read an ASCII OFF file; polygons become triangle fans, face colours are passed over.

    Raises:
        UserError: `E-MESH-PARSE`, `E-MESH-INDEX` with the line, `E-LIMIT-MESH`.
    """
    check_text(content, where)
    lines = _lines(content)
    if not lines:
        return RawMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    colored = lines[0][1][0] == b"COFF"
    (vertex_count, face_count), body = _counts(lines, where)
    if vertex_count + face_count > len(body):
        raise parse_error("OFF header promises more than the file holds", where,
                          f"{vertex_count} vertices and {face_count} faces in {len(body)} lines")
    check_counts(vertex_count, face_count, where, limits)
    values = _vertices(body[:vertex_count], 7 if colored else 3, where)
    faces = _faces(body[vertex_count : vertex_count + face_count], vertex_count, where)
    return RawMesh(values[:, :3], faces, unit_or_byte_colors(values[:, 3:]) if colored else None)


def _lines(content: bytes) -> list[_Line]:
    numbered = ((n, line.split(b"#", 1)[0].split()) for n, line in enumerate(content.split(b"\n"), 1))
    return [(number, tokens) for number, tokens in numbered if tokens]


def _counts(lines: list[_Line], where: object) -> tuple[tuple[int, int], list[_Line]]:
    number, tokens = lines[0]
    if tokens[0] not in (b"OFF", b"COFF"):
        raise parse_error("not an OFF file", f"{where}:{number}", tokens[0][:20].decode("latin-1"), "OFF")
    if len(tokens) > 1:
        counts, body = tokens[1:], lines[1:]
    elif len(lines) > 1:
        counts, body = lines[1][1], lines[2:]
    else:
        raise parse_error("OFF file ends after its first line", where)
    if len(counts) < 2 or not all(count.isdigit() for count in counts):
        raise parse_error("OFF counts are not numbers", where, b" ".join(counts).decode("latin-1"),
                          "vertices, faces and edges")
    return (int(counts[0]), int(counts[1])), body


def _vertices(lines: list[_Line], width: int, where: object) -> np.ndarray:
    try:
        rows = [[float(token) for token in tokens[:width]] for _, tokens in lines]
        return np.array(rows, np.float64).reshape(len(lines), width)
    except ValueError:
        raise parse_error("OFF vertex is not made of numbers", where,
                          expected=f"{width} numbers a line") from None


def _faces(lines: list[_Line], count: int, where: object) -> np.ndarray:
    polygons = []
    for number, tokens in lines:
        try:
            size = int(tokens[0])
            polygon = [int(token) for token in tokens[1 : size + 1]]
        except ValueError:
            raise parse_error("OFF face is not made of numbers", f"{where}:{number}") from None
        if size < 0 or len(polygon) != size:
            raise parse_error("OFF face has too few corners", f"{where}:{number}", len(polygon), str(size))
        if polygon and (min(polygon) < 0 or max(polygon) >= count):
            raise index_error(f"{where}:{number}", min(polygon) if min(polygon) < 0 else max(polygon), count)
        polygons.append(polygon)
    return fan(polygons)
