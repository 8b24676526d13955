"""Procedural flats: believable by measurable rules, exact plans, closed meshes, equal for equal seeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from data.kinds import KINDS
from data.layout import ObjectBox
from data.layout_files import read_layout, save_layout
from data.meshes import load_mesh
from data.palette import BY_NAME, legend
from data.plane_geometry import Point, band, holds
from data.rooms import BuiltInFurniture, make_room_scene
from data.rooms.kit import _MAKERS
from data.rooms.style import make_style
from data.scene import SINK, Scene, box_at, parts_in
from data.settlement import make_city_scene, make_village_scene
from fields.errors import UserError

SEEDS = range(8)
SIZES = ((1, 1), (2, 1), (2, 2), (2, 3))
CASES = [(seed, SIZES[seed % len(SIZES)]) for seed in SEEDS]
CELL = 0.025  # metres


@cache
def scene(seed: int, size: tuple[int, int]) -> Scene:
    return make_room_scene(seed, size)


def standing(found: Scene) -> list[ObjectBox]:
    """Everything that stands on the floor and is no rug."""
    return [box for box in found.layout.objects if box.low < 0.01 and box.size[1] > 0.03]


def covered(found: Scene, box: ObjectBox) -> np.ndarray:
    layout = type(found.layout)("room", found.layout.bounds, objects=(box,))
    return layout.draw(CELL).indices > 0


@pytest.mark.parametrize(("seed", "size"), CASES)
def test_nothing_overlaps_and_nothing_stands_in_a_wall(seed: int, size: tuple[int, int]) -> None:
    found = scene(seed, size)
    count = sum(covered(found, box).astype(int) for box in standing(found))
    assert count.max() == 1
    names = ("wall", "door", "window")
    walls = found.layout.masks(CELL, names).any(0)
    furniture = found.layout.masks(CELL, [c.name for c in legend("room") if c.name not in (*names, "floor")]).any(0)
    assert not (walls & furniture).any()


@pytest.mark.parametrize(("seed", "size"), CASES)
def test_everything_lies_in_one_room(seed: int, size: tuple[int, int]) -> None:
    layout = scene(seed, size).layout
    for box in layout.objects:
        rooms = [(min(x), min(z), max(x), max(z)) for x, z in (zip(*a.polygon, strict=True) for a in layout.areas)]
        assert sum(holds(room, box.footprint) for room in rooms) == 1


@pytest.mark.parametrize(("seed", "size"), CASES)
def test_doors_are_unobstructed_and_all_rooms_can_be_reached(seed: int, size: tuple[int, int]) -> None:
    found = scene(seed, size)
    layout = found.layout
    occupied = sum(covered(found, box).astype(int) for box in standing(found)) > 0
    doors = [opening for opening in layout.openings if opening.name == "door"]
    assert len(doors) >= len(layout.areas)  # a tree of doors between the rooms, and the way in
    x = layout.bounds[0] + (np.arange(occupied.shape[1]) + 0.5) * CELL
    z = layout.bounds[1] + (np.arange(occupied.shape[0]) + 0.5) * CELL
    for door in doors:
        wall = layout.walls[door.wall]
        cx, cz = wall.at(door.centre)
        wide, deep = (door.width / 2, 0.6) if wall.start[1] == wall.end[1] else (0.6, door.width / 2)
        near = (abs(z - cz) < deep)[:, None] & (abs(x - cx) < wide)[None]
        assert not (near & occupied).any()


@pytest.mark.parametrize(("seed", "size"), CASES)
def test_chairs_at_tables_face_them(seed: int, size: tuple[int, int]) -> None:
    layout = scene(seed, size).layout
    tables = [box for box in layout.objects if box.name == "table" and box.size[1] > 0.65]
    chairs = [box for box in layout.objects if box.name == "chair" and box.size[0] < 0.6]
    for chair in chairs:
        ahead = [(chair.centre[0] + t * chair.front[0], chair.centre[2] + t * chair.front[1])
                 for t in np.arange(0.2, 0.9, 0.05)]  # fmt: skip
        assert any(contains(table, point) for table in tables for point in ahead)


def contains(box: ObjectBox, point: Point) -> bool:
    dx, dz = point[0] - box.centre[0], point[1] - box.centre[2]
    fx, fz = box.front
    return abs(dx * fz - dz * fx) <= box.size[0] / 2 and abs(dx * fx + dz * fz) <= box.size[2] / 2


def test_beds_and_wardrobes_stand_with_their_backs_to_a_wall() -> None:
    backed = 0
    for seed, size in CASES:
        layout = scene(seed, size).layout
        walls = [band(wall.start, wall.end, wall.thickness + 0.1, 0.0) for wall in layout.walls]
        for box in layout.objects:
            if box.name == "bed" or (box.name == "cabinet" and box.size[1] > 1.5):
                back = (box.centre[0] - box.front[0] * box.size[2] / 2, box.centre[2] - box.front[1] * box.size[2] / 2)
                spans = [(min(x), min(z), max(x), max(z)) for x, z in (zip(*wall, strict=True) for wall in walls)]
                assert any(holds(span, [back]) for span in spans)
                backed += 1
    assert backed > 10


def test_sofas_look_at_a_television_or_a_low_table() -> None:
    seen = 0
    for seed in range(6):
        layout = make_room_scene(seed, (2, 1)).layout
        targets = [b for b in layout.objects if b.name in ("table", "cabinet")]
        for sofa in (b for b in layout.objects if b.name == "sofa"):
            ahead = [(sofa.centre[0] + t * sofa.front[0], sofa.centre[2] + t * sofa.front[1])
                     for t in np.arange(0.4, 5.0, 0.1)]  # fmt: skip
            seen += any(contains(target, point) for target in targets for point in ahead)
    assert seen >= 4


@pytest.mark.parametrize(("seed", "size"), CASES[:4])
def test_parts_are_watertight_and_face_outward(seed: int, size: tuple[int, int]) -> None:
    for part in scene(seed, size).parts:
        assert part.mesh.is_watertight() and part.mesh.volume() > 0


def test_walls_are_one_body_with_doors_and_windows_cut_out() -> None:
    found = scene(0, (1, 1))
    layout = found.layout
    walls = [part.mesh for part in found.parts if part.name == "wall"]
    assert len(walls) == 1
    x0, z0, x1, z1 = layout.bounds
    ring = (x1 - x0) * (z1 - z0) - (x1 - x0 - 0.24) * (z1 - z0 - 0.24)
    holes = sum(o.width * 0.12 * (o.top - o.bottom + (0.06 if o.name == "door" else 0)) for o in layout.openings)
    assert walls[0].volume() == pytest.approx(ring * 2.86 - holes, rel=1e-4)


@pytest.mark.parametrize("kind", _MAKERS)
def test_every_kind_of_furniture_is_closed_exact_in_size_and_of_its_class(kind: str) -> None:
    rng = np.random.default_rng(5)
    on_top = 0.45 if kind in ("desk", "counter") else 0.12  # a screen, a tap
    for _ in range(4):
        item = BuiltInFurniture(make_style(rng)).item(kind, rng)
        assert item is not None and item.name == KINDS[kind].name
        assert all(part.mesh.is_watertight() and part.mesh.volume() > 0 for part in item.parts)
        vertices = np.concatenate([part.mesh.vertices for part in item.parts])
        assert np.allclose(vertices.min(0), [-item.size[0] / 2, 0, -item.size[2] / 2], atol=1e-5)
        assert np.allclose(vertices.max(0), [item.size[0] / 2, item.size[1], item.size[2] / 2], atol=1e-5)
        for size, (low, high) in zip(
            item.size, (KINDS[kind].width, KINDS[kind].height, KINDS[kind].depth), strict=True
        ):
            assert low - 0.1 <= size <= high + on_top


def test_placed_parts_fill_their_oriented_box() -> None:
    rng = np.random.default_rng(1)
    item = BuiltInFurniture(make_style(rng)).item("sofa", rng)
    assert item is not None
    box = box_at(item, 3.0, -2.0, 0.7)
    parts = parts_in(box, item)
    x, y, z = np.concatenate([part.mesh.vertices for part in parts]).T
    fx, fz = box.front
    along, across = (x - 3) * fx + (z + 2) * fz, (x - 3) * fz - (z + 2) * fx
    assert np.ptp(along) == pytest.approx(box.size[2], abs=1e-4)
    assert np.ptp(across) == pytest.approx(box.size[0], abs=1e-4)
    assert (y.min(), y.max()) == (pytest.approx(-SINK), pytest.approx(box.top, abs=1e-5))
    high = y > 0.85 * box.top
    assert along[high].mean() < 0  # the back is behind


def test_equal_seeds_give_equal_scenes_and_others_do_not() -> None:
    first, again, other = make_room_scene(3, (2, 2)), make_room_scene(3, (2, 2)), make_room_scene(4, (2, 2))
    assert first.layout == again.layout and first.layout != other.layout
    assert (first.mesh().vertices == again.mesh().vertices).all()
    assert (first.mesh().colors == again.mesh().colors).all()


def test_many_rooms_hold_every_class_and_enough_furniture() -> None:
    scenes = [make_room_scene(seed, (2, 2)) for seed in range(6)]
    found = {box.name for made in scenes for box in made.layout.objects}
    assert found == {c.name for c in legend("room")} - {"floor", "wall", "door", "window"}
    rooms = sum(len(made.layout.areas) for made in scenes)
    assert sum(len(made.layout.objects) for made in scenes) >= 4 * rooms
    kinds = {ground.label for made in scenes for ground in made.layout.areas}
    assert kinds == {"living", "bedroom", "kitchen", "study", "dining"}


def test_plan_and_mesh_agree_on_what_stands_where() -> None:
    found = scene(2, (2, 2))
    plan = found.layout.draw(0.05)
    for part in found.parts:
        if part.name in ("bed", "sofa", "wall"):
            x, z = part.mesh.vertices[:, 0], part.mesh.vertices[:, 2]
            middle = plan.resampled((float(x.mean()) - 0.02, float(z.mean()) - 0.02, float(x.mean()) + 0.02,
                                     float(z.mean()) + 0.02), 0.04)  # fmt: skip
            assert part.name == "wall" or middle.indices[0, 0] == BY_NAME[part.name].index


@pytest.mark.parametrize("make", [make_room_scene, make_village_scene, make_city_scene])
def test_generated_plans_are_written_and_read_back(tmp_path: Path, make: Callable[[int], Scene]) -> None:
    made = make(1)
    save_layout(made.layout, tmp_path / "plan.json")
    assert read_layout(tmp_path / "plan.json") == made.layout


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_scene_is_saved_as_one_file_in_metres_and_colour(tmp_path: Path, suffix: str) -> None:
    found = scene(0, (1, 1))
    found.save(tmp_path / f"room{suffix}")
    mesh = load_mesh(tmp_path / f"room{suffix}")
    assert len(mesh.faces) == len(found.mesh().faces)
    assert np.allclose(mesh.bounds[:, [0, 2]].reshape(-1), found.layout.bounds, atol=1e-3)
    assert math.isclose(mesh.bounds[1, 1], 2.8, abs_tol=1e-3)
    assert len(np.unique(mesh.visual.vertex_colors, axis=0)) > 5


@pytest.mark.parametrize("size", [(0, 1), (-2, 3), (100, 100)])
def test_impossible_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="E-USAGE-SIZE"):
        make_room_scene(0, size)
