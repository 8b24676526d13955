"""Layouts as JSON: written whole, read strictly, all problems of a file told together."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fields.errors import UserError, raise_all
from fields.safeio import read_json, write_json

from .files import is_regular
from .layout import Area, Layout, ObjectBox, Opening, Wall
from .palette import BY_NAME, WORLDS

FORMAT, VERSION = "fieldscape-layout", 1
MAX_METRES = 20_000.0
MAX_ENTRIES = 200_000
MAX_CORNERS = 4096
_TABLES = ("areas", "walls", "openings", "objects")


def save_layout(layout: Layout, path: str | os.PathLike[str]) -> None:
    """Write a layout as JSON.

    Raises:
        UserError: `E-ENV-WRITE`, `E-ENV-DISK`.
    """
    write_json(path, _document(layout))


def encode_layout(layout: Layout) -> bytes:
    """What `save_layout` writes, on one line."""
    return (json.dumps(_document(layout), allow_nan=False) + "\n").encode()


def _document(layout: Layout) -> dict[str, Any]:
    tables = {name: [asdict(entry) for entry in getattr(layout, name)] for name in _TABLES}
    return {"format": FORMAT, "version": VERSION, "world": layout.world, "bounds": layout.bounds, **tables}


def read_layout(path: str | os.PathLike[str]) -> Layout:
    """Read what `save_layout` writes; every number, name and key is checked.

    Raises:
        UserError: `E-LAYOUT-FILE`, `E-JSON-*`, `E-LAYOUT-FORMAT`, `E-LIMIT-LAYOUT`, and together as
            `UserErrors`: `E-LAYOUT-VALUE`, `E-LAYOUT-CLASS`, `E-LAYOUT-KEY`.
    """
    path = Path(path)
    if not is_regular(path):
        raise UserError(
            "E-LAYOUT-FILE", "layout file cannot be opened", where=path, got="no regular file",
            expected="a layout as JSON", fix="check the path",
        )  # fmt: skip
    document = read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("version") != VERSION:
        got = document.get("format", "no format") if isinstance(document, dict) else type(document).__name__
        raise UserError(
            "E-LAYOUT-FORMAT", "not a layout of this version", where=path, got=got,
            expected=f'"format": "{FORMAT}", "version": {VERSION}', fix="export the layout again",
        )  # fmt: skip
    return _Reader(path).layout(document)


class _Reader:
    """Turns JSON values into layout entries; remembers what is wrong in place of stopping."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problems: list[UserError] = []
        self._place = ""

    def layout(self, document: dict[str, Any]) -> Layout:
        self._keys(document, {"format", "version", "world", "bounds", *_TABLES})
        world = self._one_of(document, "world", WORLDS)
        bounds = self._numbers(document, "bounds", 4)
        if bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
            self._bad("bounds", bounds, "x0 < x1 and z0 < z1")
        areas = self._table(document, "areas", self._area)
        walls = self._table(document, "walls", self._wall)
        self._walls = walls
        openings = self._table(document, "openings", self._opening)
        objects = self._table(document, "objects", self._object)
        raise_all(self._problems)
        return Layout(world, bounds, areas, walls, openings, objects)  # type: ignore[arg-type]

    def _table(self, document: dict[str, Any], name: str, read: Callable[[dict[str, Any]], Any]) -> tuple[Any, ...]:
        rows = document.get(name, [])
        if not isinstance(rows, list):
            self._place = ""
            self._bad(name, type(rows).__name__, "a list")
            return ()
        if len(rows) > MAX_ENTRIES:
            raise UserError(
                "E-LIMIT-LAYOUT", f"layout has too many {name}", where=self._path, got=len(rows),
                expected=f"at most {MAX_ENTRIES}", fix="split the layout",
            )  # fmt: skip
        found = []
        for number, row in enumerate(rows):
            self._place = f"{name}[{number}]"
            if isinstance(row, dict):
                found.append(read(row))
            else:
                self._bad("", type(row).__name__, "an object with keys")
        return tuple(found)

    def _area(self, row: dict[str, Any]) -> Area:
        self._keys(row, {"name", "polygon", "label"})
        corners = row.get("polygon")
        if not isinstance(corners, list) or not 3 <= len(corners) <= MAX_CORNERS:
            self._bad("polygon", corners, f"3 to {MAX_CORNERS} points [x, z]")
            corners = []
        polygon = tuple(self._vector(corner, "polygon", 2) for corner in corners)
        label = row.get("label", "")
        if not isinstance(label, str) or len(label) > 100 or not label.isprintable():
            self._bad("label", label, "a short text")
        return Area(self._class(row), polygon, label)  # type: ignore[arg-type]

    def _wall(self, row: dict[str, Any]) -> Wall:
        self._keys(row, {"start", "end", "thickness", "height"})
        start, end = self._numbers(row, "start", 2), self._numbers(row, "end", 2)
        if math.dist(start, end) < 1e-6:
            self._bad("end", end, "a point away from the start")
        return Wall(start, end, self._size(row, "thickness"), self._size(row, "height"))  # type: ignore[arg-type]

    def _opening(self, row: dict[str, Any]) -> Opening:
        self._keys(row, {"name", "wall", "centre", "width", "bottom", "top"})
        name = self._one_of(row, "name", ("door", "window"))
        wall = row.get("wall")
        centre, width = self._number(row, "centre"), self._size(row, "width")
        bottom, top = self._number(row, "bottom"), self._number(row, "top")
        if not isinstance(wall, int) or isinstance(wall, bool) or not 0 <= wall < len(self._walls):
            self._bad("wall", wall, f"a number below {len(self._walls)}")
        elif not (width / 2 - 1e-6 <= centre <= self._walls[wall].length - width / 2 + 1e-6):
            self._bad("centre", centre, f"an opening within its wall of {self._walls[wall].length:g} m")
        elif not 0 <= bottom < top <= self._walls[wall].height:
            self._bad("top", (bottom, top), f"0 <= bottom < top <= {self._walls[wall].height:g}")
        return Opening(name, wall if isinstance(wall, int) else 0, centre, width, bottom, top)

    def _object(self, row: dict[str, Any]) -> ObjectBox:
        self._keys(row, {"name", "centre", "size", "yaw"})
        size = self._numbers(row, "size", 3)
        if min(size) <= 0:
            self._bad("size", size, "three lengths above 0")
        return ObjectBox(self._class(row), self._numbers(row, "centre", 3), size, self._number(row, "yaw"))  # type: ignore[arg-type]

    def _class(self, row: dict[str, Any]) -> str:
        name = row.get("name")
        if not isinstance(name, str) or name not in BY_NAME:
            self._fail("E-LAYOUT-CLASS", "class is not known", "name", name, " ".join(BY_NAME))
            return "void"
        return name

    def _keys(self, row: dict[str, Any], known: set[str]) -> None:
        for key in sorted(set(row) - known):
            self._fail("E-LAYOUT-KEY", "key is not known", key, key, " ".join(sorted(known)))

    def _one_of(self, row: dict[str, Any], key: str, choices: tuple[str, ...]) -> str:
        value = row.get(key)
        if value not in choices:
            self._bad(key, value, " ".join(choices))
            return choices[0]
        return str(value)

    def _number(self, row: dict[str, Any], key: str) -> float:
        return self._vector([row.get(key)], key, 1)[0]

    def _size(self, row: dict[str, Any], key: str) -> float:
        value = self._number(row, key)
        if value <= 0:
            self._bad(key, value, "a length above 0")
        return value

    def _numbers(self, row: dict[str, Any], key: str, count: int) -> tuple[float, ...]:
        return self._vector(row.get(key), key, count)

    def _vector(self, values: Any, key: str, count: int) -> tuple[float, ...]:
        """`count` numbers of at most `MAX_METRES`; ones where they are not valid."""
        listed = values if isinstance(values, list) and len(values) == count else []
        numbers = [float(v) for v in listed if isinstance(v, int | float) and not isinstance(v, bool) and _small(v)]
        if len(numbers) != count:
            wanted = "a number" if count == 1 else f"{count} numbers"
            self._bad(key, values[0] if count == 1 else values, f"{wanted} of magnitude up to {MAX_METRES:g}")
            return (1.0,) * count
        return tuple(numbers)

    def _bad(self, key: str, got: object, expected: str) -> None:
        self._fail("E-LAYOUT-VALUE", "value is not valid", key, got, expected)

    def _fail(self, code: str, what: str, key: str, got: object, expected: str) -> None:
        where = ":".join(part for part in (str(self._path), self._place, key) if part)
        fix = "correct the file or export the layout again"
        self._problems.append(UserError(code, what, where=where, got=got, expected=expected, fix=fix))


def _small(value: float) -> bool:
    return abs(value) <= MAX_METRES
