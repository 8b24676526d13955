"""Procedural villages and cities: nothing overlaps, plans are exact, parts closed, seeds repeat."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from data.kinds import KINDS
from data.layout import Layout
from data.palette import legend
from data.plane_geometry import holds
from data.scene import Scene
from data.settlement import BuiltInBuildings, make_city_scene, make_village_scene
from data.settlement.kit import _MAKERS
from fields.errors import UserError

CASES: list[tuple[Callable[..., Scene], int]] = [
    (make_village_scene, 0), (make_village_scene, 1), (make_city_scene, 0), (make_city_scene, 1)
]  # fmt: skip


@cache
def scene(make: Callable[..., Scene], seed: int) -> Scene:
    return make(seed, (70.0, 60.0))


@pytest.mark.parametrize(("make", "seed"), CASES)
def test_objects_lie_inside_and_off_each_other(make: Callable[..., Scene], seed: int) -> None:
    layout = scene(make, seed).layout
    total = np.zeros((600, 700), int)
    for box in layout.objects:
        assert holds(layout.bounds, box.footprint)
        total += Layout(layout.world, layout.bounds, objects=(box,)).draw(0.1).indices > 0
    assert len(layout.objects) > 20 and total.max() == 1


@pytest.mark.parametrize(("make", "seed"), CASES)
def test_parts_are_watertight_inside_the_bounds_and_of_this_world(make: Callable[..., Scene], seed: int) -> None:
    found = scene(make, seed)
    known = {entry.name for entry in legend(found.layout.world)}
    x0, z0, x1, z1 = found.layout.bounds
    for part in found.parts:
        assert part.name in known
        assert part.mesh.is_watertight() and part.mesh.volume() > 0
        x, z = part.mesh.vertices[:, 0], part.mesh.vertices[:, 2]
        assert x0 - 1e-3 <= x.min() <= x.max() <= x1 + 1e-3 and z0 - 1e-3 <= z.min() <= z.max() <= z1 + 1e-3


def test_village_houses_stand_off_the_road_and_look_at_it() -> None:
    for seed in (0, 1):
        layout = scene(make_village_scene, seed).layout
        road, house, water = layout.masks(0.1, ("road", "house", "water"))
        assert not (house & water).any()
        assert (house & road).sum() < 0.01 * house.sum()  # a path ends at the door, under the eaves
        for box in (b for b in layout.objects if b.name == "house"):
            steps = np.arange(box.size[2] / 2, box.size[2] / 2 + 8, 0.1)
            column = ((box.centre[0] + steps * box.front[0] - layout.bounds[0]) / 0.1).astype(int)
            row = ((box.centre[2] + steps * box.front[1] - layout.bounds[1]) / 0.1).astype(int)
            ok = (row >= 0) & (row < road.shape[0]) & (column >= 0) & (column < road.shape[1])
            assert road[row[ok], column[ok]].any()


def test_city_cars_drive_on_roads_and_buildings_stand_on_pavements() -> None:
    layout = scene(make_city_scene, 0).layout
    plan, ground = layout.draw(0.1), Layout("city", layout.bounds, layout.areas).draw(0.1)
    names = {entry.index: entry.name for entry in legend("city")}
    under: dict[str, set[str]] = {"car": set(), "tower": set(), "house": set()}
    for index, name in names.items():
        if name in under:
            under[name] = {names[int(i)] for i in np.unique(ground.indices[plan.indices == index])}
    assert under["car"] == {"road"} and under["house"] | under["tower"] == {"pavement"}


@pytest.mark.parametrize("make", [make_village_scene, make_city_scene])
def test_equal_seeds_give_equal_settlements(make: Callable[..., Scene]) -> None:
    again = make(0, (70.0, 60.0))
    assert again.layout == scene(make, 0).layout != scene(make, 1).layout
    assert (again.mesh().vertices == scene(make, 0).mesh().vertices).all()


@pytest.mark.parametrize("kind", _MAKERS)
def test_every_kind_is_closed_and_near_its_size(kind: str) -> None:
    rng = np.random.default_rng(2)
    for _ in range(3):
        item = BuiltInBuildings().item(kind, rng)
        assert item is not None and item.name == KINDS[kind].name
        assert all(part.mesh.is_watertight() and part.mesh.volume() > 0 for part in item.parts)
        assert KINDS[kind].height[0] * 0.9 <= item.size[1] <= KINDS[kind].height[1] * 1.1


@pytest.mark.parametrize("size", [(5.0, 60.0), (60.0, 1e6), (float("nan"), 60.0)])
def test_impossible_grounds_are_refused(size: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="E-USAGE-SIZE"):
        make_village_scene(0, size)
