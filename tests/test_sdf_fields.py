"""Fitting signed-distance fields: to shapes whose distances are known, and to a mesh."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fields.budget import Budget
from fields.errors import UserError
from fields.field import Field
from fields.fit import FitState
from fields.fit_sdf import SDFOptions, fit_sdf
from fields.mesh import Mesh, extract_mesh
from fields.occupancy import OccupancyGrid
from fields.sdf_gradient import sdf_gradient
from fields.sdf_loss import eikonal_loss, sdf_loss
from fields.space import Space

LOW, HIGH = torch.tensor([-1.0, -1.5, -1.0]), torch.tensor([2.0, 1.5, 2.0])
SPACE = Space(torch.stack([LOW, HIGH]))
CENTRE = torch.tensor([0.5, 0.0, 0.5])
QUICK = SDFOptions(batch=2048)


def torus(x: Tensor) -> Tensor:
    """Exact distance to a torus round the y axis, radii 0.8 and 0.35."""
    p = x - CENTRE
    ring = torch.hypot(p[:, 0], p[:, 2]) - 0.8
    return torch.hypot(ring, p[:, 1]) - 0.35


class Shape:
    """Exact distances at uniform positions; `bad` steps give something else."""

    def __init__(self, bad: float | None = None, every: int = 1) -> None:
        self.bad, self.every, self.draws = bad, every, 0

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = LOW + (HIGH - LOW) * torch.rand(count, 3, generator=generator)
        sdf = torus(x)
        self.draws += 1
        if self.bad is not None and self.draws % self.every == 0:
            sdf[0] = self.bad
        return x, sdf


def new_field(name: str = "hash", kind: str = "sdf") -> Field:
    return Field.create(name, SPACE, kind, preset="tiny")  # type: ignore[arg-type]


def run(field: Field, steps: int, *, source: Shape | None = None, state: FitState | None = None,
        seed: int = 0, options: SDFOptions = QUICK) -> list[float]:
    """Fit to the end; the reported losses."""
    source, budget = source or Shape(), Budget(steps=steps)
    return [p.loss for p in fit_sdf(field, source, budget, seed=seed, state=state, options=options)]


@pytest.fixture(scope="module")
def fitted() -> Field:
    field = new_field()
    run(field, 300)
    return field


@pytest.fixture
def no_rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the occupancy grid alone, for tests that look at parameters only."""
    monkeypatch.setattr(OccupancyGrid, "rebuild", lambda *_: None)


def test_fitted_distances_are_the_shapes(fitted: Field) -> None:
    x, wanted = Shape().sample(20000, torch.Generator().manual_seed(9))
    found = fitted.evaluate_geometry(x)
    near = wanted.abs() < 0.1
    assert (found - wanted)[near].abs().mean() < 0.01
    inside, hollow = found < 0, wanted < 0
    assert (inside & hollow).sum() / (inside | hollow).sum() > 0.96


def test_mesh_of_a_fit_is_closed_and_has_the_volume(fitted: Field) -> None:
    mesh: Mesh = extract_mesh(fitted.evaluate_geometry, SPACE.bounds, 64, inside="negative")
    assert mesh.is_watertight()
    assert mesh.volume() == pytest.approx(2 * math.pi**2 * 0.8 * 0.35**2, rel=0.03)


def test_fit_leaves_a_field_ready_for_rendering(fitted: Field) -> None:
    assert fitted.beta.item() == pytest.approx(0.5 * SPACE.step, rel=1e-4)
    surface = CENTRE + torch.tensor([[1.15, 0.0, 0.0], [0.0, 0.35, 0.8]])
    assert bool(fitted.occupancy.occupied(surface).all())
    assert fitted.occupancy.occupied_fraction < 0.5


def test_new_distance_field_is_the_sphere_it_starts_from() -> None:
    x, _ = Shape().sample(2000, torch.Generator().manual_seed(1))
    sphere = (x - CENTRE).norm(dim=1) - 0.25 * SPACE.extent
    for name in ("hash", "hash+hash"):
        torch.testing.assert_close(new_field(name).evaluate_geometry(x), sphere, atol=2e-3, rtol=0)


def test_surface_on_the_initial_sphere_is_as_smooth_as_any() -> None:
    """A network without bias is rough where its output crosses zero, unless its features hold a constant."""
    radius = 0.25 * SPACE.extent

    class Sphere(Shape):
        def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            x, _ = super().sample(count, generator)
            return x, (x - CENTRE).norm(dim=1) - radius + 0.1 * torch.sin(8 * x[:, 0])

    field = new_field()
    run(field, 300, source=Sphere())
    d = torch.nn.functional.normalize(torch.randn(3000, 3, generator=torch.Generator().manual_seed(2)), dim=1)
    x = CENTRE + radius * d
    slope = d.clone()
    slope[:, 0] += 0.8 * torch.cos(8 * x[:, 0])
    cosine = torch.nn.functional.cosine_similarity(field.normals(x), slope, dim=1)
    assert cosine.mean() > 0.9


