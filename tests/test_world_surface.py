"""One surface over all blocks: blending, chunks that fit bit for bit, closed meshes, classes of faces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from world_surfaces import FormulaBlocks, RoomPlan, ball, ground, union

from fields.errors import UserError
from fields.mesh_types import Mesh
from fields.progress import finished
from scenegen.blocks import BlockFrame, block_frame
from scenegen.world.chunks import chunk_mesh, chunks_of, weld_chunks
from scenegen.world.materials import Painter
from scenegen.world.mesh_figures import mesh_figures
from scenegen.world.surface import OUTSIDE, SceneSurface, blend_weights, node_axis

SCENE = union(ground, ball((2.8, 0.5, 1.2), 0.6), ball((-1.0, 1.0, 3.0), 0.4))
SHAPE_OF_L = {(0, 0), (1, 0), (0, 1), (-1, 1)}
indices = st.tuples(st.integers(-2, 2), st.integers(-2, 2))


def _whole(surface: SceneSurface) -> Mesh:
    meshes = [mesh for chunk in chunks_of(surface.finished) if (mesh := chunk_mesh(surface, chunk)) is not None]
    x, faces = weld_chunks(meshes)
    return Mesh(x, faces)


@pytest.mark.parametrize("cells", [8, 64])
def test_weights_of_neighbours_sum_to_one_and_have_no_kink(cells: int) -> None:
    weights, stride = blend_weights(cells), cells * 3 // 4
    assert np.allclose(weights[stride:] + weights[: cells - stride], 1)
    assert (weights[cells - stride : stride] == 1).all() and weights.min() > 0
    slope = np.diff(weights.astype(np.float64)) * cells
    assert np.abs(np.diff(slope)).max() * cells < 1.01 * 6 / 0.25**2  # the smoothstep's own greatest bend


def test_where_blocks_agree_blending_changes_nothing() -> None:
    blocks = FormulaBlocks(SCENE)
    surface = blocks.surface({(0, 0), (1, 0), (0, 1), (1, 1)})
    low, high = (0, 0), (surface.stride + surface.cells,) * 2
    found = surface.values(low, high)[:, 1:-1]
    axes = [np.arange(n) + 0.5 for n in found.shape]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), -1) * surface.cell + [0, surface.frame.floor, 0]
    wanted = (SCENE(torch.from_numpy(x)) / surface.frame.half).clamp(-0.25, 0.25).numpy()
    assert np.abs(found - wanted).max() < 1e-5


def test_between_blocks_that_differ_the_surface_passes_smoothly() -> None:
    surface = FormulaBlocks(ground, shift={(1, 0): 0.1}).surface({(0, 0), (1, 0)}, 64)
    line = surface.values((0, 20), (surface.stride + surface.cells, 21))[:, 5, 0] * surface.frame.half
    assert np.ptp(line) == pytest.approx(0.1, rel=1e-3)
    assert np.abs(np.diff(line)).max() < 1.6 * 0.1 / (surface.cells - surface.stride)


def test_nodes_without_blocks_are_outside_and_windows_do_not_matter() -> None:
    surface = FormulaBlocks(SCENE).surface(SHAPE_OF_L)
    wide = surface.values((-40, -30), (70, 70))
    assert np.array_equal(surface.values((-9, 5), (31, 44)), wide[31:71, :, 35:74])
    assert (wide[:, 0] == OUTSIDE).all() and (wide[:, -1] == OUTSIDE).all()
    assert (wide[:, :, :30] == OUTSIDE).all() and (wide[72:, :, 62:] == OUTSIDE).all()  # beyond the inner corner


def test_a_small_memory_gives_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, seen = FormulaBlocks(SCENE), []
    surface = blocks.surface(SHAPE_OF_L)
    wide = surface.values((-40, -30), (70, 70))
    monkeypatch.setattr("scenegen.world.surface._CACHED_BYTES", 0)
    apart = range(5, 16)
    small = blocks.surface(SHAPE_OF_L | {(number, number) for number in apart})
    small.planes_of = lambda index: seen.append(index) or blocks.planes(index)  # type: ignore[func-returns-value]
    for number in apart:
        small.grid((number, number))
    assert np.array_equal(small.values((-40, -30), (70, 70)), wide)
    assert (small.grid((5, 5)) < 0).any() and seen.count((5, 5)) == 2


@given(st.sets(indices, min_size=1, max_size=7))
@settings(deadline=None, max_examples=12)
def test_any_set_of_blocks_gives_a_closed_mesh_whose_chunks_meet_bit_for_bit(finished_blocks: set) -> None:
    surface = FormulaBlocks(SCENE, shift={index: 0.02 * index[0] for index in finished_blocks}).surface(
        finished_blocks, 16
    )
    meshes = [mesh for chunk in chunks_of(surface.finished) if (mesh := chunk_mesh(surface, chunk)) is not None]
    keys, x, normals = (np.concatenate([getattr(m, name) for m in meshes]) for name in ("keys", "x", "normals"))
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    assert np.array_equal(x, x[first][inverse.reshape(-1)])
    assert np.allclose(normals, normals[first][inverse.reshape(-1)], atol=1e-6)
    mesh = Mesh(*weld_chunks(meshes))
    assert mesh.is_watertight() and mesh.volume() > 0 and mesh.areas().min() > 0


def test_the_surface_lies_where_the_shape_does_across_chunks() -> None:
    surface = FormulaBlocks(union(ground, ball((2.4, 1.2, 2.4), 0.7))).surface(
        {(i, k) for i in range(2) for k in range(2)}, 64
    )
    mesh = _whole(surface)
    on_ball = np.linalg.norm(mesh.vertices - [2.4, 1.2, 2.4], axis=1)
    near = np.abs(on_ball - 0.7) < 0.1
    assert near.sum() > 1000 and np.abs(on_ball[near] - 0.7).max() < 0.003
    assert mesh.vertices.min(0) == pytest.approx([0.025, -0.125, 0.025], abs=1e-3)
    outward = mesh.normals()[near] * (mesh.vertices[near] - [2.4, 1.2, 2.4]) / on_ball[near, None]
    assert outward.sum(1).min() > 0.9


def test_islands_are_left_out_even_on_the_border_of_chunks() -> None:
    specks = [ball((2.4, 1.0 + 0.3 * n, 2.4 + 0.02 * n), 0.045) for n in range(4)]
    pebble = ball((2.4, 0.6, 1.0), 0.12)
    surface = FormulaBlocks(union(ground, pebble, *specks)).surface({(i, k) for i in range(2) for k in range(2)}, 128)
    figures = finished(mesh_figures(surface))
    assert figures["components"] == 2 and figures["island_share"] == 0
    assert figures["open_edges"] == figures["doubled_edges"] == 0


def test_far_blocks_have_edges_of_their_own() -> None:
    far = (2**15, -(2**15))
    surface = FormulaBlocks(ground).surface({far, (0, 0)}, 64)
    meshes = [mesh for chunk in ((0, 0), far) if (mesh := chunk_mesh(surface, chunk)) is not None]
    assert len(meshes) == 2 and not set(meshes[0].keys) & set(meshes[1].keys)
    assert meshes[1].x[:, 0].min() == pytest.approx(far[0] * 2.4 + 0.025, abs=1e-3)


@pytest.mark.parametrize("cells", [0, 30, 4, 512])
def test_resolutions_at_which_blocks_share_no_nodes_are_refused(cells: int) -> None:
    with pytest.raises(UserError, match="E-USAGE-CELLS"):
        FormulaBlocks(ground).surface({(0, 0)}, cells)


def test_a_block_without_finite_distances_is_named() -> None:
    blocks = FormulaBlocks(ground, shift={(1, 0): float("nan")})
    with pytest.raises(UserError, match=r"E-MC-NAN.*block 1,0"):
        chunk_mesh(blocks.surface({(0, 0), (1, 0)}), (1, 0))


def test_nodes_lie_half_a_cell_off_the_faces() -> None:
    assert torch.allclose(node_axis(4), torch.tensor([-0.75, -0.25, 0.25, 0.75]))


def _classes(plan: RoomPlan, places: list[tuple[float, float, float]], normal: tuple[float, float, float]) -> list[str]:
    found = Painter(BlockFrame(), plan).classes_of((0, 0), np.array(places), np.tile(normal, (len(places), 1)))
    return [plan.classes[k] for k in found]


def test_faces_take_the_class_painted_below_them() -> None:
    plan = RoomPlan(lambda x, z: (x - 1).abs().maximum((z - 1).abs()) < 0.3)
    up, side = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
    assert _classes(plan, [(1.0, 0.74, 1.0), (1.0, 0.0, 1.0), (2.0, 0.01, 2.0)], up) == ["table", "floor", "floor"]
    assert _classes(plan, [(1.3, 0.4, 1.0), (1.4, 0.4, 1.0), (2.0, 0.5, 1.0)], side) == ["table", "table", "wall"]
    assert _classes(plan, [(1.0, 2.7, 1.0)], side) == ["wall"]  # no table is that high


def test_the_plan_is_looked_up_across_blocks_and_below_zero() -> None:
    plan = RoomPlan(lambda x, z: x < 0)
    assert _classes(plan, [(-0.06, 0.7, 0.5), (0.5, 0.7, 0.5)], (0.0, 1.0, 0.0)) == ["table", "wall"]


def test_openings_end_where_doors_and_windows_do() -> None:
    class Wall(RoomPlan):
        def masks(self, frame: BlockFrame, index: tuple[int, int]) -> torch.Tensor:
            return torch.ones(len(self.classes), 32, 32, dtype=torch.uint8)

    plan = Wall(lambda x, z: x, ("floor", "wall", "window"))
    places = [(1.0, y, 1.0) for y in (0.4, 1.5, 2.6)]
    assert _classes(plan, places, (1.0, 0.0, 0.0)) == ["wall", "window", "wall"]


def test_outdoor_plans_without_walls_are_painted_too() -> None:
    class Village(RoomPlan):
        def masks(self, frame: BlockFrame, index: tuple[int, int]) -> torch.Tensor:
            maps = torch.zeros(3, 32, 32, dtype=torch.uint8)
            maps[0], maps[2, :, 16:] = 1, 1
            return maps

    plan, frame = Village(lambda x, z: x, ("grass", "road", "house")), block_frame(15.0)
    places = np.array([[2.0, 0.0, 2.0], [9.0, 5.0, 2.0]])
    assert Painter(frame, plan).classes_of((0, 0), places, np.tile([0.0, 1.0, 0.0], (2, 1))).tolist() == [0, 2]
