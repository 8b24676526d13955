"""Sphere tracing and shading of signed-distance fields whose surfaces are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fields.backends.base import Backend
from fields.cameras import Cameras, Rays, look_at
from fields.field import Field
from fields.shading import linear_to_srgb, occlusion, soft_shadow
from fields.space import Space
from fields.sphere_trace import render_sdf_view, sphere_trace

SPACE = Space(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
RADIUS = 0.5  # of the sphere that a new field is


@pytest.fixture(scope="module")
def ball() -> Field:
    """A field that is an exact sphere: its backend adds nothing."""
    field = Field.create("mlp", SPACE, "sdf", preset="tiny")
    field.backend.begin_at_zero()
    return field


def ray(origin: tuple[float, ...], direction: tuple[float, ...]) -> Rays:
    d = torch.nn.functional.normalize(torch.tensor([direction]), dim=1)
    return Rays(torch.tensor([origin]), d, d)


def random_rays(count: int) -> Rays:
    """From all round towards points near the middle."""
    generator = torch.Generator().manual_seed(0)
    origins = 3 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    target = 0.6 * torch.randn(count, 3, generator=generator)
    d = torch.nn.functional.normalize(target - origins, dim=1)
    return Rays(origins, d, d)


def exact(rays: Rays, radius: float = RADIUS) -> tuple[Tensor, Tensor]:
    """Distance to the sphere (inf without a hit), and how close rays come to its rim."""
    middle = -(rays.origins * rays.directions).sum(1)
    gap2 = rays.origins.square().sum(1) - middle**2
    half = (radius**2 - gap2).clamp_min(0).sqrt()
    return torch.where(gap2 < radius**2, middle - half, torch.inf), (gap2.clamp_min(0).sqrt() - radius).abs()


class Warped(Backend):
    """Stands in for a backend: the sphere's distance times `factor`, as a badly fitted field has it."""

    width = 16

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def features(self, u: Tensor) -> Tensor:
        extra = (self.factor - 1) * ((2 * u - 1).norm(dim=1, keepdim=True) - RADIUS) / SPACE.extent
        return torch.cat([extra, torch.zeros(len(u), 15)], dim=1)


def test_hits_and_distances_are_the_spheres(ball: Field) -> None:
    rays = random_rays(2000)
    t, rim = exact(rays)
    found = sphere_trace(ball, rays)
    clear = rim > 1e-3
    assert torch.equal(found.hit[clear], torch.isfinite(t)[clear])
    both = found.hit & clear
    torch.testing.assert_close(found.t[both], t[both], atol=4e-3, rtol=0)  # loosest where rays graze
    torch.testing.assert_close(found.x[both].norm(dim=1), torch.full_like(t[both], RADIUS), atol=2e-4, rtol=0)
    torch.testing.assert_close(found.normals[both], found.x[both] / RADIUS, atol=1e-2, rtol=0)


def test_rays_without_a_hit_end_where_they_leave_the_box(ball: Field) -> None:
    found = sphere_trace(ball, ray((-3.0, 0.9, 0.0), (1.0, 0.0, 0.0)))
    assert not found.hit.item() and found.t.item() == pytest.approx(4.0)
    assert not found.x.any() and not found.normals.any()
    beside = sphere_trace(ball, ray((-3.0, 5.0, 0.0), (1.0, 0.0, 0.0)))
    assert not beside.hit.item()


@pytest.mark.parametrize("factor", [0.3, 1.8])
def test_wrong_scale_of_distances_leaves_no_holes(factor: float) -> None:
    field = Field("stub", Warped(factor), SPACE, "sdf")
    rays = random_rays(1000)
    t, rim = exact(rays)
    found = sphere_trace(field, rays)
    deep = torch.isfinite(t) & (rim > 0.15)
    assert bool(found.hit[deep].all())
    assert (found.t - t)[deep].abs().max() < 2e-3


def test_ray_that_begins_inside_hits_at_once(ball: Field) -> None:
    found = sphere_trace(ball, ray((0.1, 0.0, 0.0), (0.0, 0.0, 1.0)))
    assert found.hit.item() and found.t.item() == 0


def test_nothing_nearer_than_near_is_hit(ball: Field) -> None:
    found = sphere_trace(ball, ray((0.0, 0.0, 3.0), (0.0, 0.0, -1.0)), near=3.2)
    assert found.hit.item() and found.t.item() == pytest.approx(3.2)
    behind = sphere_trace(ball, ray((0.0, 0.0, 3.0), (0.0, 0.0, -1.0)), near=3.6)
    assert not behind.hit.item()


