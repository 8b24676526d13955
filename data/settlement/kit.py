"""Buildings and outdoor things by kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..kinds import KINDS
from ..scene import Item
from .buildings import barn, block, church, house, tower
from .outdoors import car, conifer, fence, street_lamp, tree

_MAKERS: dict[str, Callable[[str, tuple[float, float, float], np.random.Generator], Item]] = {
    "house": house,
    "barn": barn,
    "church": church,
    "block": block,
    "tower": tower,
    "tree": tree,
    "conifer": conifer,
    "fence": fence,
    "car": car,
    "street_lamp": street_lamp,
}


class BuiltInBuildings:
    """Buildings, trees and cars made on the spot; unlimited."""

    def item(self, kind: str, rng: np.random.Generator) -> Item | None:
        """A new item with a random size of its kind."""
        maker = _MAKERS.get(kind)
        return maker(kind, KINDS[kind].size(rng), rng) if maker else None
