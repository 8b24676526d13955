"""Block frames, presets, and the distance to a union of solids."""

from __future__ import annotations

import math

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from data.rooms import make_room_scene
from data.solids import box, cylinder
from fields.errors import UserError
from scenegen.blocks import CLAMP, PIXELS, SIZES, BlockFrame, block_frame
from scenegen.crops import CropSettings, crop_block
from scenegen.presets import PRESETS, preset_named
from scenegen.scenes import folder_sources, procedural_sources
from scenegen.solids import SolidUnion, closed_solid, solids_of_mesh, solids_of_scene

metres = st.floats(-50, 50)


@given(metres, metres, metres)
def test_block_units_and_metres_are_inverse(x: float, y: float, z: float) -> None:
    frame, centre = BlockFrame(), np.array(BlockFrame().centre(2, -1))
    world = np.array([x, y, z])
    assert np.allclose(frame.to_world(frame.to_block(world, centre), centre), world)


def test_a_block_spans_minus_one_to_one_and_neighbours_share_a_quarter() -> None:
    frame = BlockFrame()
    first, second = np.array(frame.centre(0, 0)), np.array(frame.centre(1, 0))
    assert np.allclose(frame.to_block(np.array([0.0, -0.15, 0.0]), first), -1)
    assert np.allclose(frame.to_block(np.array([3.2, 3.05, 3.2]), first), 1)
    assert math.isclose((frame.window(tuple(first))[2] - frame.window(tuple(second))[0]) / frame.size, 0.25)


@given(metres, metres, st.floats(0.5, 20), st.floats(0.5, 20))
def test_covering_blocks_leave_no_place_out(x: float, z: float, width: float, depth: float) -> None:
    frame = BlockFrame()
    blocks = list(frame.covering((x, z, x + width, z + depth)))
    windows = [frame.window(frame.centre(i, k)) for i, k in blocks]
    for place in ((x, z), (x + width, z + depth), (x + width / 2, z), (x, z + depth)):
        assert any(a - 1e-6 <= place[0] <= c + 1e-6 and b - 1e-6 <= place[1] <= d + 1e-6 for a, b, c, d in windows)
    assert len(blocks) <= (width / frame.stride + 2) * (depth / frame.stride + 2)


def test_frames_of_other_sizes_keep_the_ground_in_proportion() -> None:
    frame = block_frame(SIZES["village"])
    assert math.isclose(frame.floor / frame.size, -0.15 / 3.2)
    assert math.isclose(frame.metres_per_pixel * PIXELS, 15.0)


def test_presets_end_at_their_own_resolution_and_unknown_ones_are_refused() -> None:
    for preset in PRESETS.values():
        assert preset.fit.levels[-1] == preset.fit.resolution and list(preset.fit.levels) == sorted(preset.fit.levels)
        assert preset.fit.resolution % preset.vae.latent_resolution == 0
    with pytest.raises(UserError, match="E-USAGE-PRESET"):
        preset_named("huge")


def test_union_distance_is_exact_outside_and_ignores_surfaces_inside() -> None:
    tall = box((1.0, 1.0, 1.0))
    union = SolidUnion([closed_solid(tall), closed_solid(box((2.0, 0.4, 2.0)))])
    x = np.array([[0.0, 1.25, 0.0], [1.3, 0.2, 0.0], [0.0, 0.5, 0.0], [0.5, 0.2, 0.0], [0.0, 9.0, 0.0]])
    assert np.allclose(union.sdf(x, 0.6), [0.25, 0.3, -0.5, -0.2, 0.6], atol=1e-6)


def test_surface_points_lie_on_the_visible_surface_with_its_normals() -> None:
    union = SolidUnion([closed_solid(box((1.0, 1.0, 1.0))), closed_solid(box((2.0, 0.4, 2.0)))])
    bounds = np.array([[-2.0, -1.0, -2.0], [2.0, 2.0, 2.0]])
    points = union.surface_points(500, bounds, np.random.default_rng(0))
    assert points is not None and points.x.shape == points.normals.shape == (500, 3)
    assert np.abs(union.sdf(points.x, 0.1)).max() < 1e-6
    lifted = union.sdf(points.x + 0.01 * points.normals, 0.1)
    assert (lifted > 0).all() and np.isclose(lifted, 0.01, atol=1e-6).mean() > 0.97  # the others: concave corners
    hidden = (np.abs(points.x[:, [0, 2]]) < 0.499).all(1) & (np.abs(points.x[:, 1]) < 0.399) & (points.x[:, 1] > 0)
    assert not hidden.any()


def test_empty_boxes_have_no_surface() -> None:
    union = SolidUnion([closed_solid(box((1.0, 1.0, 1.0)))])
    assert union.surface_points(10, np.array([[5.0, 5, 5], [6, 6, 6]]), np.random.default_rng(0)) is None


def test_rods_are_thin_and_boards_are_not() -> None:
    rod, board = closed_solid(cylinder(0.03, 0.7)), closed_solid(box((1.0, 0.03, 0.6)))
    assert rod.thin and not board.thin


def test_meshes_fall_into_watertight_pieces_and_a_rest_with_thickness() -> None:
    cube = trimesh.creation.box((1.0, 1.0, 1.0))
    sheet = trimesh.Trimesh([[3, 0, 0], [5, 0, 0], [5, 0, 2], [3, 0, 2]], [[0, 2, 1], [0, 3, 2]], process=False)
    union = solids_of_mesh(trimesh.util.concatenate([cube, sheet]))
    assert len(union.solids) == 2
    inside = union.sdf(np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 1.0], [4.0, 0.5, 1.0], [2.0, 0.0, 0.0]]), 2.0)
    assert np.allclose(inside, [-0.5, -0.02, 0.48, 0.98], atol=5e-3)
    around_sheet = np.array([[2.5, -0.5, -0.5], [5.5, 0.5, 2.5]])
    points = union.surface_points(200, around_sheet, np.random.default_rng(1))
    assert points is not None and np.allclose(np.abs(points.x[:, 1]), 0.02, atol=2e-3)


def test_a_crop_is_what_the_scene_says_and_repeats() -> None:
    scene = make_room_scene(3)
    settings = CropSettings(BlockFrame(), "room", 512, checks=64)
    made = [crop_block(solids_of_scene(scene), scene.layout, settings, np.random.default_rng(4)) for _ in range(2)]
    assert made[0] is not None and made[1] is not None
    (centre, values), (_, again) = made
    assert all(np.array_equal(values[name], again[name]) for name in values)
    world = settings.frame.to_world(values["points"].astype(np.float64), np.array(centre))
    sdf = solids_of_scene(scene).sdf(world, 10.0) / settings.frame.half
    assert np.allclose(values["sdf"], sdf.clip(-CLAMP, CLAMP), atol=2e-4)
    assert np.abs(values["sdf"][:128]).max() < 1e-3
    maps = scene.layout.masks(0.1, settings.classes, settings.frame.window(centre))
    assert np.array_equal(values["layout"], maps) and values["layout"].any()


def test_scene_sources_are_seeded_and_refuse_nonsense(tmp_path) -> None:  # type: ignore[no-untyped-def]
    first, second = procedural_sources("rooms:3", 0, 9), procedural_sources("rooms", 1, 3)
    assert len(first) == len(second) == 3 and first != second
    for text in ("rooms:0", "rooms:", "castle:3", "rooms:x"):
        with pytest.raises(UserError, match="E-USAGE-PROCEDURAL"):
            procedural_sources(text, 0, 5)
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="E-BLOCKS-SCENES"):
            folder_sources(str(folder), "room")
