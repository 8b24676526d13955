"""Plans in files: pictures and layouts of users, checked against what a model knows, and copies kept with a scene."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from data.class_map import encode_png, read_png
from data.layout_files import encode_layout, read_layout
from fields.errors import UserError

from .grounds import DrawnGround, Ground, PaintedGround
from .plan import Plan

SUFFIXES = (".png", ".webp", ".json")


def read_plan(path: str | os.PathLike[str], classes: Sequence[str], metres_per_pixel: float = 0.1) -> Plan:
    """A painted picture (see `data.class_map.read_png`) or a layout as JSON, for a model that knows `classes`.

    Warns of a plan that shows one class only.

    Raises:
        UserError: `E-LAYOUT-…`, `E-IMG-…`, `E-JSON-…`, `E-LIMIT-…`; `E-LAYOUT-EMPTY` when nothing is painted,
            `E-LAYOUT-WORLD` for classes that the model does not know.
    """
    path = Path(path)
    ground = _read(path, metres_per_pixel)
    found = ground.names()
    if not found or ground.window[0] == ground.window[2]:
        raise UserError("E-LAYOUT-EMPTY", "plan is empty, so no block would be made", where=path,
                        got="void everywhere", expected=f"areas of {' '.join(classes)}",
                        fix="paint the floor and what stands on it")  # fmt: skip
    foreign = sorted(found - set(classes))
    if foreign:
        raise UserError("E-LAYOUT-WORLD", "plan has classes that the model does not know", where=path,
                        got=" ".join(foreign), expected=" ".join(classes),
                        fix="use a model of the plan's world, or paint with these classes")  # fmt: skip
    if len(found) == 1:
        warnings.warn(f"{path} shows nothing but {found.pop()}: the scene will be as plain", stacklevel=2)
    return Plan((ground,), tuple(classes))


def encode_ground(ground: Ground) -> tuple[str, bytes]:
    """Suffix and content of the file that is kept with a scene, for `load_plan`."""
    if isinstance(ground, DrawnGround):
        return ".json", encode_layout(ground.layout)
    if isinstance(ground, PaintedGround):
        return ".png", encode_png(ground.picture)
    raise TypeError(f"{type(ground).__name__} has no file format")


def load_plan(folder: Path, names: Iterable[str], classes: Sequence[str]) -> Plan:
    """The plan of the files `names` with content of `encode_ground`, the first ones first.

    Raises:
        UserError: `E-LAYOUT-…`, `E-IMG-…`, `E-JSON-…` for files that are missing or damaged.
    """
    return Plan(tuple(_read(folder / name) for name in names), tuple(classes))


def _read(path: Path, metres_per_pixel: float = 0.1) -> Ground:
    if path.suffix.lower() == ".json":
        return DrawnGround(read_layout(path))
    return PaintedGround(read_png(path, metres_per_pixel))
