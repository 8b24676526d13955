"""Textures: an atlas painted with the field's colours, in files that other programs read."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from command_line import run, tiny_run
from test_depth_fusion import BOX, _finish

from fields.errors import UserError
from fields.mesh import Mesh, extract_mesh, paint_texture
from fields.mesh_files import save_mesh


class _Squares:
    """Stands for `xatlas.Atlas`: every face a triangle in a square of its own."""

    def add_mesh(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self.faces = faces

    def generate(self, pack_options: object) -> None:
        pass

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = len(self.faces)
        side = int(np.ceil(np.sqrt(count)))
        cell = np.stack([np.arange(count) % side, np.arange(count) // side], -1)
        corner = np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]])
        uv = ((cell[:, None] + corner) / side).reshape(-1, 2)
        return self.faces.reshape(-1), np.arange(3 * count, dtype=np.uint32).reshape(-1, 3), uv


@pytest.fixture
def atlas(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real package where it is installed."""
    if find_spec("xatlas") is None:
        monkeypatch.setitem(sys.modules, "xatlas", SimpleNamespace(Atlas=_Squares, PackOptions=SimpleNamespace))


def _painted() -> Mesh:
    ball = extract_mesh(lambda x: x.norm(dim=1) - 0.7, BOX, 12, inside="negative")
    return _finish(paint_texture(ball, lambda x, d: (x + 1) / 2))


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_texture_shows_the_colour_of_the_place(suffix: str, tmp_path: Path, atlas: None) -> None:
    mesh = _painted()
    assert mesh.welded().is_watertight() and mesh.texture is not None
    save_mesh(mesh, tmp_path / f"ball{suffix}")
    read = trimesh.load(tmp_path / f"ball{suffix}", force="mesh", process=False)
    material = read.visual.material
    picture = np.asarray((material.baseColorTexture if suffix == ".glb" else material.image).convert("RGB")) / 255
    column, row = (read.visual.uv * [1, -1] + [0, 1]).T  # trimesh counts v upward
    colors = picture[(row * len(picture)).astype(int), (column * len(picture)).astype(int)]
    assert len(read.faces) == len(mesh.faces)
    assert np.abs(colors - (read.vertices + 1) / 2).max() < 0.06
    assert not list(tmp_path.glob(".tmp*"))


def test_format_without_textures_and_missing_package_are_refused(
    tmp_path: Path, atlas: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"E-USAGE-FORMAT.*\.glb \.obj"):
        save_mesh(_painted(), tmp_path / "a.ply")
    monkeypatch.setitem(sys.modules, "xatlas", None)
    outcome = run("mesh", tiny_run(), "--out", tmp_path / "a.glb", "--color", "texture")
    assert outcome.code == 4 and "fieldscape[texture]" in outcome.err and not list(tmp_path.iterdir())


def test_textured_obj_replaces_none_of_its_files_unasked(tmp_path: Path, atlas: None) -> None:
    (tmp_path / "a.png").write_bytes(b"mine")
    words = ("mesh", tiny_run(), "--out", tmp_path / "a.obj", "--color", "texture", "--level", 1, "--resolution", 12)
    outcome = run(*words)
    assert outcome.code == 2 and "E-USAGE-EXISTS" in outcome.err and "a.png" in outcome.err
    assert run(*words, "--force").code == 0
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.obj", "a.mtl", "a.png"}


def test_model_frame_is_the_box_brought_to_one(tmp_path: Path) -> None:
    words = ("mesh", tiny_run(), "--resolution", 24, "--level", 1.0, "--color", "none", "--out")
    for frame in ("source", "model"):
        assert run(*words, tmp_path / f"{frame}.ply", "--frame", frame).code == 0
    source, model = (trimesh.load(tmp_path / f"{frame}.ply", process=False) for frame in ("source", "model"))
    assert model.vertices.min() >= -1e-4 and model.vertices.max() <= 1 + 1e-4
    assert np.allclose(np.ptp(source.vertices, 0) / 3, np.ptp(model.vertices, 0), atol=1e-3)
