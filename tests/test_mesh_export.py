"""Fields to meshes to files: closed, outward, welded, coloured, and refused when there is nothing to mesh."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from data.meshes import load_mesh
from fields.errors import ExitCode, UserError
from fields.glb import linear_from_srgb
from fields.mesh import (
    Mesh,
    automatic_level,
    components_where,
    extract_mesh,
    extract_mesh_steps,
    largest_components,
    vertex_colors,
)
from fields.mesh_files import save_mesh
from fields.progress import Progress

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


def _sphere(x: Tensor, radius: float = 0.7) -> Tensor:
    return x.norm(dim=1) - radius


def _ball(resolution: int = 40) -> Mesh:
    return extract_mesh(_sphere, BOX, resolution, inside="negative")


def _assert_sound(mesh: Mesh) -> None:
    """Closed by our count and by trimesh's, outward, no vertex twice, no face without area."""
    assert mesh.is_watertight() and mesh.volume() > 0
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_volume
    assert len(np.unique(mesh.vertices, axis=0)) == len(mesh.vertices)
    assert mesh.areas().min() > 0


def test_sphere_over_many_blocks_is_one_closed_surface() -> None:
    mesh = _ball(150)
    _assert_sound(mesh)
    assert mesh.volume() == pytest.approx(4 / 3 * np.pi * 0.7**3, rel=1e-3)
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.7).max() < 2 / 150


def test_level_on_the_samples_leaves_no_hole() -> None:
    _assert_sound(extract_mesh(lambda x: x.abs().amax(1) - 0.5, BOX, 64, inside="negative"))


def test_random_values_give_a_closed_surface() -> None:
    table = torch.randn(73, 13, 13, generator=torch.Generator().manual_seed(0))
    bounds = torch.tensor([[0.0, 0.0, 0.0], [72.0, 12.0, 12.0]])
    for values in (table, table.round()):

        def noise(x: Tensor, values: Tensor = values) -> Tensor:
            i, j, k = x.round().long().unbind(1)
            return values[i, j, k]

        _assert_sound(extract_mesh(noise, bounds, 72))


def test_surface_is_capped_at_the_box_or_left_open() -> None:
    capped = extract_mesh(lambda x: _sphere(x, 1.2), BOX, 32, inside="negative")
    _assert_sound(capped)
    assert capped.vertices.max() == pytest.approx(1, abs=1e-3)
    left_open = extract_mesh(lambda x: _sphere(x, 1.2), BOX, 32, inside="negative", closed=False)
    assert not left_open.is_watertight() and np.abs(left_open.vertices).max() <= 1


def test_density_and_distance_give_the_same_surface() -> None:
    density = extract_mesh(lambda x: 5 - 10 * _sphere(x), BOX, 32, level=5.0)
    distance = extract_mesh(_sphere, BOX, 32, inside="negative")
    assert np.allclose(density.vertices, distance.vertices, atol=1e-5) and density.volume() > 0


def test_box_may_have_any_shape_and_place() -> None:
    bounds = torch.tensor([[10.0, 20.0, 30.0], [14.0, 21.0, 32.0]])
    centre = torch.tensor([12.0, 20.5, 31.0])
    mesh = extract_mesh(lambda x: (x - centre).norm(dim=1) - 0.4, bounds, 100, inside="negative")
    _assert_sound(mesh)
    assert mesh.vertices.mean(0) == pytest.approx(centre.numpy(), abs=0.01)


def test_unoccupied_blocks_are_not_evaluated() -> None:
    asked: list[int] = []

    def query(x: Tensor) -> Tensor:
        asked.append(len(x))
        return -(x - 0.6).norm(dim=1)

    mesh = extract_mesh(query, BOX, 127, level=-0.2, occupied=lambda x: (x - 0.6).norm(dim=1) < 0.25)
    _assert_sound(mesh)
    assert sum(asked) == 64**3, "one block of eight holds the ball"


def test_progress_counts_up_and_the_mesh_is_returned() -> None:
    steps = extract_mesh_steps(_sphere, BOX, 80, inside="negative")
    reports: list[Progress] = []
    try:
        while True:
            reports.append(next(steps))
    except StopIteration as end:
        mesh = end.value
    assert isinstance(mesh, Mesh) and {report.phase for report in reports} == {"sample", "march"}
    assert [r.step for r in reports if r.phase == "sample"] == list(range(1, 9))
    assert reports[-1].fraction == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_value_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(UserError, match="E-MC-NAN"):
        extract_mesh(lambda x: torch.where(x[:, 0] > 0.99, bad, _sphere(x)), BOX, 32)


@pytest.mark.parametrize("level", [5.0, -5.0, float("nan")])
def test_level_outside_the_values_is_refused_with_a_suggestion(level: float) -> None:
    with pytest.raises(UserError, match=r"E-MC-RANGE.*50 %.*try --level"):
        extract_mesh(_sphere, BOX, 16, level=level)


def test_constant_and_unoccupied_fields_are_refused() -> None:
    with pytest.raises(UserError, match="E-MC-RANGE"):
        extract_mesh(lambda x: torch.zeros(len(x)), BOX, 16)
    with pytest.raises(UserError, match="E-MC-RANGE"):
        extract_mesh(_sphere, BOX, 16, occupied=lambda x: torch.zeros(len(x), dtype=torch.bool))


def test_too_fine_a_grid_and_an_empty_box_are_refused() -> None:
    with pytest.raises(UserError) as caught:
        extract_mesh(_sphere, BOX, 2000)
    assert caught.value.exit_code == ExitCode.LIMIT
    with pytest.raises(UserError, match="E-USAGE-BOUNDS"):
        extract_mesh(_sphere, BOX.flip(0), 16)


