"""Any two functions as a volume: rendered, meshed and refused when they are none."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from fields.cameras import Cameras, look_at
from fields.errors import ExitCode, UserError
from fields.function_volume import FunctionVolume
from fields.mesh import extract_mesh
from fields.render import render_view
from fields.space import Space

SPACE = Space(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))


def ball_sdf(x: Tensor) -> Tensor:
    return x.norm(dim=-1) - 0.5


def ball_density(x: Tensor) -> Tensor:
    return 40.0 * (ball_sdf(x) < 0)


def front_colors(x: Tensor, directions: Tensor) -> Tensor:
    """Red grows with x, green with looking down."""
    return torch.stack([0.5 + 0.5 * x[:, 0], 0.5 - 0.5 * directions[:, 2], torch.zeros(len(x))], dim=1).clamp(0, 1)


@cache
def ball(kind: str = "density") -> FunctionVolume:
    volume = FunctionVolume(SPACE, kind, ball_sdf if kind == "sdf" else ball_density, front_colors)  # type: ignore[arg-type]
    volume.occupancy.rebuild(volume, torch.Generator().manual_seed(0))
    return volume


def test_output_is_what_the_functions_say() -> None:
    x, d = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    out = ball().evaluate(x, d)
    assert out.density.tolist() == [40.0, 0.0]
    assert out.geometry[0].item() == pytest.approx(math.log(40)) and bool(torch.isfinite(out.geometry).all())
    torch.testing.assert_close(out.rgb, front_colors(x, d))
    assert bool((ball().density(torch.full((2, 3), 1.2)) == 0).all())


def test_no_points_ask_nothing() -> None:
    def refuse(x: Tensor) -> Tensor:
        assert len(x)
        return ball_density(x)

    out = FunctionVolume(SPACE, "density", refuse, front_colors)(torch.zeros(0, 3), torch.zeros(0, 3))
    assert out.density.shape == (0,) and out.rgb.shape == (0, 3)


def test_colors_are_asked_only_where_something_is_seen() -> None:
    asked = []

    def rgb(x: Tensor, directions: Tensor) -> Tensor:
        asked.append(x)
        return front_colors(x, directions)

    volume = FunctionVolume(SPACE, "density", ball_density, rgb)
    asked.clear()
    pose = look_at(torch.tensor([[3.0, 0.0, 0.0]]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    picture = render_view(volume, Cameras.pinhole(pose, 24.0, 16, 16), 0)["rgb"]
    assert picture[8, 8, 0] > 0.7 and picture[0, 0].tolist() == [1, 1, 1]
    assert torch.cat(asked).norm(dim=1).max() < 0.5


@pytest.mark.parametrize("kind", ["density", "sdf"])
def test_occupancy_and_normals_follow_from_the_functions(kind: str) -> None:
    volume = ball(kind)
    surface = torch.nn.functional.normalize(torch.randn(100, 3, generator=torch.Generator().manual_seed(0)), dim=1) / 2
    assert bool(volume.occupancy.occupied(0.98 * surface).all()) and volume.occupancy.occupied_fraction < 0.12
    if kind == "sdf":
        torch.testing.assert_close(volume.normals(surface), 2 * surface, atol=1e-2, rtol=0)
        assert volume.beta.item() == pytest.approx(0.5 * SPACE.step)


def test_functions_without_gradient_will_do() -> None:
    volume = FunctionVolume(
        SPACE, "sdf", lambda x: torch.from_numpy(np.linalg.norm(x.numpy(), axis=1) - 0.5), front_colors, beta=0.01
    )
    normals = volume.normals(torch.tensor([[0.0, 0.5, 0.0]]))
    torch.testing.assert_close(normals, torch.tensor([[0.0, 1.0, 0.0]]), atol=1e-3, rtol=0)
    mesh = extract_mesh(volume.evaluate_geometry, SPACE.bounds, 48, inside="negative")
    assert mesh.is_watertight() and mesh.volume() == pytest.approx(math.pi / 6, rel=0.01)


@pytest.mark.parametrize(
    ("geometry", "rgb", "where"),
    [
        (lambda x: x, front_colors, "geometry"),
        (lambda x: None, front_colors, "geometry"),
        (lambda x: ball_density(x) / 0 * 0, front_colors, "geometry"),
        (lambda x: ball_sdf(x), front_colors, "geometry"),  # negative densities
        (ball_density, lambda x, d: x[:, :1], "rgb"),
        (ball_density, lambda x, d: 255 * front_colors(x, d), "rgb"),
    ],
)
def test_functions_that_cannot_serve_are_refused_by_name(geometry, rgb, where: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match="E-FUNCTION") as error:
        FunctionVolume(SPACE, "density", geometry, rgb)
    assert error.value.where == where and error.value.exit_code == ExitCode.BAD_INPUT
