"""Furniture that belongs together: a bed and its nightstands, chairs round a table, a sofa before the screen.

A group is a list of members in the frame of its first item, which faces +z.
"""

from __future__ import annotations

import math

import numpy as np

from ..scene import Item, Kit
from .placer import GAP, Group, Member, spread

_BESIDE = 0.06  # metres between a bed and its nightstands


def bed_group(kit: Kit, rng: np.random.Generator, kind: str) -> list[Member]:
    """A bed, a nightstand at one side or both, each perhaps with a lamp, and perhaps a rug."""
    bed = kit.item(kind, rng)
    if bed is None:
        return []
    group = [Member(bed, needed=True)]
    for side in (-1, 1) if kind == "double_bed" else (1,):
        stand = kit.item("nightstand", rng)
        if stand is None or rng.random() > 0.85:
            continue
        x = side * ((bed.size[0] + stand.size[0]) / 2 + _BESIDE)
        z = (stand.size[2] - bed.size[2]) / 2
        group.append(Member(stand, x, z))
        lamp = kit.item("table_lamp", rng) if rng.random() < 0.7 else None
        if lamp is not None and max(lamp.size[::2]) <= min(stand.size[::2]):
            group.append(Member(lamp, x, z, floor=stand.size[1]))
    rug = kit.item("rug", rng) if rng.random() < 0.5 else None
    return [*group, Member(rug, 0.0, 0.35 * bed.size[2])] if rug else group


def table_group(kit: Kit, rng: np.random.Generator, kind: str) -> list[Member]:
    """A table with chairs that face it from all sides; two of them are needed."""
    table = kit.item(kind, rng)
    model = kit.item("chair", rng)
    if table is None or model is None:
        return []
    seats = _round_seats(table, model, rng) if kind == "round_table" else _seats(table, model, rng)
    chairs = [Member(model, x, z, yaw + float(rng.uniform(-0.06, 0.06)), needed=i < 2)
              for i, (x, z, yaw) in enumerate(seats)]  # fmt: skip
    return [Member(table, needed=True), *chairs]


