"""Khronos' validator finds nothing to say about our files, where it is installed (npm install gltf-validator)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from world_surfaces import FormulaBlocks, RoomPlan, ball, ground, union

from fields.mesh_files import save_mesh
from fields.mesh_types import Mesh
from fields.progress import finished
from scenegen.world.export import mesh_scene

# NODE_PATH is where node looks for packages that lie elsewhere.
SCRIPT = """
const validator = require("gltf-validator"), bytes = new Uint8Array(require("fs").readFileSync(process.argv[1]));
validator.validateBytes(bytes, {maxIssues: 0}).then((report) => console.log(JSON.stringify(report.issues)));
"""


def _node(*words: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            ["node", "-e", *words], capture_output=True, text=True, timeout=100, check=False, env={**os.environ}
        )
    except OSError:
        return None


@pytest.fixture(scope="module")
def validator() -> None:
    found = _node("require('gltf-validator')")
    if found is None or found.returncode:
        pytest.skip("node or its package gltf-validator is not there (set NODE_PATH)")


def _issues(path: Path) -> list[dict[str, object]]:
    """Everything from errors to hints."""
    done = _node(SCRIPT, str(path))
    assert done is not None and done.returncode == 0, done
    return json.loads(done.stdout)["messages"]


def _tetrahedron() -> tuple[np.ndarray, np.ndarray]:
    x = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32) / 3
    return x, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


@pytest.mark.usefixtures("validator")
def test_nothing_is_said_of_a_scene(tmp_path: Path) -> None:
    table = ball((2.8, 0.3, 1.2), 0.6)
    surface = FormulaBlocks(union(ground, table)).surface({(i, k) for i in range(2) for k in range(2)}, 16)
    plan = RoomPlan(lambda x, z: (x - 2.8).square() + (z - 1.2).square() < 0.36)
    finished(mesh_scene(surface, plan, tmp_path / "scene.glb"))
    assert _issues(tmp_path / "scene.glb") == []


@pytest.mark.usefixtures("validator")
@pytest.mark.parametrize("look", ["plain", "colours", "texture"])
def test_nothing_is_said_of_a_mesh(look: str, tmp_path: Path) -> None:
    x, faces = _tetrahedron()
    colors = np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3) if look == "colours" else None
    mesh = Mesh(x, faces, colors)
    if look == "texture":
        mesh = Mesh(x, faces, uv=x[:, :2], texture=np.full((8, 8, 3), 90, np.uint8))
    save_mesh(mesh, tmp_path / "mesh.glb")
    assert _issues(tmp_path / "mesh.glb") == []


@pytest.mark.usefixtures("validator")
def test_a_broken_file_is_found_out(tmp_path: Path) -> None:
    save_mesh(Mesh(*_tetrahedron()), tmp_path / "mesh.glb")
    content = (tmp_path / "mesh.glb").read_bytes()
    (tmp_path / "mesh.glb").write_bytes(content.replace(b'"count":12', b'"count":99'))
    assert _issues(tmp_path / "mesh.glb")
