"""Fewer faces: closed surfaces stay closed, keep their parts and tunnels, and lose little of their shape."""

from __future__ import annotations

from collections.abc import Callable

import igl
import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fields.mesh import Mesh, extract_mesh, simplify

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
_CELLS = 20
_TABLE = torch.randn(11, 11, 11, generator=torch.Generator().manual_seed(0))


def _ball(x: Tensor) -> Tensor:
    return x.norm(dim=1) - 0.7


def _torus(x: Tensor) -> Tensor:
    return torch.stack([x[:, :2].norm(dim=1) - 0.6, x[:, 2]], 1).norm(dim=1) - 0.2


def _two_balls(x: Tensor) -> Tensor:
    return torch.stack([x[:, 0].abs() - 0.4, x[:, 1], x[:, 2]], 1).norm(dim=1) - 0.38


def _cube(x: Tensor) -> Tensor:
    return x.abs().amax(1) - 0.5


def _thin_plate(x: Tensor) -> Tensor:
    return (x.abs() - torch.tensor([0.8, 0.6, 0.03])).amax(1)


def _hollow_ball(x: Tensor) -> Tensor:
    return _ball(x).abs() - 0.06


def _many_tunnels(x: Tensor) -> Tensor:
    return (torch.sin(6 * x) * torch.cos(6 * x.roll(1, 1))).sum(1)


def _noise(x: Tensor) -> Tensor:
    i, j, k = ((x + 1) * 5).round().long().clamp(0, 10).unbind(1)
    return _TABLE[i, j, k]


SHAPES: tuple[Callable[[Tensor], Tensor], ...] = (
    _ball, _torus, _two_balls, _cube, _thin_plate, _hollow_ball, _many_tunnels, _noise,
)  # fmt: skip
MESHES = {shape.__name__: extract_mesh(shape, BOX, _CELLS, inside="negative") for shape in SHAPES}


def _off(mesh: Mesh, other: Mesh) -> float:
    """The root mean square distance of points on one surface from the other."""
    points, _ = trimesh.sample.sample_surface(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), 2000, seed=0)
    squared = igl.point_mesh_squared_distance(points, other.vertices.astype(np.float64), other.faces)[0]
    return float(np.sqrt(squared.mean()))


def _topology(mesh: Mesh) -> tuple[int, int]:
    """Number of parts, and vertices - edges + faces."""
    labels = trimesh.graph.connected_component_labels(np.concatenate([mesh.faces[:, :2], mesh.faces[:, 1:]]))
    return int(labels.max()) + 1, len(mesh.vertices) - len(mesh.faces) // 2


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(MESHES)), st.integers(4, 3000))
def test_closed_surface_stays_closed_with_its_parts_and_tunnels(name: str, faces: int) -> None:
    mesh = MESHES[name]
    small = simplify(mesh, faces)
    assert small.is_watertight()
    assert trimesh.Trimesh(small.vertices, small.faces, process=False).is_winding_consistent
    assert len(np.unique(small.vertices, axis=0)) == len(small.vertices)
    assert len(np.unique(np.sort(small.faces, 1), axis=0)) == len(small.faces), "no face lies on another"
    assert _topology(small) == _topology(mesh)
    assert np.isfinite(small.vertices).all() and np.abs(small.vertices).max() < 1.2


@pytest.mark.parametrize("name", ["_ball", "_torus", "_two_balls", "_cube", "_thin_plate", "_hollow_ball"])
def test_a_quarter_of_the_faces_shows_the_same_surface(name: str) -> None:
    mesh = MESHES[name]
    small = simplify(mesh, len(mesh.faces) // 4)
    assert len(small.faces) <= len(mesh.faces) // 4
    assert small.volume() == pytest.approx(mesh.volume(), rel=0.02)
    assert max(_off(mesh, small), _off(small, mesh)) < 0.1 * 2 / _CELLS, "a tenth of a cell"


def test_place_and_size_do_not_matter() -> None:
    ball = MESHES["_ball"]
    small = simplify(ball, 400)
    for scale, shift in ((1e-3, 0.0), (1e3, 1e4)):
        moved = simplify(Mesh((ball.vertices * scale + shift).astype(np.float32), ball.faces), 400)
        assert moved.is_watertight()
        assert moved.volume() / scale**3 == pytest.approx(small.volume(), rel=0.02)


def test_open_surface_keeps_its_border() -> None:
    cut = extract_mesh(lambda x: x.norm(dim=1) - 1.2, BOX, _CELLS, inside="negative", closed=False)
    small = simplify(cut, 1000)
    assert len(small.faces) <= 1000 and max(_off(cut, small), _off(small, cut)) < 0.1 * 2 / _CELLS


def test_small_enough_mesh_is_returned_as_it_is() -> None:
    assert simplify(MESHES["_ball"], 10**6) is MESHES["_ball"]


def test_edge_with_three_faces_is_refused() -> None:
    ball = MESHES["_ball"]
    with pytest.raises(ValueError, match="more than two faces"):
        simplify(Mesh(ball.vertices, np.concatenate([ball.faces, ball.faces[:1]])), 100)
