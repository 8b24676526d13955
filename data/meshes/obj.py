"""Wavefront OBJ: positions, vertex colours and faces. Material files are never opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fields.errors import UserError, raise_all

from .raw import MeshLimits, RawMesh, check_counts, check_text, color_bytes, fan, index_error, parse_error

_NAN = float("nan")


@dataclass
class _Parsed:
    """What the lines of one file gave; `lines` are the line numbers of `polygons`."""

    positions: list[list[float]] = field(default_factory=list)
    colors: list[list[float]] = field(default_factory=list)
    polygons: list[list[int]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    problems: list[UserError] = field(default_factory=list)


def read_obj(content: bytes, where: object, limits: MeshLimits) -> RawMesh:
    """Read an OBJ file; polygons become triangle fans, `vt`, `vn` and materials are passed over.

    A number that cannot be read counts as not finite, which matters only where a face uses the
    vertex. Faces of fewer than three corners have no area and are left out.

    Raises:
        UserError: `E-MESH-INDEX` with the line of every bad face, `E-MESH-PARSE`, `E-LIMIT-MESH`.
    """
    check_text(content, where)
    parsed = _Parsed()
    for line, tokens in _statements(content):
        if tokens[0] == b"v":
            _add_vertex(parsed, tokens)
        elif tokens[0] == b"f":
            _add_face(parsed, tokens, line, where)
    check_counts(len(parsed.positions), len(parsed.polygons), where, limits)
    _check_indices(parsed, where)
    raise_all(parsed.problems)
    vertices = np.array(parsed.positions, np.float64).reshape(-1, 3)
    colored = len(parsed.colors) == len(vertices) > 0
    colors = color_bytes(np.array(parsed.colors, np.float64)) if colored else None
    return RawMesh(vertices, fan(parsed.polygons), colors)


def _statements(content: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Numbered lines as tokens; a backslash at the end of a line continues it."""
    held: list[bytes] = []
    for number, line in enumerate(content.split(b"\n"), 1):
        tokens = line.split()
        if tokens and tokens[-1].endswith(b"\\"):
            held += [*tokens[:-1], tokens[-1][:-1]]
            continue
        tokens = [token for token in held if token] + tokens
        held = []
        if tokens:
            yield number, tokens


def _add_vertex(parsed: _Parsed, tokens: list[bytes]) -> None:
    values = [_number(token) for token in tokens[1:8]]
    parsed.positions.append((values + [_NAN] * 3)[:3])
    if len(values) in (6, 7):
        parsed.colors.append(values[3:6])


def _number(token: bytes) -> float:
    try:
        return float(token)
    except ValueError:
        return _NAN


def _add_face(parsed: _Parsed, tokens: list[bytes], line: int, where: object) -> None:
    try:
        corners = [int(token.split(b"/", 1)[0]) for token in tokens[1:]]
    except ValueError:
        parsed.problems.append(parse_error("face is not made of numbers", f"{where}:{line}",
                                           b" ".join(tokens).decode("latin-1")))
        return
    if len(corners) < 3:
        return
    count = len(parsed.positions)
    parsed.polygons.append([c - 1 if c > 0 else count + c if c < 0 else -1 for c in corners])
    parsed.lines.append(line)


def _check_indices(parsed: _Parsed, where: object) -> None:
    count = len(parsed.positions)
    for polygon, line in zip(parsed.polygons, parsed.lines, strict=True):
        if min(polygon) < 0 or max(polygon) >= count:
            wrong = next(index for index in polygon if not 0 <= index < count)
            parsed.problems.append(index_error(f"{where}:{line}", _as_written(wrong), count))


def _as_written(index: int) -> str:
    """The 1-based number of the file; below 1 it was 0 or counted back past the first vertex."""
    return str(index + 1) if index >= 0 else "0 or a negative number before the first vertex"
