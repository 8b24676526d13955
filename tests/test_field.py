"""The contract of `Field`, whatever the backend."""

import math

import pytest
import torch

from cuda_ext import Adam
from cuda_ext.render_loss import ClampedExp
from fields.backends import BACKENDS
from fields.errors import UserError
from fields.field import Field
from fields.space import Space
from fields.volume import laplace_density

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
NAMES = [*BACKENDS, "hash+triplane"]


def make(name: str, kind: str = "density", **space: str) -> Field:
    return Field.create(name, Space(BOX, **space), kind, preset="tiny")


def points(count: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    x = torch.rand(count, 3, generator=g) * 1.8 - 0.9
    return x, torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=1)


@pytest.mark.parametrize("kind", ["density", "sdf"])
@pytest.mark.parametrize("name", NAMES)
def test_output_has_the_promised_shapes_and_ranges(name: str, kind: str) -> None:
    field = make(name, kind)
    x, d = points()
    out = field(x, d)
    assert out.features.shape == (50, field.backend.width)
    assert out.geometry.shape == out.density.shape == (50,)
    assert out.rgb.shape == (50, 3)
    assert bool((out.density >= 0).all()) and bool(((out.rgb >= 0) & (out.rgb <= 1)).all())


@pytest.mark.parametrize("name", NAMES)
def test_no_points_give_no_output(name: str) -> None:
    out = make(name)(torch.zeros(0, 3), torch.zeros(0, 3))
    assert out.rgb.shape == (0, 3) and out.density.shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_density_is_zero_outside_a_bounded_space(name: str) -> None:
    field = make(name)
    assert bool((field.density(torch.full((4, 3), 1.5)) == 0).all())
    assert bool((field.density(torch.zeros(4, 3)) > 0).all())


def test_unbounded_space_has_density_everywhere() -> None:
    assert bool((make("hash", contraction="unbounded").density(torch.full((1, 3), 50.0)) > 0).all())


def test_new_distance_field_is_a_sphere() -> None:
    field = make("hash", "sdf")
    inside, outside = field.sdf(torch.zeros(1, 3)), field.sdf(torch.full((1, 3), 0.9))
    assert inside.item() == pytest.approx(-0.5, abs=0.01)
    assert outside.item() == pytest.approx(0.9 * math.sqrt(3) - 0.5, abs=0.01)
    x, _ = points()
    assert torch.allclose(field.normals(x), torch.nn.functional.normalize(x, dim=1), atol=0.05)


def test_same_seed_same_field_other_seed_another() -> None:
    a, b, c = (Field.create("hash", Space(BOX), preset="tiny", seed=s) for s in (0, 0, 1))
    assert torch.equal(a.backend.table, b.backend.table)
    assert not torch.equal(a.backend.table, c.backend.table)


def test_laplace_density_is_half_at_the_surface_and_one_inside() -> None:
    density = laplace_density(torch.tensor([-1.0, 0.0, 1.0]), torch.tensor(0.1))
    assert density.tolist() == pytest.approx([10.0, 5.0, 0.0], abs=1e-2)


def test_gradient_at_the_density_clamp_only_leads_down() -> None:
    x = torch.tensor([12.0, 12.0, 1.0], requires_grad=True)
    ClampedExp.apply(x, 10.0).backward(torch.tensor([1.0, -1.0, 1.0]))
    assert x.grad is not None
    assert x.grad[0] > 0 and x.grad[1] == 0 and x.grad[2] == pytest.approx(math.e, rel=1e-5)


def test_evaluation_in_chunks_equals_one_call() -> None:
    field = make("hash")
    x, d = points(70_000)
    assert torch.allclose(field.evaluate(x, d).rgb, field(x, d).rgb, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "preset", "settings", "code"),
    [
        ("nerf", "tiny", {}, "E-USAGE-BACKEND"),
        ("hash", "huge", {}, "E-USAGE-PRESET"),
        ("hash", "tiny", {"level": 3}, "E-USAGE-SET"),
        ("hash", "tiny", {"levels": "__import__('os')"}, "E-USAGE-SET"),
        ("hash", "tiny", {"features": 3}, "E-USAGE-SET"),
    ],
)
def test_wrong_settings_are_refused_by_name(name: str, preset: str, settings: dict, code: str) -> None:
    with pytest.raises(UserError) as error:
        Field.create(name, Space(BOX), preset=preset, settings=settings)
    assert error.value.code == code


def test_contraction_keeps_the_box_in_the_middle_half_and_inverts() -> None:
    space = Space(BOX, "unbounded")
    x = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [10.0, -3.0, 2.0]])
    u = space.to_unit(x)
    assert u[0].tolist() == [0.5, 0.5, 0.5]
    assert u[1, 0].item() == pytest.approx(0.75)
    assert bool(((u > 0) & (u < 1)).all())
    assert torch.allclose(space.to_scene(u), x, atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_normals_in_the_middle_of_a_fit_leave_its_gradients_alone(backend: str) -> None:
    field = make(backend)
    optimiser = Adam(field.parameter_groups())
    field.backend.attach(optimiser)
    assert bool(field.normals(points()[0]).isfinite().all())
    assert float(optimiser.collect()) == 0 and all(p.requires_grad for p in field.backend.parameters())
    assert not any(optimiser.gradient(p).any() for p in field.backend.parameters())
