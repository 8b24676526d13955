"""Procedural flats with furniture and exact plans: seeded, unlimited, nothing to download."""

from __future__ import annotations

import numpy as np

from fields.errors import UserError

from ..layout import Layout, ObjectBox
from ..scene import Kit, Part, Scene, with_fallback
from .furnish import furnish
from .kit import BuiltInFurniture
from .placer import Placer
from .plan import Room, make_flat
from .shell import shell_parts
from .style import make_style

__all__ = ["BuiltInFurniture", "make_room_scene"]

MAX_ROOMS = 400


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
    flat = make_flat(rng, columns, rows)
    furniture = with_fallback(kit, BuiltInFurniture(style))
    parts = shell_parts(flat, style, rng)
    boxes: list[ObjectBox] = []
    for number, room in enumerate(flat.rooms):
        # A stream for each room: what one room needs does not change the next.
        own = np.random.default_rng([seed, columns, rows, number])
        found, pieces = _furnished(room, furniture, own)
        boxes += found
        parts += pieces
    layout = Layout("room", flat.bounds, flat.areas, flat.walls, flat.openings, tuple(boxes))
    return Scene(layout, tuple(parts))


def _furnished(room: Room, kit: Kit, rng: np.random.Generator) -> tuple[list[ObjectBox], list[Part]]:
    placer = Placer(room, rng)
    furnish(placer, kit, rng)
    return placer.boxes, placer.parts