def test_automatic_level_is_half_alpha_or_the_gap_between_empty_and_full() -> None:
    empty, full = torch.zeros(900), torch.full((100,), 500.0)
    assert automatic_level(torch.cat([empty, full]), 0.01) == pytest.approx(np.log(2) / 0.01)
    fog = torch.cat([torch.full((900,), 0.1), torch.full((100,), 20.0)])
    assert 0.1 < automatic_level(fog, 0.01) < 20


def test_colours_are_the_fields_own_seen_from_outside() -> None:
    def color(x: Tensor, directions: Tensor) -> Tensor:
        assert torch.allclose(directions.norm(dim=1), torch.ones(len(x)), atol=1e-4)
        facing = -(directions * x).sum(1, keepdim=True) / x.norm(dim=1, keepdim=True)
        return torch.cat([(x[:, :2] + 1) / 2, facing], 1)

    mesh = vertex_colors(_ball(), color, chunk=1000)
    assert mesh.colors is not None
    assert np.allclose(mesh.colors[:, :2], (mesh.vertices[:, :2] + 1) / 2, atol=1e-5)
    assert mesh.colors[:, 2] == pytest.approx((1 + 4 * np.cos(np.pi / 6)) / 5, abs=0.05)


def test_floaters_are_dropped() -> None:
    speck = torch.tensor([0.9, 0.9, 0.9])
    both = extract_mesh(lambda x: torch.minimum(_sphere(x), (x - speck).norm(dim=1) - 0.05), BOX, 64, inside="negative")
    clean = largest_components(both, 0.1)
    _assert_sound(clean)
    assert both.vertices.max() > 0.9 and clean.vertices.max() < 0.72
    assert len(largest_components(both, 1e-6).faces) == len(both.faces)


def test_parts_where_no_surface_is_expected_are_dropped() -> None:
    bubble = torch.tensor([0.75, 0.75, 0.0])
    both = extract_mesh(
        lambda x: torch.minimum(_sphere(x, 0.4), (x - bubble).norm(dim=1) - 0.2), BOX, 64, inside="negative"
    )
    clean = components_where(both, lambda x: _sphere(x, 0.4).abs() < 0.1)
    _assert_sound(clean)
    assert both.vertices.max() > 0.7 and clean.vertices.max() < 0.42
    whole = torch.ones(1, dtype=torch.bool)
    for same in (components_where(both, lambda x: whole.expand(len(x))), components_where(both, lambda x: x[:, 0] > 9)):
        assert len(same.faces) == len(both.faces)


@pytest.mark.parametrize("suffix", [".glb", ".ply", ".obj", ".stl"])
def test_file_holds_the_same_mesh(suffix: str, tmp_path: Path) -> None:
    mesh = vertex_colors(_ball(24), lambda x, d: (x + 1) / 2)
    save_mesh(mesh, tmp_path / f"a{suffix}")
    read = load_mesh(tmp_path / f"a{suffix}")
    other = trimesh.load(tmp_path / f"a{suffix}", force="mesh")
    assert len(read.vertices) == len(mesh.vertices) and len(read.faces) == len(mesh.faces) == len(other.faces)
    assert read.volume == pytest.approx(mesh.volume(), rel=1e-5) and other.volume > 0 and read.is_volume
    if suffix != ".stl":
        assert np.allclose(read.vertices, mesh.vertices, atol=1e-6)
        assert np.allclose(read.visual.vertex_colors[:, :3] / 255, mesh.colors, atol=0.0041)
    assert [file.name for file in tmp_path.iterdir()] == [f"a{suffix}"]


def test_glb_has_a_matt_material_normals_and_linear_colours(tmp_path: Path) -> None:
    mesh = vertex_colors(_ball(24), lambda x, d: torch.full_like(x, 0.5))
    save_mesh(mesh, tmp_path / "a.glb")
    content = (tmp_path / "a.glb").read_bytes()
    document = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    material = document["materials"][0]
    assert material["pbrMetallicRoughness"] == {"metallicFactor": 0, "roughnessFactor": 1}
    assert material["doubleSided"] is True
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    assert attributes.keys() == {"POSITION", "NORMAL", "COLOR_0"}
    view = document["bufferViews"][document["accessors"][attributes["COLOR_0"]]["bufferView"]]
    start = len(content) - document["buffers"][0]["byteLength"] + view["byteOffset"]
    first = np.frombuffer(content, "<u2", 4, start) / 65535
    assert first == pytest.approx([0.21404, 0.21404, 0.21404, 1], abs=1e-4)


def test_srgb_curve_meets_its_fixed_points() -> None:
    linear = linear_from_srgb(np.array([0, 0.04045, 0.5, 1]))
    assert linear == pytest.approx([0, 0.0031308, 0.21404, 1], abs=1e-5)


def test_unknown_suffix_and_empty_mesh_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="E-USAGE-FORMAT"):
        save_mesh(_ball(16), tmp_path / "a.blend")
    with pytest.raises(UserError, match="E-MC-EMPTY"):
        save_mesh(Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64)), tmp_path / "a.ply")
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.ply").write_bytes(b"old")
    whole = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda self, content: whole(self, content[:-13]))
    with pytest.raises(UserError, match="E-ENV-WRITE"):
        save_mesh(_ball(16), tmp_path / "a.ply")
    assert (tmp_path / "a.ply").read_bytes() == b"old"
