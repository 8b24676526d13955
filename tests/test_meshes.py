"""Valid mesh files, signed distance to meshes of every quality, and the figures that compare them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from data.mesh_metrics import compare_meshes, compare_sdf
from data.mesh_sdf import MeshSDF
from data.meshes import load_mesh
from fields.errors import UserError


def _mesh(vertices: object, faces: object) -> trimesh.Trimesh:
    return trimesh.Trimesh(vertices, faces, process=False)


def _fine_box() -> trimesh.Trimesh:
    return trimesh.creation.box().subdivide().subdivide().subdivide()


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("suffix", ["obj", "ply", "stl", "off", "glb", "gltf"])
def test_every_format_gives_the_same_solid(suffix: str, tmp_path: Path) -> None:
    torus = trimesh.creation.torus(1.0, 0.3, 24, 12)
    if suffix == "gltf":
        for name, content in trimesh.exchange.gltf.export_gltf(trimesh.Scene(torus)).items():
            (tmp_path / name).write_bytes(content)
        path = tmp_path / "model.gltf"
    else:
        path = tmp_path / f"torus.{suffix.upper()}"
        torus.export(path, file_type=suffix)
    mesh = load_mesh(path)
    assert mesh.is_volume and len(mesh.vertices) == len(torus.vertices)
    assert mesh.volume == pytest.approx(torus.volume, rel=1e-5)


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_ply_of_mixed_polygons_and_colours_is_read(encoding: str, tmp_path: Path) -> None:
    mesh = trimesh.creation.box()
    mesh.visual.vertex_colors = np.arange(32, dtype=np.uint8).reshape(8, 4) * 7
    (tmp_path / "a.ply").write_bytes(trimesh.exchange.ply.export_ply(mesh, encoding=encoding))
    read = load_mesh(tmp_path / "a.ply")
    assert (read.visual.vertex_colors[:, :3] == mesh.visual.vertex_colors[:, :3]).all()
    header = b"ply\nformat binary_big_endian 1.0\nelement vertex 5\nproperty double x\nproperty double y\n"
    header += b"property double z\nelement face 3\nproperty list uchar int vertex_index\nend_header\n"
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]], ">f8").tobytes()
    rows = [b"\4" + np.array([0, 3, 2, 1], ">i4").tobytes()]
    rows += [b"\3" + np.array(row, ">i4").tobytes() for row in ([0, 1, 4], [1, 2, 4])]
    (tmp_path / "mixed.ply").write_bytes(header + corners + b"".join(rows))
    assert load_mesh(tmp_path / "mixed.ply").faces.tolist() == [[0, 3, 2], [0, 2, 1], [0, 1, 4], [1, 2, 4]]


def test_scene_is_joined_with_its_transforms(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    ball = trimesh.creation.icosphere(subdivisions=1)
    turn = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3], [0.5, 0, 0])
    mirror = np.diag([-2.0, 1, 1, 1])
    mirror[:3, 3] = 5, 6, 7
    scene.add_geometry(ball, transform=turn)
    scene.add_geometry(trimesh.creation.box((1, 2, 3)), transform=mirror)
    scene.export(tmp_path / "scene.glb")
    mesh, wanted = load_mesh(tmp_path / "scene.glb"), scene.to_mesh()
    assert mesh.bounds == pytest.approx(wanted.bounds, abs=1e-5)
    assert mesh.volume == pytest.approx(ball.volume + 12, rel=1e-5), "mirrored parts still face outward"


def test_model_files_agree_with_trimesh(shared_data: Path) -> None:
    for name in ("fandisk.obj", "spot.obj", "fertility.off", "amsterdam.obj", "teapot.obj"):
        path = shared_data / "meshes" / name
        mesh, wanted = load_mesh(path), trimesh.load_mesh(path)
        assert len(mesh.faces) == len(wanted.faces), name
        assert mesh.bounds == pytest.approx(wanted.bounds), name
        assert mesh.area == pytest.approx(wanted.area), name


def test_flat_mesh_is_admitted_only_as_a_part(tmp_path: Path) -> None:
    (tmp_path / "tile.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 0 1\nv 0 0 1\nf 1 2 3 4\n")
    assert len(load_mesh(tmp_path / "tile.obj", allow_flat=True).faces) == 2
    with pytest.raises(UserError, match="E-MESH-DEGENERATE"):
        load_mesh(tmp_path / "tile.obj")


def test_distance_to_a_sphere_is_right_in_size_and_sign() -> None:
    source = MeshSDF(trimesh.creation.icosphere(subdivisions=4))
    x = torch.rand(2000, 3, generator=_generator()) * 3 - 1.5
    assert torch.allclose(source.sdf(x), x.norm(dim=1) - 1, atol=4e-3)
    assert source.report.watertight and source.report.method == "winding" and source.report.notes == ()


_TURNED = _fine_box()
_COIN = np.random.default_rng(0).random(len(_TURNED.faces)) < 0.5
_HALF_TURNED = np.where(_COIN[:, None], _TURNED.faces[:, ::-1], _TURNED.faces)
_NO_LID = _TURNED.faces[_TURNED.triangles_center[:, 2] < 0.499]
_SOUP = _mesh(_TURNED.vertices[_HALF_TURNED].reshape(-1, 3), np.arange(3 * len(_HALF_TURNED)).reshape(-1, 3))
BOXES = {
    "as it is": _TURNED,
    "all faces turned": _mesh(_TURNED.vertices, _TURNED.faces[:, ::-1]),
    "half the faces turned": _mesh(_TURNED.vertices, _HALF_TURNED),
    "soup with half the faces turned": _SOUP,
    "every face twice": _mesh(_TURNED.vertices, np.concatenate([_TURNED.faces, _TURNED.faces[:, ::-1]])),
    "without a lid": _mesh(_TURNED.vertices, _NO_LID),
}


@pytest.mark.parametrize("name", BOXES)
def test_inside_of_a_damaged_box_is_found(name: str) -> None:
    source = MeshSDF(BOXES[name])
    x = torch.rand(4000, 3, generator=_generator()) * 1.2 - 0.6
    away_from_lid = (x[:, 2] < 0.1) | (x[:, :2].abs().amax(1) > 0.5)
    wanted = x.abs().amax(1) < 0.5
    agree = (source.sdf(x) < 0) == wanted
    assert agree[away_from_lid].float().mean() > 0.99


def test_cavity_stays_empty_and_turned_neighbour_becomes_solid() -> None:
    inner = trimesh.creation.icosphere(radius=0.5)
    inner.invert()
    beside = trimesh.creation.box().apply_translation((3, 0, 0))
    beside.invert()
    source = MeshSDF(trimesh.util.concatenate([trimesh.creation.icosphere(), inner, beside]))
    assert source.contains(np.array([[0, 0, 0], [0.75, 0, 0], [3.0, 0, 0]])).tolist() == [False, True, True]
    assert source.report.components == 3 and source.report.notes[0].startswith("12 faces were turned")


def test_sheet_becomes_a_thin_shell_and_is_reported() -> None:
    plane = _mesh([[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], [[0, 1, 2], [0, 2, 3]])
    source = MeshSDF(plane, thickness=0.1)
    half = 0.05 * 2**0.5
    y = torch.tensor([-0.2, -0.01, 0.0, 0.01, 0.2])
    x = torch.stack([torch.full((5,), 0.5), y, torch.full((5,), 0.5)], 1)
    assert torch.allclose(source.sdf(x), y.abs() - half, atol=1e-5)
    assert not source.report.watertight and source.report.thin == 1 and "thick" in source.report.notes[-1]


def test_inside_of_loose_turned_triangles_is_found_by_visibility() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    corners = ball.vertices[ball.faces]
    middle = corners.mean(1, keepdims=True)
    overlapping = (middle + 1.1 * (corners - middle)).reshape(-1, 3)
    faces = np.arange(len(overlapping)).reshape(-1, 3)
    turned = np.random.default_rng(0).random(len(faces)) < 0.5
    source = MeshSDF(_mesh(overlapping, np.where(turned[:, None], faces[:, ::-1], faces)))
    x = torch.rand(2000, 3, generator=_generator()) * 2.2 - 1.1
    distance = x.norm(dim=1) - 1
    clear = distance.abs() > 0.03
    assert source.report.method == "visibility" and source.report.ambiguous > 0.4
    assert ((source.sdf(x) < 0) == (distance < 0))[clear].float().mean() > 0.99


def test_mesh_without_area_is_refused() -> None:
    with pytest.raises(UserError, match="E-MESH-DEGENERATE"):
        MeshSDF(_mesh([[0, 0, 0], [1, 1, 1], [2, 2, 2]], [[0, 1, 2]]))


def test_bounds_are_a_padded_cube_or_box() -> None:
    box = trimesh.creation.box((4, 2, 1))
    cube, fitted = MeshSDF(box, padding=0.25).bounds, MeshSDF(box, padding=0.25, cube=False).bounds
    assert cube.tolist() == [[-3, -3, -3], [3, 3, 3]]
    assert fitted.tolist() == [[-3, -2, -1.5], [3, 2, 1.5]]


def test_samples_depend_on_the_generator_alone() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=3)
    one, two = (MeshSDF(mesh, pool=4096).sample(500, _generator(3)) for _ in range(2))
    other = MeshSDF(mesh, pool=4096).sample(500, _generator(4))
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1]) and not torch.equal(one[0], other[0])
    assert one[0].dtype == one[1].dtype == torch.float32


def test_samples_lie_in_the_box_and_mostly_near_the_surface() -> None:
    source = MeshSDF(trimesh.creation.icosphere(subdivisions=3), pool=8192)
    x, distance = source.sample(4000, _generator())
    assert ((x >= source.bounds[0]) & (x <= source.bounds[1])).all()
    assert torch.allclose(distance, source.sdf(x))
    assert 0.35 < (distance.abs() < 0.01).float().mean() < 0.6


def test_refresh_replaces_points_and_keeps_distances_right() -> None:
    source = MeshSDF(trimesh.creation.icosphere(subdivisions=2), pool=1024)
    before, _ = source.sample(2000, _generator())
    source.refresh(256, _generator(9))
    x, distance = source.sample(2000, _generator())
    changed = (x != before).any(1).float().mean()
    assert 0.15 < changed < 0.35 and torch.allclose(distance, source.sdf(x))


def test_surface_points_lie_on_the_surface_with_its_normals() -> None:
    source = MeshSDF(trimesh.creation.icosphere(subdivisions=4))
    x, normals = source.surface_points(2000, _generator())
    assert source.sdf(x).abs().max() < 1e-6
    assert ((x * normals).sum(1) > 0.99).all()
    assert x.mean(0).abs().max() < 0.06, "spread evenly"


def test_mesh_compared_with_itself_is_perfect() -> None:
    torus = trimesh.creation.torus(1.0, 0.3)
    found = compare_meshes(torus, torus, samples=5000)
    assert found["chamfer"] < 1e-7 and found["watertight"] is True
    assert found["fscore"] == found["sign_iou"] == 1


def test_figures_of_a_larger_sphere_are_those_of_the_formula() -> None:
    source, larger = trimesh.creation.icosphere(subdivisions=4), trimesh.creation.icosphere(4, radius=1.1)
    found = compare_meshes(larger, source, samples=20_000)
    assert found["chamfer"] == pytest.approx(0.1 / source.scale, rel=0.02)
    assert found["fscore"] == 0
    assert 0.5 < found["sign_iou"] < 0.9
    open_mesh = _mesh(larger.vertices, larger.faces[:-100])
    assert compare_meshes(open_mesh, source, samples=1000)["watertight"] is False


def test_field_is_compared_by_sign_and_distance() -> None:
    source = MeshSDF(trimesh.creation.icosphere(subdivisions=4))
    exact = compare_sdf(lambda x: x.norm(dim=1) - 1, source, samples=5000)
    wrong = compare_sdf(lambda x: 1 - x.norm(dim=1), source, samples=5000)
    assert exact["sign_iou"] > 0.97 and exact["sdf_error"] < 1e-3
    assert wrong["sign_iou"] < 0.01
