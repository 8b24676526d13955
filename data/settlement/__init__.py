"""Procedural village and city with exact plans: seeded, unlimited, nothing to download."""

from __future__ import annotations

import numpy as np

from fields.errors import UserError

from ..plane_geometry import Window
from ..scene import Kit, Scene, with_fallback
from .city import City
from .kit import BuiltInBuildings
from .village import Village

__all__ = ["BuiltInBuildings", "make_city_scene", "make_village_scene"]

MIN_SIDE, MAX_SIDE = 30.0, 2000.0


def make_village_scene(seed: int, size: tuple[float, float] = (80.0, 80.0), kit: Kit | None = None) -> Scene:
    """A village of `size` metres (x, z) from (0, 0); the ground is at y = 0. Equal seeds give equal villages.

    kit: buildings and trees to use first; kinds that it lacks are built in.

    Raises:
        UserError: `E-USAGE-SIZE` outside `MIN_SIDE` to `MAX_SIDE` metres.
    """
    return Village(_bounds(size), with_fallback(kit, BuiltInBuildings()), np.random.default_rng([seed, 1])).build()


def make_city_scene(seed: int, size: tuple[float, float] = (120.0, 120.0), kit: Kit | None = None) -> Scene:
    """A city of `size` metres (x, z) from (0, 0); the streets are at y = 0. Equal seeds give equal cities.

    kit: buildings, trees and cars to use first; kinds that it lacks are built in.

    Raises:
        UserError: `E-USAGE-SIZE` outside `MIN_SIDE` to `MAX_SIDE` metres.
    """
    return City(_bounds(size), with_fallback(kit, BuiltInBuildings()), np.random.default_rng([seed, 2])).build()


def _bounds(size: tuple[float, float]) -> Window:
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise UserError(
            "E-USAGE-SIZE",
            "size of the ground is out of range",
            got=f"{size[0]:g} x {size[1]:g} m",
            expected=f"{MIN_SIDE:g} to {MAX_SIDE:g} m a side",
            fix="choose another size",
        )
    return 0.0, 0.0, float(size[0]), float(size[1])