@pytest.mark.usefixtures("no_rebuild")
@pytest.mark.parametrize("name", ["hash", "mlp"])
def test_interrupted_run_ends_in_the_same_bits(name: str) -> None:
    whole = new_field(name)
    run(whole, 40)
    broken = new_field(name)
    state = FitState(broken, 0)
    steps = fit_sdf(broken, Shape(), Budget(steps=40), state=state, options=QUICK)
    next(steps)
    assert state.step == 16
    stored = {key: tensor.clone() for key, tensor in state.tensors().items()}
    next(steps)
    steps.close()
    again = new_field(name)
    run(again, 40, state=FitState.restore(again, stored))
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key


@pytest.mark.usefixtures("no_rebuild")
def test_seed_decides_the_result() -> None:
    fields = [new_field() for _ in range(3)]
    for field, seed in zip(fields, (0, 0, 1), strict=True):
        run(field, 8, seed=seed)
    same, other = (torch.equal(fields[0].backend.table, f.backend.table) for f in fields[1:])  # type: ignore
    assert same and not other


@pytest.mark.usefixtures("no_rebuild")
def test_single_bad_distances_do_not_reach_the_field() -> None:
    field = new_field()
    losses = run(field, 60, source=Shape(math.nan, every=7))
    assert all(bool(torch.isfinite(p).all()) for p in field.parameters())
    assert losses[-1] < losses[0]


def test_source_without_a_finite_distance_ends_the_fit() -> None:
    with pytest.raises(UserError, match="E-NAN-FIT"):
        run(new_field(), 60, source=Shape(math.nan))


@pytest.mark.usefixtures("no_rebuild")
def test_appearance_is_left_as_it_was() -> None:
    field = new_field()
    before = [p.clone() for p in field.appearance.parameters()]
    run(field, 30)
    assert all(torch.equal(a, b) for a, b in zip(before, field.appearance.parameters(), strict=True))


def test_density_fields_are_refused() -> None:
    with pytest.raises(TypeError, match="kind='sdf'"):
        next(fit_sdf(new_field(kind="density"), Shape(), Budget(steps=1)))


@pytest.mark.usefixtures("no_rebuild")
def test_progress_counts_steps_and_ends_with_the_budget() -> None:
    field = new_field()
    reports = list(fit_sdf(field, Shape(), Budget(steps=40), options=QUICK))
    assert [p.step for p in reports] == [16, 32, 40] and reports[-1].fraction == 1
    timed = list(fit_sdf(field, Shape(), Budget(seconds=0.2), options=QUICK))
    assert timed[-1].seconds >= 0.2 and timed[-1].remaining == 0


def test_loss_is_relative_to_the_distance() -> None:
    field = new_field()
    x = torch.tensor([[0.5, 0.0, 0.5], [1.9, 0.0, 0.5]])
    truth = field.evaluate_geometry(x)
    shifted = sdf_loss(field, x, truth + 0.01, tolerance=0.01)
    expected = (0.01 / ((truth + 0.01).abs() + 0.01 * SPACE.extent)).mean()
    torch.testing.assert_close(shifted.detach(), expected, rtol=1e-3, atol=0)


def test_differences_give_gradients_of_length_one_for_distances() -> None:
    field = new_field()  # the exact distance to a sphere, but for 1e-4
    x, _ = Shape().sample(500, torch.Generator().manual_seed(3))
    x = x[(x - CENTRE).norm(dim=1) > 0.3]
    gradient = sdf_gradient(field, x, 0.01)
    torch.testing.assert_close(gradient, torch.nn.functional.normalize(x - CENTRE, dim=1), atol=0.03, rtol=0)
    loss = eikonal_loss(field, x, 0.01)
    loss.backward()
    assert loss.item() < 1e-3 and torch.isfinite(field.backend.weights.grad).all()  # type: ignore


@pytest.mark.usefixtures("no_rebuild")
def test_eikonal_term_brings_gradients_closer_to_length_one() -> None:
    x, _ = Shape().sample(2000, torch.Generator().manual_seed(4))
    found = []
    for weight in (0.0, 0.3):
        field = new_field()
        run(field, 60, options=SDFOptions(batch=2048, eikonal=weight))
        found.append(float(eikonal_loss(field, x, 0.01).detach()))
    assert found[1] < 0.8 * found[0]


@pytest.mark.slow
def test_armadillo_is_closed_and_close_after_800_steps(shared_data: Path) -> None:
    import trimesh

    from data.mesh_metrics import compare_meshes
    from data.mesh_sdf import MeshSDF

    source = MeshSDF(trimesh.load(shared_data / "meshes" / "armadillo.obj", force="mesh"))
    field = Field.create("hash", Space(source.bounds), "sdf", preset="small")
    for _ in fit_sdf(field, source, Budget(steps=800)):
        pass
    mesh = extract_mesh(field.evaluate_geometry, source.bounds, 192, inside="negative")
    found = compare_meshes(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), source, 30000)
    assert found["chamfer"] < 0.003 and found["sign_iou"] >= 0.98 and found["watertight"]
