"""Plans made up by size and seed: flats wall to wall, villages, cities."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, product

import numpy as np

from data.layout import Layout, joined
from data.palette import World
from data.plane_geometry import Window, clipped, holds
from data.rooms import make_flat_scene
from data.rooms.plan import THICKNESS
from data.settlement import MIN_SIDE, make_city_scene, make_village_scene
from fields.errors import UserError

from ..blocks import BlockFrame
from .grounds import DrawnGround
from .plan import Plan

MAX_SIDE = 128  # blocks of a made-up plan's side
_FLAT = 24.0  # metres: what is larger becomes several flats side by side
_MARGIN = 0.1  # of a block's side, left free around a plan, so that its outer walls have an outside
_SETTLEMENTS = {"village": make_village_scene, "city": make_city_scene}
_SIDE = re.compile(r"([+-])([xz])(\d{1,9})")


def parse_size(text: str) -> tuple[int, int]:
    """(columns, rows) of `6x4`, in blocks.

    Raises:
        UserError: `E-USAGE-SIZE`, `E-LIMIT-SIZE`.
    """
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text.strip().lower())
    columns, rows = (int(match[1]), int(match[2])) if match else (0, 0)
    if min(columns, rows) < 1:
        raise UserError("E-USAGE-SIZE", "--size is not understood", got=repr(text),
                        expected="COLUMNSxROWS in blocks, each 1 or more", fix="write --size 6x6")  # fmt: skip
    _check_side(max(columns, rows), "--size")
    return columns, rows


def parse_toward(text: str) -> list[tuple[str, int, int]]:
    """(axis x or z, direction -1 or 1, blocks) of each word of `+x2,-z1`.

    Raises:
        UserError: `E-USAGE-TOWARD`, `E-LIMIT-SIZE`.
    """
    found = [_SIDE.fullmatch(word.strip().lower()) for word in text.split(",")]
    sides = [(m[2], -1 if m[1] == "-" else 1, int(m[3])) for m in found if m is not None and int(m[3]) > 0]
    if len(sides) != len(found):
        raise UserError("E-USAGE-TOWARD", "--toward is not understood", got=repr(text),
                        expected="sides with numbers of blocks, such as +x2,-z1",
                        fix="write --toward=+x2,-z1")  # fmt: skip
    _check_side(max(count for _, _, count in sides), "--toward")
    return sides


def composed(world: World, frame: BlockFrame, size: tuple[int, int], seed: int, classes: tuple[str, ...]) -> Plan:
    """A plan that the blocks (0, 0) to `size` - 1 cover. Equal arguments give equal plans.

    Raises:
        UserError: `E-USAGE-SIZE` for a ground that the world's composer has no use for.
    """
    x, z = ((count - 1) * frame.stride + frame.size for count in size)
    margin = _MARGIN * frame.size
    ground = _filled(world, (margin, margin, x - margin, z - margin), [seed])
    return Plan((DrawnGround(ground),), classes)


def beside(plan: Plan, world: World, frame: BlockFrame, sides: list[tuple[str, int, int]], seed: int) -> Plan:
    """More ground along the sides of what is painted, each time as wide as all before it: only what is new.

    Raises:
        UserError: `E-USAGE-SIZE`.
    """
    x0, z0, x1, z1 = plan.window
    made = []
    for number, (axis, direction, count) in enumerate(sides):
        length, lap = count * frame.stride, THICKNESS if world == "room" else 0.0  # flats share the wall between them
        before = (x0, z0, x1, z1)
        if axis == "x":
            x0, x1 = (x0 - length, x1) if direction < 0 else (x0, x1 + length)
            strip = (x0, z0, before[0] + lap, z1) if direction < 0 else (before[2] - lap, z0, x1, z1)
        else:
            z0, z1 = (z0 - length, z1) if direction < 0 else (z0, z1 + length)
            strip = (x0, z0, x1, before[1] + lap) if direction < 0 else (x0, before[3] - lap, x1, z1)
        made.append(_filled(world, strip, [seed, number, *map(_key, strip)]))
    return Plan((DrawnGround(joined(made)),), plan.classes)


def at_block(plan: Plan, world: World, frame: BlockFrame, index: tuple[int, int], seed: int) -> Plan:
    """Ground for one more block, which its whole window shows."""
    window = frame.window(frame.centre(*index))
    ground = _filled(world, window, [seed, *map(_key, window)])
    return Plan((DrawnGround(ground),), plan.classes)


def _filled(world: World, window: Window, key: list[int]) -> Layout:
    """A layout of just this window."""
    if world == "room":
        flats = [_flat(part, [*key, number]) for number, part in enumerate(_parts(window))]
        return joined(flats)
    x0, z0, x1, z1 = window
    sides = (max(MIN_SIDE, x1 - x0), max(MIN_SIDE, z1 - z0))
    return _cut(_SETTLEMENTS[world](_seed(key), sides).layout.moved(x0, z0), window)


def _cut(layout: Layout, window: Window) -> Layout:
    """The part of a settlement, whose areas are convex, inside a window; objects that reach out of it are left out."""
    areas = (replace(area, polygon=clipped(area.polygon, window)) for area in layout.areas)
    objects = tuple(item for item in layout.objects if holds(window, item.footprint))
    return Layout(layout.world, window, tuple(area for area in areas if area.polygon), objects=objects)


def _flat(window: Window, key: list[int]) -> Layout:
    x0, z0, x1, z1 = window
    t = THICKNESS / 2
    made = make_flat_scene(_seed(key), (x1 - x0 - 2 * t, z1 - z0 - 2 * t)).layout
    return made.moved(x0 + t, z0 + t)


def _parts(window: Window) -> Iterator[Window]:
    """The window cut into equal parts of at most `_FLAT` metres, which overlap by a wall."""
    columns, rows = (_cuts(low, high) for low, high in ((window[0], window[2]), (window[1], window[3])))
    return ((x0, z0, x1, z1) for (z0, z1), (x0, x1) in product(rows, columns))


def _cuts(low: float, high: float) -> list[tuple[float, float]]:
    count = math.ceil((high - low) / _FLAT)
    edges = np.linspace(low, high - THICKNESS, count + 1).tolist()
    return [(a, b + THICKNESS) for a, b in pairwise(edges)]


def _seed(key: list[int]) -> int:
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def _key(metres: float) -> int:
    return round(1000 * metres) & 0xFFFFFFFF


def _check_side(count: int, option: str) -> None:
    if count > MAX_SIDE:
        raise UserError("E-LIMIT-SIZE", f"{option} asks for too many blocks", got=count,
                        expected=f"at most {MAX_SIDE} a side",
                        fix="grow the scene step by step with fieldscape scene extend")  # fmt: skip
