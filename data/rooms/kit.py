"""Furniture by kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..kinds import KINDS
from ..scene import Item
from .beds import bed
from .decor import lamp, plant, rug
from .seats import chair, sofa, stool
from .storage import bookshelf, chest, counter, fridge, tv_cabinet
from .style import Style
from .tables import desk, round_table, table

_Size = tuple[float, float, float]
_Maker = Callable[[str, _Size, Style, np.random.Generator], Item]


_MAKERS: dict[str, _Maker] = {
    "double_bed": bed,
    "single_bed": bed,
    "nightstand": chest,
    "wardrobe": chest,
    "dresser": chest,
    "sideboard": chest,
    "bookshelf": bookshelf,
    "tv_cabinet": tv_cabinet,
    "counter": counter,
    "fridge": fridge,
    "dining_table": table,
    "coffee_table": table,
    "side_table": table,
    "round_table": round_table,
    "desk": desk,
    "chair": chair,
    "armchair": sofa,
    "sofa": sofa,
    "stool": stool,
    "floor_lamp": lamp,
    "table_lamp": lamp,
    "plant": plant,
    "rug": rug,
}


class BuiltInFurniture:
    """Furniture made on the spot in one style; unlimited."""

    def __init__(self, style: Style) -> None:
        self._style = style

    def item(self, kind: str, rng: np.random.Generator) -> Item | None:
        """A new item with a random size of its kind."""
        maker = _MAKERS.get(kind)
        return maker(kind, KINDS[kind].size(rng), self._style, rng) if maker else None
