"""Radiance to surface: what cameras see becomes one closed surface, without pits, fog or floaters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from app.survey import POSES_KEPT, poses_of, survey
from fields.cameras import Cameras, Rays, look_at
from fields.density_grid import DensityGrid, bake_density
from fields.depth_fusion import even_directions, fuse_depth, render_depth
from fields.field import Field
from fields.mesh import Mesh, extract_mesh, smooth_steps
from fields.space import Space

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


def _finish(steps):  # type: ignore[no-untyped-def]
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _everywhere(x: Tensor) -> Tensor:
    return torch.ones(len(x), dtype=torch.bool)


def _shell(x: Tensor) -> Tensor:
    """A ball of radius 0.6 as fits make it: opaque at the surface, empty within, thin at one spot, fog and a speck."""
    radius = x.norm(dim=1)
    density = 300.0 * ((radius < 0.6) & (radius > 0.5))
    spot = (x / radius[:, None].clamp_min(1e-6) - torch.tensor([1.0, 0.0, 0.0])).norm(dim=1) < 0.08
    return torch.where(spot, 0.02 * density, density) + 0.2


def _grid(resolution: int = 64) -> DensityGrid:
    return _finish(bake_density(_shell, BOX, resolution, _everywhere))


def _cameras(directions: Tensor, side: int = 96) -> Cameras:
    poses = look_at(4 * directions, torch.zeros(3), torch.tensor([0.1, 0.2, 1.0]))
    return Cameras.pinhole(poses, 1.6 * side, side, side)


def test_first_surface_is_where_half_of_the_light_is_left() -> None:
    grid = _finish(bake_density(lambda x: torch.full_like(x[:, 0], 2.0), BOX, 48, _everywhere))
    origin, direction = torch.tensor([[-3.0, 0.1, 0.2]]), torch.tensor([[1.0, 0.0, 0.0]])
    depth = grid.depths(Rays(origin, direction, direction), (0.1, 0.5))[:, 0]
    assert depth.tolist() == pytest.approx([2 - math.log(0.9) / 2, 2 + math.log(2) / 2], abs=0.01)
    away = Rays(origin, -direction, -direction)
    assert grid.depths(away, (0.5,)).isinf().all()


def test_hollow_ball_with_a_thin_spot_becomes_one_solid_ball() -> None:
    maps = _finish(render_depth(_grid(), _cameras(even_directions(24))))
    surface = _finish(fuse_depth(maps, BOX, 2 / 64))
    assert surface(torch.zeros(1, 3)).item() < 0 < surface(torch.full((1, 3), 0.9)).item()
    mesh = extract_mesh(surface, BOX, 64, inside="negative")
    assert mesh.is_watertight()
    assert mesh.volume() == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.08)
    assert np.linalg.norm(mesh.vertices, axis=1).min() > 0.5, "neither a pit nor an inner shell"


def test_side_that_no_camera_sees_is_closed_at_the_hull() -> None:
    above = even_directions(48)
    maps = _finish(render_depth(_grid(), _cameras(above[above[:, 2] > 0.3])))
    mesh = extract_mesh(_finish(fuse_depth(maps, BOX, 2 / 64)), BOX, 64, inside="negative")
    assert mesh.is_watertight()
    assert mesh.vertices[:, 2].max() == pytest.approx(0.6, abs=0.05)
    assert -0.75 < mesh.vertices[:, 2].min() < -0.1, "no skirt down to the box"


def test_maps_that_show_nothing_give_no_surface() -> None:
    grid = _finish(bake_density(lambda x: torch.zeros(len(x)), BOX, 32, _everywhere))
    maps = _finish(render_depth(grid, _cameras(even_directions(4), 32)))
    assert _finish(fuse_depth(maps, BOX, 2 / 32)) is None


def test_smoothing_takes_ripples_and_keeps_the_volume() -> None:
    ball = extract_mesh(lambda x: x.norm(dim=1) - 0.7, BOX, 48, inside="negative")
    noise = np.random.default_rng(0).normal(0, 0.004, ball.vertices.shape).astype(np.float32)
    rough = Mesh(ball.vertices + noise, ball.faces)
    fair = _finish(smooth_steps(rough))
    error = [np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.7).mean() for mesh in (rough, fair)]
    assert error[1] < 0.5 * error[0]
    assert fair.volume() == pytest.approx(ball.volume(), rel=0.01) and fair.is_watertight()


def test_survey_uses_remembered_cameras_and_goes_round_the_box_without_them() -> None:
    field = Field.create("hash", Space(BOX), preset="tiny")
    cameras = _cameras(even_directions(150))
    poses = poses_of(cameras)
    assert len(poses) == POSES_KEPT
    view = {"centre": [0.0] * 3, "up": [0.0, 0.0, 1.0], "distance": 4.0, "elevation": 0.6, "lens": [1.6, 1.6]}
    found = survey(field, {"viewpoint": view, "poses": poses}, 0.02)
    assert torch.allclose(found.camera_to_world[0], cameras.camera_to_world[0], atol=1e-5)
    dome = survey(field, {"viewpoint": view, "poses": "broken"}, 0.02)
    assert (dome.origins[:, 2] > 0).all() and torch.allclose(dome.origins.norm(dim=1), torch.tensor(4.0))
    around = survey(field, {}, 0.02)
    assert around.origins[:, 2].min() < 0 < around.origins[:, 2].max()
