"""Procedural flats with furniture and exact plans: seeded, unlimited, nothing to download."""

from __future__ import annotations

import numpy as np

from fields.errors import UserError

from ..layout import Layout, ObjectBox
from ..scene import Kit, Part, Scene, with_fallback
from .furnish import furnish
from .kit import BuiltInFurniture
from .placer import Placer
from .plan import Flat, Room, flat_of, make_flat
from .shell import shell_parts
from .style import Style, make_style

__all__ = ["BuiltInFurniture", "make_flat_scene", "make_room_scene"]

MAX_ROOMS = 400
MIN_SIDE = 2.3  # metres of a flat's side
_ROOM_SIDE = 3.75  # metres: what the rooms of `make_room_scene` measure on average


def make_room_scene(seed: int, size: tuple[int, int] = (1, 1), kit: Kit | None = None) -> Scene:
    """A flat of about `size` = (columns, rows) rooms with everything in it; equal seeds give equal scenes.

    The walls start at (0, 0) and rise along +x, +z; the floor is at y = 0 and there is no ceiling, so
    that one can look in. kit: furniture to use first; kinds that it lacks are built in.

    Raises:
        UserError: `E-USAGE-SIZE` for sizes below 1, or more than `MAX_ROOMS` rooms.
    """
    columns, rows = size
    if min(size) < 1 or columns * rows > MAX_ROOMS:
        raise UserError(
            "E-USAGE-SIZE",
            "number of rooms is out of range",
            got=f"{columns} x {rows}",
            expected=f"1 to {MAX_ROOMS} rooms",
            fix="choose another size",
        )
    rng = np.random.default_rng([seed, columns, rows])
    style = make_style(rng)
    return _scene(make_flat(rng, columns, rows), style, rng, [seed, columns, rows], kit)


def make_flat_scene(seed: int, extent: tuple[float, float], kit: Kit | None = None) -> Scene:
    """A flat of `extent` = (x, z) metres between the middles of its outer walls; otherwise as `make_room_scene`.

    Raises:
        UserError: `E-USAGE-SIZE` for sides below `MIN_SIDE` metres, or more than `MAX_ROOMS` rooms.
    """
    columns, rows = (max(1, round(side / _ROOM_SIDE)) for side in extent)
    if min(extent) < MIN_SIDE or columns * rows > MAX_ROOMS:
        raise UserError(
            "E-USAGE-SIZE",
            "size of the flat is out of range",
            got=f"{extent[0]:g} x {extent[1]:g} m",
            expected=f"sides of {MIN_SIDE:g} m and more, at most {MAX_ROOMS} rooms",
            fix="choose another size",
        )
    key = [seed, *(round(1000 * side) for side in extent)]
    rng = np.random.default_rng(key)
    style = make_style(rng)
    return _scene(flat_of(rng, *extent, columns * rows), style, rng, key, kit)


def _scene(flat: Flat, style: Style, rng: np.random.Generator, key: list[int], kit: Kit | None) -> Scene:
    """A flat with everything in it; each room draws from a stream of its own, after `key`."""
    furniture = with_fallback(kit, BuiltInFurniture(style))
    parts = shell_parts(flat, style, rng)
    boxes: list[ObjectBox] = []
    for number, room in enumerate(flat.rooms):
        # What one room needs does not change the next.
        found, pieces = _furnished(room, furniture, np.random.default_rng([*key, number]))
        boxes += found
        parts += pieces
    layout = Layout("room", flat.bounds, flat.areas, flat.walls, flat.openings, tuple(boxes))
    return Scene(layout, tuple(parts))


def _furnished(room: Room, kit: Kit, rng: np.random.Generator) -> tuple[list[ObjectBox], list[Part]]:
    placer = Placer(room, rng)
    furnish(placer, kit, rng)
    return placer.boxes, placer.parts