def test_senseless_rays_end_without_a_hit(ball: Field) -> None:
    for value in (math.nan, math.inf):
        bad = torch.full((3, 3), value)
        assert not sphere_trace(ball, Rays(bad, bad, bad)).hit.any()


def test_no_rays_give_no_hits(ball: Field) -> None:
    none = torch.zeros(0, 3)
    found = sphere_trace(ball, Rays(none, none, none))
    assert found.t.shape == (0,) and found.normals.shape == (0, 3)


@pytest.fixture(scope="module")
def cameras() -> Cameras:
    eye = torch.tensor([[0.0, 0.0, 3.0]])
    return Cameras.pinhole(look_at(eye, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0])), 60.0, 40, 30)


def test_view_shows_the_sphere_in_every_picture(ball: Field, cameras: Cameras) -> None:
    what = ("rgb", "depth", "normal", "opacity")
    out = render_sdf_view(ball, cameras, 0, what=what, background=0.25)
    assert {k: tuple(v.shape) for k, v in out.items()} == {
        "rgb": (30, 40, 3), "depth": (30, 40), "normal": (30, 40, 3), "opacity": (30, 40)}
    seen = out["opacity"] > 0
    assert set(out["opacity"].unique().tolist()) == {0.0, 1.0}
    rim = 60 * math.tan(math.asin(RADIUS / 3))  # pixels
    assert seen.sum().item() == pytest.approx(math.pi * rim**2, rel=0.05)
    assert out["depth"][15, 20].item() == pytest.approx(2.5, abs=0.01)
    torch.testing.assert_close(out["normal"][15, 20], torch.tensor([0.0, 0.0, 1.0]), atol=0.05, rtol=0)
    assert bool((out["rgb"][~seen] == 0.25).all()) and not out["normal"][~seen].any()
    assert out["rgb"].min() >= 0 and out["rgb"].max() <= 1


def test_only_the_wanted_pictures_are_made(ball: Field, cameras: Cameras) -> None:
    assert set(render_sdf_view(ball, cameras, 0, what=("depth",))) == {"depth"}


def test_clay_is_lit_from_above(ball: Field, cameras: Cameras) -> None:
    rgb = render_sdf_view(ball, cameras, 0)["rgb"]
    assert rgb[8, 20].mean() > 1.2 * rgb[22, 20].mean()
    assert rgb[22, 20].min() > 0.05


def test_field_colours_are_shown_on_demand(ball: Field, cameras: Cameras) -> None:
    rays = cameras.view(0)
    hit = sphere_trace(ball, rays)
    rgb = render_sdf_view(ball, cameras, 0, paint="field")["rgb"].reshape(-1, 3)
    expected = ball.evaluate(hit.x[hit.hit], rays.view_directions[hit.hit]).rgb
    torch.testing.assert_close(rgb[hit.hit], expected)


class Pocket(Warped):
    """Stands in for a backend: a floor at y = 0 with a wall at x = 0 that rises from it."""

    def features(self, u: Tensor) -> Tensor:
        x = 2 * u - 1
        sdf = torch.minimum(x[:, 1], x[:, 0])
        extra = (sdf - (x.norm(dim=1) - RADIUS)) / SPACE.extent
        return torch.cat([extra[:, None], torch.zeros(len(u), 15)], dim=1)


def test_corners_are_occluded_and_open_ground_is_not() -> None:
    field = Field("stub", Pocket(1.0), SPACE, "sdf")
    x, up = torch.tensor([[0.01, 0.0, 0.0], [0.8, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]] * 2)
    corner, ground = occlusion(field, x, up).tolist()
    assert ground == pytest.approx(1, abs=1e-3) and corner < 0.6


def test_wall_throws_a_shadow_away_from_the_light() -> None:
    field = Field("stub", Pocket(1.0), SPACE, "sdf")
    x, up = torch.tensor([[0.2, 0.0, 0.0], [0.2, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]] * 2)
    behind_wall = torch.nn.functional.normalize(torch.tensor([-1.0, 0.5, 0.0]), dim=0)
    beside = torch.nn.functional.normalize(torch.tensor([1.0, 0.5, 0.0]), dim=0)
    assert soft_shadow(field, x, up, behind_wall).max() < 0.05
    assert soft_shadow(field, x, up, beside).min() > 0.95
    assert not soft_shadow(field, x, -up, beside).any()


def test_srgb_curve_meets_its_ends() -> None:
    light = torch.tensor([-1.0, 0.0, 0.0031308, 0.5, 1.0, 7.0])
    expected = torch.tensor([0.0, 0.0, 0.04045, 0.735357, 1.0, 1.0])
    torch.testing.assert_close(linear_to_srgb(light), expected, atol=1e-4, rtol=0)
