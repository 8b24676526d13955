"""What goes into which room, in the order in which one furnishes: large things first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..scene import Kit
from .groups import bed_group, desk_group, kitchen_group, reading_group, sofa_corner, sofa_group, table_group
from .placer import Group, Member, Placer


class _Furnisher:
    """One room, one kit: each method adds something when it fits and the kit has it."""

    def __init__(self, placer: Placer, kit: Kit, rng: np.random.Generator) -> None:
        self.placer, self.kit, self.rng = placer, kit, rng
        x0, z0, x1, z1 = placer.room.inner
        self.floor_area = (x1 - x0) * (z1 - z0)

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def wall(self, group: Sequence[Member]) -> bool:
        return bool(group) and self.placer.against_wall(lambda _: group)

    def middle(self, group: Sequence[Member]) -> bool:
        return bool(group) and self.placer.free_standing(lambda _: group)

    def one(self, *kinds: str) -> bool:
        """The first of `kinds` that the kit has and the walls have room for."""
        for kind in kinds:
            item = self.kit.item(kind, self.rng)
            if item is not None and self.wall([Member(item, needed=True)]):
                return True
        return False

    def corner(self, kind: str) -> bool:
        item = self.kit.item(kind, self.rng)
        return item is not None and self.placer.in_corner(item)

    def sofa(self) -> bool:
        """A sofa before a television where there is room; else against a wall."""

        def build(depth: float) -> Group:
            return sofa_group(self.kit, self.rng, depth)

        placed = bool(build(9.0)) and self.placer.against_wall(build, 60)
        return placed or self.wall(sofa_corner(self.kit, self.rng)) or self.one("sofa", "armchair")

    def dining(self, *kinds: str) -> bool:
        return any(self.middle(table_group(self.kit, self.rng, kind)) for kind in kinds)


def _bedroom(f: _Furnisher) -> None:
    kinds = ["double_bed", "single_bed"] if f.floor_area > 8.5 else ["single_bed", "double_bed"]
    if not any(f.wall(bed_group(f.kit, f.rng, kind)) for kind in kinds):
        f.one("single_bed")
    f.one("wardrobe", "dresser")
    if f.chance(0.4):
        f.wall(desk_group(f.kit, f.rng))
    if f.chance(0.7):
        f.one("dresser", "bookshelf")
    if f.chance(0.45):
        f.wall(reading_group(f.kit, f.rng))
    if f.chance(0.6):
        f.corner("plant")
    if f.chance(0.4):
        f.corner("floor_lamp")
    if f.chance(0.3):
        f.one("stool")


def _living(f: _Furnisher) -> None:
    f.sofa()
    if f.floor_area > 17:
        f.dining("dining_table", "round_table")
    f.one("bookshelf", "sideboard")
    f.one("sideboard", "dresser")
    if f.chance(0.7):
        f.wall(reading_group(f.kit, f.rng))
    f.corner("floor_lamp")
    for _ in range(1 + int(f.rng.integers(2))):
        f.corner("plant")


def _dining(f: _Furnisher) -> None:
    f.dining(*(("dining_table", "round_table") if f.chance(0.7) else ("round_table", "dining_table")))
    f.one("sideboard", "dresser")
    f.one("bookshelf", "sideboard")
    if f.chance(0.4):
        f.wall(reading_group(f.kit, f.rng))
    f.corner("floor_lamp")
    if f.chance(0.7):
        f.corner("plant")


def _kitchen(f: _Furnisher) -> None:
    if not f.wall(kitchen_group(f.kit, f.rng)):
        f.one("fridge")
    if f.chance(0.6):
        f.one("counter")
    f.dining("round_table", "dining_table")
    if f.chance(0.5):
        f.one("sideboard")
    if f.chance(0.4):
        f.one("stool")
    if f.chance(0.5):
        f.corner("plant")


def _study(f: _Furnisher) -> None:
    f.wall(desk_group(f.kit, f.rng))
    f.one("bookshelf")
    f.one("bookshelf", "dresser")
    f.wall(reading_group(f.kit, f.rng))
    if f.chance(0.4):
        f.one("sofa", "single_bed")
    f.corner("plant" if f.chance(0.6) else "floor_lamp")
    rug = f.kit.item("rug", f.rng) if f.chance(0.6) else None
    if rug is not None:
        f.middle([Member(rug, needed=True)])


RECIPES: dict[str, Callable[[_Furnisher], None]] = {
    "bedroom": _bedroom,
    "living": _living,
    "dining": _dining,
    "kitchen": _kitchen,
    "study": _study,
}


def furnish(placer: Placer, kit: Kit, rng: np.random.Generator) -> None:
    """Fill the placer's room as its kind asks; what does not fit is left out."""
    RECIPES[placer.room.kind](_Furnisher(placer, kit, rng))
