"""Scenes as files: a GLB that breaks no rule and takes constant memory, welded meshes, previews."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import torch
from glb_check import ReadGlb, read_glb
from world_surfaces import FormulaBlocks, RoomPlan, ball, ground, union

from data.meshes import load_mesh
from data.palette import class_named
from fields.errors import UserError
from fields.glb import linear_from_srgb
from fields.mesh_types import Mesh
from fields.progress import finished
from scenegen.decoder import TriplaneDecoder
from scenegen.world.export import MeshedScene, mesh_scene, painted_chunks, surface_of, welded_mesh
from scenegen.world.neighbours import Index
from scenegen.world.pictures import Canvas, perspective_view, plan_view, preview, save_preview, scene_bounds
from scenegen.world.surface import SceneSurface

TABLE = ball((2.8, 0.3, 1.2), 0.6)
PLAN = RoomPlan(lambda x, z: (x - 2.8).square() + (z - 1.2).square() < 0.36)
SQUARE = {(i, k) for i in range(2) for k in range(2)}


def _surface(blocks: Collection[Index] = tuple(SQUARE), cells: int = 32) -> SceneSurface:
    return FormulaBlocks(union(ground, TABLE)).surface(blocks, cells)


def _world(glb: ReadGlb) -> tuple[np.ndarray, np.ndarray]:
    """Positions [V, 3] and faces [F, 3] of all nodes, metres."""
    vertices, faces, start = [], [], 0
    for mesh in glb.document["meshes"]:
        positions = glb.arrays[mesh["primitives"][0]["attributes"]["POSITION"]]
        vertices.append(positions + np.array(glb.document["nodes"][0]["translation"]))
        faces += [glb.arrays[part["indices"]].reshape(-1, 3).astype(np.int64) + start for part in mesh["primitives"]]
        start += len(positions)
    return np.concatenate(vertices), np.concatenate(faces)


def test_glb_breaks_no_rule_and_has_a_node_for_each_chunk_and_a_material_for_each_class(tmp_path: Path) -> None:
    made = finished(mesh_scene(_surface(), PLAN, tmp_path / "scene.glb"))
    glb = read_glb(tmp_path / "scene.glb")
    vertices, faces = _world(glb)
    assert (made.chunks, made.vertices, made.faces) == (len(glb.document["meshes"]), len(vertices), len(faces))
    assert made.chunks == 9 and glb.document["nodes"][1]["name"] == "chunk 0,0"
    materials = {entry["name"]: entry["pbrMetallicRoughness"] for entry in glb.document["materials"]}
    assert set(materials) >= {"floor", "table"}
    assert materials["table"]["baseColorFactor"][:3] == pytest.approx(
        linear_from_srgb(np.array(class_named("table").surface) / 255), abs=1e-5
    )
    assert [p.name for p in tmp_path.iterdir()] == ["scene.glb"]


def test_vertices_on_the_borders_of_glb_chunks_have_the_same_bits(tmp_path: Path) -> None:
    finished(mesh_scene(_surface(), PLAN, tmp_path / "scene.glb"))
    vertices, faces = _world(read_glb(tmp_path / "scene.glb"))
    same, index = np.unique(vertices, axis=0, return_inverse=True)
    ends = index.reshape(-1)[faces][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    there, back = (np.sort(a * len(same) + b) for a, b in (ends.T, ends.T[::-1]))
    assert np.array_equal(there, back) and len(np.unique(there)) == len(there) and len(same) < len(vertices)


def test_faces_of_the_table_are_in_its_material(tmp_path: Path) -> None:
    finished(mesh_scene(_surface(), PLAN, tmp_path / "scene.glb"))
    glb = read_glb(tmp_path / "scene.glb")
    number = [entry["name"] for entry in glb.document["materials"]].index("table")
    places = []
    for part in (part for part in glb.primitives() if part["material"] == number):
        positions = glb.arrays[part["attributes"]["POSITION"]]
        places.append(positions[glb.arrays[part["indices"]].reshape(-1)])
    x = np.concatenate(places)
    assert np.hypot(x[:, 0] - 2.8, x[:, 2] - 1.2).max() < 0.75 and x[:, 1].max() == pytest.approx(0.9, abs=0.01)


def test_scenes_far_away_keep_their_accuracy(tmp_path: Path) -> None:
    far = 20000
    surface = FormulaBlocks(ball((far * 2.4 + 1.6, 1.0, 1.6), 0.7)).surface({(far, 0)}, 64)
    finished(mesh_scene(surface, PLAN, tmp_path / "scene.glb"))
    vertices, _ = _world(read_glb(tmp_path / "scene.glb"))
    assert np.linalg.norm(vertices - [far * 2.4 + 1.6, 1.0, 1.6], axis=1) == pytest.approx(0.7, abs=2e-3)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".stl"])
def test_other_formats_hold_one_welded_closed_mesh(suffix: str, tmp_path: Path) -> None:
    made = finished(mesh_scene(_surface(cells=16), PLAN, tmp_path / f"scene{suffix}"))
    read = load_mesh(tmp_path / f"scene{suffix}")
    assert read.is_watertight and read.volume > 0 and len(read.faces) == made.faces
    assert len(read.vertices) == made.vertices


def test_colours_of_the_welded_mesh_are_those_of_its_classes() -> None:
    parts = [part for _, part in painted_chunks(_surface(), PLAN) if part is not None]
    mesh = welded_mesh(parts, PLAN)
    assert mesh.colors is not None
    top = mesh.vertices[:, 1] > 0.6
    floor = (np.abs(mesh.vertices[:, 1]) < 1e-3) & (mesh.vertices[:, 0] < 1.5)
    for name, where in (("table", top), ("floor", floor)):
        color = np.array(class_named(name).surface) / 255
        assert mesh.colors[where] == pytest.approx(np.tile(color, (where.sum(), 1)), abs=1e-6)


def test_bad_requests_are_refused_and_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = FormulaBlocks(ball((0.0, -9.0, 0.0), 0.1)).surface({(0, 0)}, 16)
    for surface, name, code in (
        (_surface(), "a.blend", "E-USAGE-FORMAT"),
        (_surface(()), "a.glb", "E-MC-EMPTY"),
        (nothing, "a.glb", "E-MC-EMPTY"),
        (nothing, "a.ply", "E-MC-EMPTY"),
    ):
        with pytest.raises(UserError, match=code):
            finished(mesh_scene(surface, PLAN, tmp_path / name))
    monkeypatch.setattr("scenegen.world.export.MAX_WELDED_FACES", 100)
    monkeypatch.setattr("scenegen.world.glb_stream.MAX_BYTES", 20_000)
    for name, code in (("a.ply", "E-LIMIT-MESH"), ("a.glb", "E-LIMIT-GLB")):
        with pytest.raises(UserError, match=code):
            finished(mesh_scene(_surface(), PLAN, tmp_path / name))
    assert not list(tmp_path.iterdir())


def test_an_export_that_is_stopped_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.glb").write_bytes(b"old")
    steps = mesh_scene(_surface(), PLAN, tmp_path / "a.glb")
    next(steps)
    steps.close()
    assert (tmp_path / "a.glb").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def _peak(side: int, path: Path, blocks: FormulaBlocks) -> tuple[MeshedScene, int]:
    surface = blocks.surface({(i, k) for i in range(side) for k in range(side)}, 16)
    gc.collect()
    tracemalloc.start()
    made = finished(mesh_scene(surface, PLAN, path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return made, peak


def test_memory_does_not_grow_with_the_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenegen.world.surface._CACHED_BYTES", 16**3 * 4 * 12)
    blocks = FormulaBlocks(union(ground, TABLE))
    _peak(1, tmp_path / "warm.glb", blocks)
    small, peak = _peak(2, tmp_path / "small.glb", blocks)
    large, larger = _peak(4, tmp_path / "large.glb", blocks)
    assert large.faces > 3 * small.faces and larger < 1.15 * peak + 3000 * large.chunks


def test_previews_show_the_ground_and_what_stands_on_it(tmp_path: Path) -> None:
    surface = _surface(cells=16)
    picture = finished(preview(surface, PLAN, 120))
    finished(save_preview(surface, PLAN, tmp_path / "preview.png", 120))
    assert picture.shape[0] <= 130 and picture.shape[1] > 220 and (tmp_path / "preview.png").stat().st_size > 1000
    blue = (picture[..., 2].astype(int) - picture[..., 0]) > 20
    columns = np.flatnonzero(blue.any(0))
    assert columns[0] < picture.shape[1] / 2 < columns[-1]  # in both views
    assert 0.02 < blue.mean() < 0.2


def test_views_take_in_all_blocks() -> None:
    box = scene_bounds(_surface())
    corners = np.array([[x, y, z] for x in box[:, 0] for y in (box[0, 1], 0.5) for z in box[:, 2]])
    for view in (plan_view(box, 200), perspective_view(box, 200)):
        pixels, depth = view.project(corners)
        assert pixels.min() > -1.5 and (pixels < np.array(view.size) + 1.5).all() and (depth > 0).all()
        assert max(view.size) <= 3200 and view.size[1] <= 201


def test_the_nearest_face_is_seen_and_back_faces_are_not() -> None:
    box = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    square = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 0, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    canvas = Canvas(plan_view(box, 40))
    for height, face, rgb in ((0.2, faces, 0.0), (0.6, faces, 1.0), (0.8, faces[:, ::-1], 0.5), (0.4, faces, 0.0)):
        canvas.draw(Mesh(square + np.float32([0, height, 0]), face), np.full((2, 3), rgb))
    middle = canvas.picture()[5:15, 5:15]
    assert (middle > 240).all()


def test_stored_planes_are_read_once_for_each_block() -> None:
    class Store:
        frame = FormulaBlocks(ground).frame

        def finished(self) -> set[Index]:
            return {(0, 0), (1, 0)}

        def planes(self, index: Index) -> torch.Tensor:
            asked.append(index)
            return torch.full((3, 2, 8, 8), float(index[0]))

    asked: list[Index] = []
    surface = surface_of(Store(), TriplaneDecoder(2, 8, 8, 1).requires_grad_(False), 16)
    first = surface.values((0, 0), (28, 16))
    assert np.array_equal(first, surface.values((0, 0), (28, 16))) and sorted(asked) == [(0, 0), (1, 0)]