def _seats(table: Item, chair: Item, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """x, z, yaw of chairs along both long sides, opposite ones first, and perhaps at the ends."""
    w, _, d = table.size
    out = chair.size[2] / 2 + 0.05
    count = max(1, int(w / max(0.58, chair.size[0] + 0.1)))
    seats = []
    for x in spread(count, w):
        seats += [(x, s * (d / 2 + out + float(rng.uniform(0, 0.1))), math.pi if s > 0 else 0.0) for s in (-1, 1)]
    if w > 1.3 and rng.random() < 0.5:
        seats += [(s * (w / 2 + out + 0.02), 0.0, -s * math.pi / 2) for s in (-1, 1)]
    return seats


def _round_seats(table: Item, chair: Item, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """x, z, yaw of chairs evenly round a disc; they look at its middle."""
    count, turn = int(rng.integers(3, 5)), float(rng.uniform(0, math.pi / 2))
    # A chair at an angle must clear the corner of the square around the disc.
    around = [turn + 2 * math.pi * i / count for i in range(count)]
    half = table.size[0] / 2
    away = [half * (abs(math.sin(a)) + abs(math.cos(a))) + chair.size[2] / 2 + 0.06 for a in around]
    return [(r * math.sin(a), r * math.cos(a), a + math.pi) for a, r in zip(around, away, strict=True)]


def desk_group(kit: Kit, rng: np.random.Generator) -> list[Member]:
    """A desk with its back to the wall and a chair that faces it."""
    desk, chair = kit.item("desk", rng), kit.item("chair", rng)
    if desk is None or chair is None:
        return []
    z = (desk.size[2] + chair.size[2]) / 2 + 0.05 + float(rng.uniform(0, 0.15))
    turn = math.pi + float(rng.uniform(-0.12, 0.12))
    return [Member(desk, needed=True), Member(chair, float(rng.uniform(-0.1, 0.1)), z, turn, needed=True)]


def sofa_group(kit: Kit, rng: np.random.Generator, depth: float) -> Group:
    """A television against the wall, a sofa facing it, a low table and a rug between, armchairs beside.

    depth: metres from that wall to the opposite one, where the sofa's back goes if that is near enough.
    """
    screen, sofa = kit.item("tv_cabinet", rng), kit.item("sofa", rng)
    if screen is None or sofa is None:
        return []
    far = depth - 2 * GAP - (screen.size[2] + sofa.size[2]) / 2
    near = (screen.size[2] + sofa.size[2]) / 2 + 1.5
    z = far if far < near + 1.4 else near + float(rng.uniform(0.3, 1.2))
    return [Member(screen, needed=True), Member(sofa, 0.0, z, math.pi, needed=True),
            *_around_sofa(kit, rng, sofa, z)]  # fmt: skip


def sofa_corner(kit: Kit, rng: np.random.Generator) -> list[Member]:
    """A sofa with its back to the wall and what belongs before it, without a television."""
    sofa = kit.item("sofa", rng)
    if sofa is None:
        return []
    around = [Member(m.item, -m.x, -m.z, m.yaw + math.pi) for m in _around_sofa(kit, rng, sofa, 0.0)]
    return [Member(sofa, needed=True), *around]


def kitchen_group(kit: Kit, rng: np.random.Generator) -> list[Member]:
    """A row of units with the fridge at one end."""
    counter, fridge = kit.item("counter", rng), kit.item("fridge", rng)
    if counter is None:
        return []
    group = [Member(counter, needed=True)]
    if fridge is not None:
        side = float(rng.choice([-1, 1]))
        x = side * ((counter.size[0] + fridge.size[0]) / 2 + 2 * GAP)
        group.append(Member(fridge, x, (fridge.size[2] - counter.size[2]) / 2))
    return group


def _around_sofa(kit: Kit, rng: np.random.Generator, sofa: Item, z: float) -> list[Member]:
    """What stands before a sofa at z that faces -z, and beside it."""
    members = []
    low = kit.item("coffee_table", rng)
    middle = z - sofa.size[2] / 2 - 0.4 - (low.size[2] / 2 if low else 0.3)
    if low is not None:
        members.append(Member(low, 0.0, middle))
    if rng.random() < 0.6:
        side = float(rng.choice([-1, 1]))
        chair = kit.item("armchair", rng)
        if chair is not None:
            x = side * (max(low.size[0] if low else 0.8, 1.0) / 2 + 0.5 + chair.size[2] / 2)
            members.append(Member(chair, x, middle - 0.1, -side * math.pi / 2 + side * float(rng.uniform(-0.25, 0.25))))
    rug = kit.item("rug", rng)
    if rug is not None and rng.random() < 0.75:
        members.append(Member(rug, 0.0, middle))
    for side in (-1, 1):
        lamp = kit.item("floor_lamp" if side > 0 else "side_table", rng)
        if lamp is not None and rng.random() < 0.4:
            members.append(Member(lamp, side * (sofa.size[0] / 2 + lamp.size[0] / 2 + 0.08), z + 0.15))
    return members


def reading_group(kit: Kit, rng: np.random.Generator) -> list[Member]:
    """An armchair with a stool or a small table and a lamp."""
    chair = kit.item("armchair", rng)
    if chair is None:
        return []
    group = [Member(chair, needed=True)]
    lamp, table, stool = kit.item("floor_lamp", rng), kit.item("side_table", rng), kit.item("stool", rng)
    if lamp is not None:
        group.append(Member(lamp, chair.size[0] / 2 + lamp.size[0] / 2 + 0.06, (lamp.size[2] - chair.size[2]) / 2))
    if table is not None and rng.random() < 0.5:
        group.append(Member(table, -(chair.size[0] + table.size[0]) / 2 - 0.06, (table.size[2] - chair.size[2]) / 2))
    if stool is not None and rng.random() < 0.5:
        group.append(Member(stool, 0.0, (chair.size[2] + stool.size[2]) / 2 + 0.15))
    return group
