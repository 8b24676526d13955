"""'Furnish it for me': a floor plan completed by the composer of procedural rooms.

Whatever is painted stays. Floors without walls get some, floors that walls enclose are laid, and each free rectangle
of floor is furnished as a room; an empty sheet becomes a whole flat.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from data.class_map import draw
from data.layout import ObjectBox
from data.palette import BY_NAME, CLASSES, VOID
from data.plane_geometry import Polygon, Window
from data.rooms import BuiltInFurniture, make_flat_scene
from data.rooms.furnish import furnish
from data.rooms.placer import Placer
from data.rooms.plan import Room
from data.rooms.style import make_style
from fields.errors import UserError

from .rectangles import Span, free_rectangles

MAX_SIDE = 512  # pixels of a painted plan
SCALE = 0.1  # metres a pixel
_MARGIN = 0.2  # metres left free around a flat that fills an empty sheet
_SMALLEST = 16  # pixels: a room's shorter side
_ENTRY, _SILL = 0.85, 0.9  # metres free before a door; height of a painted window's sill
_FLOOR, _WALL, _DOOR, _WINDOW = (BY_NAME[name].index for name in ("floor", "wall", "door", "window"))
_OUTSIDE = (VOID, _WALL, _DOOR, _WINDOW)
_DOOR_PIXELS = 9
_KINDS = ("living", "bedroom", "kitchen", "study", "dining")


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The JSON face: `{width, height (pixels), indices (base64), seed}` to the same with furniture in it.

    Raises:
        UserError: `E-LAYOUT-VALUE`.
    """
    plan = _read(request)
    furnished = furnished_plan(plan, _whole(request.get("seed", 0), 0, 2**31 - 1, "seed"))
    height, width = furnished.shape
    return {"width": width, "height": height, "metresPerPixel": SCALE,
            "indices": base64.b64encode(furnished.tobytes()).decode()}  # fmt: skip


def furnished_plan(plan: np.ndarray, seed: int) -> np.ndarray:
    """Class indices uint8 [H, W] at `SCALE` metres a pixel with rooms furnished; equal seeds give equal plans.

    Raises:
        UserError: `E-LAYOUT-EMPTY` when nothing painted is large enough for a room, `E-USAGE-SIZE`.
    """
    if not plan.any():
        return _flat(plan.shape[1], plan.shape[0], seed)
    plan = _with_shell(plan)
    taken = ~np.isin(plan, (_FLOOR, *_OUTSIDE))
    rooms = list(free_rectangles(~np.isin(plan, _OUTSIDE), _SMALLEST))
    if not rooms:
        raise UserError("E-LAYOUT-EMPTY", "the plan has no room to furnish", got="no free floor",
                        expected=f"floor of {_SMALLEST * SCALE:g} m and more on each side",
                        fix="paint a larger floor, or clear the plan")  # fmt: skip
    rng = np.random.default_rng([seed, *plan.shape])
    first = int(rng.integers(len(_KINDS))) if len(rooms) == 1 else 0
    for number, span in enumerate(rooms):
        room = _room(_KINDS[(first + number) % len(_KINDS)], span, plan)
        _paint(plan, taken, _furniture(room, np.random.default_rng([seed, number])))
    return plan


def _flat(width: int, height: int, seed: int) -> np.ndarray:
    extent = (width * SCALE - 2 * _MARGIN, height * SCALE - 2 * _MARGIN)
    layout = make_flat_scene(seed, extent).layout.moved(_MARGIN, _MARGIN)
    return layout.draw(SCALE, _window(width, height)).indices


def _with_shell(plan: np.ndarray) -> np.ndarray:
    """A copy where what walls enclose is floor, and floors that lie open have walls and a door."""
    plan = plan.copy()
    regions, count = ndimage.label(plan == VOID)
    border = {*regions[0], *regions[-1], *regions[:, 0], *regions[:, -1]}
    enclosed = [label for label in range(1, count + 1) if label not in border]
    plan[np.isin(regions, enclosed)] = _FLOOR
    inside = ~np.isin(plan, _OUTSIDE)
    open_edge = ndimage.binary_dilation(inside, np.ones((3, 3))) & (plan == VOID)
    plan[open_edge] = _WALL
    if open_edge.any() and not (plan == _DOOR).any():
        _cut_door(plan, open_edge, inside)
    return plan


