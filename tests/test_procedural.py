"""The built-in scene: exact geometry, light that depends on the view, photos that repeat."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.capture import load_views
from data.procedural import analytic_scene, make_capture, orbit_cameras, render, write_capture
from fields.cameras import Rays
from fields.views import Capture

SIZE = 40


@pytest.fixture(scope="module")
def capture() -> Capture:
    return make_capture(views=5, test_views=2, size=SIZE, seed=3)


def _points(count: int, seed: int = 0) -> torch.Tensor:
    scene = analytic_scene()
    unit = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))
    return scene.bounds[0] + unit * (scene.bounds[1] - scene.bounds[0])


def _rays(target: torch.Tensor, eye: torch.Tensor) -> Rays:
    directions = torch.nn.functional.normalize(target - eye, dim=-1)
    return Rays(eye.expand_as(target).contiguous(), directions, directions)


def test_distance_changes_no_faster_than_the_position() -> None:
    scene, x = analytic_scene(), _points(20_000)
    step = 0.05 * torch.randn(20_000, 3, generator=torch.Generator().manual_seed(1))
    change = (scene.sdf(x + step) - scene.sdf(x)).abs()
    assert bool((change <= step.norm(dim=-1) + 1e-5).all())


def test_distance_outside_leads_exactly_to_the_surface() -> None:
    scene, x = analytic_scene(), _points(5_000, seed=2).double().float()
    x = x[scene.sdf(x) > 0.01]
    width = 1e-3
    offsets = width * torch.eye(3)
    gradient = torch.stack([scene.sdf(x + o) - scene.sdf(x - o) for o in offsets], -1) / (2 * width)
    smooth = (gradient.norm(dim=-1) - 1).abs() < 0.01  # not on a ridge between two shapes
    assert smooth.float().mean() > 0.95
    landed = x - scene.sdf(x)[:, None] * gradient
    assert scene.sdf(landed[smooth]).abs().quantile(0.98) < 0.01


def test_known_points_are_inside_and_outside() -> None:
    inside = torch.tensor([[0.0, 0, -0.55], [0.36, -0.34, -0.2], [-0.42, -0.44, -0.3], [-0.46, 0.40, -0.2]])
    outside = torch.tensor([[0.0, 0, 0.43], [0.44, 0.46, -0.145], [0.9, 0.9, 0.0], [0.0, 0.0, -2.0]])
    assert bool((analytic_scene().sdf(inside) < 0).all())
    assert bool((analytic_scene().sdf(outside) > 0).all())


def test_bounds_hold_the_whole_scene_tightly() -> None:
    scene = analytic_scene()
    low, high = scene.bounds
    for axis in range(3):
        for side, sign in ((low, 1.0), (high, -1.0)):
            face = _points(60_000, seed=axis)
            face[:, axis] = side[axis]
            nearest = scene.sdf(face).min()
            assert nearest > 0
            face[:, axis] += sign * 0.06
            assert scene.sdf(face).min() < 0.02, (axis, sign)


def test_traced_rays_end_on_the_surface_or_miss_it() -> None:
    scene = analytic_scene()
    rays = orbit_cameras(1, 64).view(0)
    t = scene.trace(rays)
    hit = t.isfinite()
    x = rays.origins[hit] + t[hit, None] * rays.directions[hit]
    distance = scene.sdf(x).abs()
    assert 0.15 < hit.float().mean() < 0.6
    assert distance.quantile(0.99) < 2e-3 and distance.max() < 0.01
    for depth in torch.linspace(0, 1, 200):  # nothing solid in front of a hit
        before = rays.origins[hit] + (t[hit] - 0.01)[:, None] * depth * rays.directions[hit]
        assert scene.sdf(before).min() > -1e-3


def test_ray_that_misses_the_box_is_transparent_black() -> None:
    up = torch.tensor([[0.0, 0, 1]])
    rays = Rays(torch.tensor([[0.0, 0, 3]]), up, up)
    assert analytic_scene().shade(rays).abs().sum() == 0
    assert analytic_scene().shade(rays[:0]).shape == (0, 4)


def test_colour_depends_on_the_view_where_the_ball_shines() -> None:
    scene = analytic_scene()
    top = torch.tensor([[0.36, -0.34, 0.18]])
    eyes = [torch.tensor([-1.2, 1.0, 2.5]), torch.tensor([2.5, -2.5, 2.5])]
    colours = [scene.shade(_rays(top, eye))[0] for eye in eyes]
    assert all(colour[3] == 1 for colour in colours)
    assert (colours[0] - colours[1]).abs().max() > 0.03


def test_board_is_darker_in_the_shadow_of_the_ball() -> None:
    scene = analytic_scene()
    lamp = torch.nn.functional.normalize(torch.tensor([0.52, -0.42, 0.80]), dim=0)
    centre = torch.tensor([0.36, -0.34, -0.16])
    foot = centre - lamp * (0.34 / lamp[2])
    eye = torch.tensor([0.0, 0.0, 4.0])
    shaded, lit = torch.stack([foot, foot]), torch.tensor([[0.82, -0.1, -0.5], [0.82, -0.7, -0.5]])
    assert torch.allclose(foot[2], torch.tensor(-0.5))
    dark, bright = scene.shade(_rays(shaded, eye)), scene.shade(_rays(lit, eye))
    albedo = scene.albedo(torch.cat([shaded, lit])).mean(-1)
    assert dark[0, :3].mean() / albedo[0] < 0.75 * (bright[:, :3].mean(-1) / albedo[2:]).min()


def test_albedo_is_a_colour_everywhere() -> None:
    colour = analytic_scene().albedo(_points(5_000))
    assert colour.shape == (5_000, 3)
    assert colour.min() >= 0 and colour.max() <= 1
    assert colour.std(dim=0).min() > 0.1


def test_photo_edges_are_smoothed() -> None:
    alpha = render(analytic_scene(), orbit_cameras(1, 64), 0)[..., 3]
    assert {0, 255} < set(alpha.unique().tolist())
    partial = ((alpha > 0) & (alpha < 255)).float().mean()
    assert 0.005 < partial < 0.1


def test_capture_is_complete_and_centred(capture: Capture) -> None:
    assert (len(capture.train), len(capture.test)) == (5, 2)
    assert (capture.layout, capture.contraction, capture.background) == ("procedural", "none", "random")
    assert capture.train.pixels.shape == (5 * SIZE * SIZE, 4)
    assert bool((capture.train.cameras.origins[:, 2] > capture.bounds[0, 2]).all())
    for views in (capture.train, capture.test):
        for index in range(len(views)):
            alpha = views.pixels[views.starts[index] :][: SIZE * SIZE, 3].view(SIZE, SIZE)
            border = torch.cat([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
            assert border.max() == 0, "the scene is cut off by the frame"
            assert (alpha == 255).float().mean() > 0.1


def test_photos_repeat_with_the_seed_and_change_with_it(capture: Capture) -> None:
    again = make_capture(views=5, test_views=2, size=SIZE, seed=3)
    other = make_capture(views=5, test_views=2, size=SIZE, seed=4)
    assert torch.equal(capture.train.pixels, again.train.pixels)
    assert torch.equal(capture.test.cameras.camera_to_world, again.test.cameras.camera_to_world)
    assert not torch.equal(capture.train.pixels, other.train.pixels)


def test_test_views_are_not_among_the_training_views() -> None:
    capture = make_capture(views=30, test_views=6, size=2)
    gaps = torch.cdist(capture.test.cameras.origins, capture.train.cameras.origins)
    assert gaps.min() > 0.02
    assert gaps.min(dim=1).values.max() < 1.6  # and yet every one has a neighbour


def test_written_capture_is_nerf_synthetic(capture: Capture, tmp_path: Path) -> None:
    write_capture(capture, tmp_path)
    meta = json.loads((tmp_path / "transforms_train.json").read_text())
    assert meta["camera_angle_x"] == pytest.approx(0.6911112, abs=1e-6)
    assert len(meta["frames"]) == 5
    for index, frame in enumerate(meta["frames"]):
        with Image.open(tmp_path / f"{frame['file_path']}.png") as image:
            assert (image.mode, image.size) == ("RGBA", (SIZE, SIZE))
            pixels = torch.from_numpy(np.array(image)).view(-1, 4)
        assert torch.equal(pixels, capture.train.pixels[index * SIZE * SIZE :][: SIZE * SIZE])
        pose = torch.tensor(frame["transform_matrix"])
        assert torch.equal(pose[:3], capture.train.cameras.camera_to_world[index])
        assert pose[3].tolist() == [0, 0, 0, 1]
    assert len(list((tmp_path / "test").iterdir())) == 2


def test_written_capture_loads_as_the_same_photos_and_cameras(capture: Capture, tmp_path: Path) -> None:
    write_capture(capture, tmp_path)
    loaded = load_views(tmp_path)
    assert (loaded.layout, loaded.background) == ("nerf-synthetic", "random")
    for mine, theirs in ((capture.train, loaded.train), (capture.test, loaded.test)):
        assert torch.equal(mine.pixels, theirs.pixels)
        assert torch.allclose(mine.cameras.camera_to_world, theirs.cameras.camera_to_world)
        assert torch.allclose(mine.cameras.focal, theirs.cameras.focal)