def _cut_door(plan: np.ndarray, made: np.ndarray, inside: np.ndarray) -> None:
    """A door in the longest straight piece of the walls that were just made."""
    below, beside = np.roll(inside, -1, 0) | np.roll(inside, 1, 0), np.roll(inside, -1, 1) | np.roll(inside, 1, 1)
    runs = [(*_longest_run(made & below), False), (*_longest_run((made & beside).T), True)]
    length, row, start, across = max(runs)
    if length < _DOOR_PIXELS + 2:
        return
    first = start + (length - _DOOR_PIXELS) // 2
    (plan.T if across else plan)[row, first : first + _DOOR_PIXELS] = _DOOR


def _longest_run(mask: np.ndarray) -> tuple[int, int, int]:
    """(length, row, first column) of the longest horizontal run of set pixels."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    (rows, starts), (_, ends) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    if not len(rows):
        return 0, 0, 0
    longest = int(np.argmax(ends - starts))
    return int(ends[longest] - starts[longest]), int(rows[longest]), int(starts[longest])


def _room(kind: str, span: Span, plan: np.ndarray) -> Room:
    top, left, bottom, right = (side * SCALE for side in span)
    inner = (left, top, right, bottom)
    doors = tuple(_corners(_grown(box, _ENTRY)) for box in _pieces(plan == _DOOR, span))
    windows = tuple((_corners(_grown(box, 0.3)), _SILL) for box in _pieces(plan == _WINDOW, span))
    return Room(kind, inner, doors, windows)


def _pieces(mask: np.ndarray, span: Span) -> Iterator[Window]:
    """Boxes in metres around the connected parts of a mask that touch a room."""
    top, left, bottom, right = span
    labels, _ = ndimage.label(mask)
    for rows, columns in ndimage.find_objects(labels):
        near_rows = rows.start <= bottom + 2 and rows.stop >= top - 2
        if near_rows and columns.start <= right + 2 and columns.stop >= left - 2:
            yield columns.start * SCALE, rows.start * SCALE, columns.stop * SCALE, rows.stop * SCALE


def _grown(window: Window, by: float) -> Window:
    x0, z0, x1, z1 = window
    return x0 - by, z0 - by, x1 + by, z1 + by


def _corners(window: Window) -> Polygon:
    x0, z0, x1, z1 = window
    return (x0, z0), (x1, z0), (x1, z1), (x0, z1)


def _furniture(room: Room, rng: np.random.Generator) -> list[ObjectBox]:
    placer = Placer(room, rng)
    furnish(placer, BuiltInFurniture(make_style(rng)), rng)
    return placer.boxes


def _paint(plan: np.ndarray, taken: np.ndarray, boxes: list[ObjectBox]) -> None:
    """Draw furniture on free floor; what would cover painted furniture is left out."""
    height, width = plan.shape
    for box in sorted(boxes, key=lambda box: box.top):
        drawn = draw([(BY_NAME[box.name].index, box.footprint)], _window(width, height), SCALE).indices
        there = drawn != VOID
        if not (taken | np.isin(plan, _OUTSIDE))[there].any():
            plan[there] = drawn[there]


def _window(width: int, height: int) -> Window:
    return 0.0, 0.0, width * SCALE, height * SCALE


def _read(request: dict[str, Any]) -> np.ndarray:
    width, height = (_whole(request.get(side), 8, MAX_SIDE, side) for side in ("width", "height"))
    try:
        pixels = np.frombuffer(base64.b64decode(str(request.get("indices", "")), validate=True), np.uint8)
    except (binascii.Error, ValueError):
        pixels = np.zeros(0, np.uint8)
    if pixels.size != width * height or pixels.max(initial=0) >= len(CLASSES):
        raise _invalid("indices", f"{pixels.size} pixels", f"{width * height} class numbers in base64")
    return pixels.reshape(height, width)


def _whole(value: Any, low: int, high: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _invalid(name, value, f"a whole number from {low} to {high}")
    return value


def _invalid(name: str, got: object, expected: str) -> UserError:
    return UserError("E-LAYOUT-VALUE", "value is not valid", where=name, got=got, expected=expected,
                     fix="send the plan again")  # fmt: skip
