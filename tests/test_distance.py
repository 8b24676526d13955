"""Meshes and radiance as teachers of distance, and how distance is taught."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from app.meshing import MeshOptions, mesh_steps
from cuda_ext import Adam
from data.distance import distance_volume, mesh_volume
from data.mesh_metrics import compare_meshes
from data.sdf_lattice import bake_distance
from fields.budget import Budget
from fields.distill import DistillOptions, DistillState, distill
from fields.distill.distance import (
    DistanceOptions,
    distance_loss,
    distance_normals,
    distance_points,
    distance_pool,
    hardest_points,
    slope_points,
    surface_points,
    uniform_distances,
)
from fields.errors import UserError
from fields.field import Field
from fields.fit_sdf import SDFOptions, fit_sdf
from fields.function_volume import FunctionVolume
from fields.mesh import extract_mesh
from fields.space import Space
from fields.volume import Volume, laplace_density

RADIUS = 0.6
BOUNDS = torch.tensor([[-1.0, -1.0, -0.8], [1.0, 1.0, 0.8]])
UP = torch.tensor([[0.0, 0.0, 1.0]])


def ball_sdf(x: Tensor) -> Tensor:
    return x.norm(dim=-1) - RADIUS


def position_colors(x: Tensor, directions: Tensor) -> Tensor:
    return (0.5 + 0.5 * x).clamp(0, 1) * (0.75 + 0.25 * directions[:, 2:])


def sphere(subdivisions: int = 4) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions, RADIUS)


def teacher() -> Volume:
    volume = FunctionVolume(Space(BOUNDS), "sdf", ball_sdf, position_colors)
    volume.occupancy.rebuild(volume, torch.Generator().manual_seed(0))
    return volume


def run(steps):  # type: ignore[no-untyped-def]
    """(reports, return value) of a generator."""
    reports = []
    while True:
        try:
            reports.append(next(steps))
        except StopIteration as end:
            return reports, end.value


def uniform(count: int = 4000) -> Tensor:
    return BOUNDS[0] + (BOUNDS[1] - BOUNDS[0]) * torch.rand(count, 3, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def mesh_teacher() -> Volume:
    mesh = sphere()
    shade = (np.asarray(mesh.vertices) / RADIUS * 0.5 + 0.5) * 255
    mesh.visual = trimesh.visual.ColorVisuals(
        mesh, vertex_colors=np.c_[shade, np.full(len(shade), 255)].astype(np.uint8)
    )
    return mesh_volume(mesh, BOUNDS, 64)


@pytest.fixture(scope="module")
def ball_teacher() -> Volume:
    return teacher()


def test_mesh_volume_has_the_distances_of_the_shape(mesh_teacher: Volume) -> None:
    x = uniform()
    error = (mesh_teacher.sdf(x) - ball_sdf(x)).abs()
    near = ball_sdf(x).abs() < 0.03
    assert error[near].max() < 0.004 and error.mean() < 0.004
    assert torch.equal(mesh_teacher.sdf(x[~near]) < 0, ball_sdf(x[~near]) < 0)
    assert mesh_teacher.kind == "sdf" and mesh_teacher.beta.item() == pytest.approx(0.5 * mesh_teacher.space.step)


def test_mesh_volume_has_the_nearest_surface_color(mesh_teacher: Volume) -> None:
    x = torch.nn.functional.normalize(uniform(500), dim=1)
    for radius in (0.95 * RADIUS, RADIUS, 1.1 * RADIUS):
        rgb = mesh_teacher.evaluate(radius * x, UP.expand(500, 3)).rgb
        torch.testing.assert_close(rgb, 0.5 + 0.5 * x, atol=0.01, rtol=0)


def test_distances_anywhere_in_the_box_are_the_teachers_own(ball_teacher: Volume) -> None:
    x, sdf = uniform_distances(ball_teacher, 2000, torch.Generator().manual_seed(0))
    assert bool(ball_teacher.space.contains(x).all()) and x.std(dim=0).min() > 0.2 * float(ball_teacher.space.extent)
    assert torch.equal(sdf, ball_teacher.evaluate_geometry(x))


def test_a_bubble_far_from_the_known_surface_is_not_meshed() -> None:
    def with_bubble(x: Tensor) -> Tensor:
        return torch.minimum(ball_sdf(x), (x - torch.tensor([0.8, 0.8, 0.6])).norm(dim=1) - 0.1)

    volume = FunctionVolume(Space(BOUNDS), "sdf", ball_sdf, position_colors)
    volume.occupancy.rebuild(volume, torch.Generator().manual_seed(0))
    false = FunctionVolume(Space(BOUNDS), "sdf", with_bubble, position_colors)
    false.occupancy.bits.copy_(volume.occupancy.bits)
    _, mesh = run(mesh_steps(false, MeshOptions(resolution=48, color="none")))
    assert mesh.vertices.max() < RADIUS + 0.05


def test_mesh_without_colors_is_grey_and_its_box_holds_it() -> None:
    volume = mesh_volume(sphere(2), resolution=32)
    rgb = volume.evaluate(uniform(10), UP.expand(10, 3)).rgb
    assert float((rgb.amax(dim=1) - rgb.amin(dim=1)).max()) < 0.1
    low, high = volume.space.bounds
    assert bool((low < -RADIUS).all() and (high > RADIUS).all())
    surface = torch.nn.functional.normalize(uniform(200), dim=1) * RADIUS
    assert bool(volume.occupancy.occupied(surface).all()) and volume.occupancy.occupied_fraction < 0.3


def test_lattice_is_seamless_between_fine_and_coarse_and_beyond_the_box() -> None:
    _, lattice = run(bake_distance(ball_sdf, BOUNDS, 48))
    t = torch.linspace(-1.5, 1.5, 20001)[:, None]
    values = lattice(t * torch.tensor([[0.5, 0.7, 0.5]]))
    slope = (values[1:] - values[:-1]).abs() / (t[1] - t[0]).item()
    assert slope.max() < 1.4  # a jump would show as hundreds
    beyond = torch.tensor([[2.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
    assert bool((lattice(beyond) <= ball_sdf(beyond)).all()) and bool((lattice(beyond) > 1).all())


@pytest.fixture(scope="module")
def radiance() -> FunctionVolume:
    volume = FunctionVolume(
        Space(BOUNDS), "density", lambda x: laplace_density(ball_sdf(x), torch.tensor(0.004)), position_colors
    )
    volume.occupancy.rebuild(volume, torch.Generator().manual_seed(0))
    return volume


def test_radiance_becomes_distance_with_the_colors_of_its_surface(radiance: FunctionVolume) -> None:
    reports, (volume, report) = run(distance_volume(radiance, 64))
    assert report.watertight and report.open_edges == 0 and report.faces > 1000 and report.level > 0
    assert len(reports) > 3 and all(0 <= r.fraction <= 1 for r in reports)
    x = uniform()
    assert (volume.sdf(x) - ball_sdf(x)).abs().mean() < 0.008
    mesh = extract_mesh(volume.evaluate_geometry, BOUNDS, 64, inside="negative")
    assert mesh.is_watertight() and mesh.volume() == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.05)
    near = x[ball_sdf(x).abs() < 0.1]
    d = torch.nn.functional.normalize(torch.randn(near.shape, generator=torch.Generator().manual_seed(1)), dim=1)
    wanted = position_colors(RADIUS * torch.nn.functional.normalize(near, dim=1), d)
    assert (volume.evaluate(near, d).rgb - wanted).abs().mean() < 0.01


def test_distances_have_no_need_of_distances(ball_teacher: Volume) -> None:
    with pytest.raises(TypeError, match="already"):
        next(distance_volume(ball_teacher, 32))


def test_surface_points_lie_on_the_surface_and_all_round(ball_teacher: Volume) -> None:
    x = surface_points(ball_teacher, 2000, torch.Generator().manual_seed(0))
    assert len(x) == 2000 and ball_sdf(x).abs().max() < ball_teacher.space.step
    assert (x.mean(dim=0).abs() < 0.05).all()
    octants = ((x > 0).long() * torch.tensor([1, 2, 4])).sum(dim=1).bincount(minlength=8)
    assert octants.min() > 180


def test_points_are_near_the_surface_and_everywhere(ball_teacher: Volume) -> None:
    generator = torch.Generator().manual_seed(0)
    x, sdf = distance_points(ball_teacher, 4000, generator)
    torch.testing.assert_close(sdf, ball_sdf(x))
    assert bool(ball_teacher.space.contains(x).all())
    assert 0.6 < (sdf.abs() < 0.08).float().mean() < 0.9 and sdf.max() > 0.6 and sdf.min() < -0.4
    again, _ = distance_points(ball_teacher, 4000, torch.Generator().manual_seed(0))
    assert torch.equal(x, again)


def test_points_in_a_bubble_far_from_the_surface_are_hard(ball_teacher: Volume) -> None:
    def in_bubble(x: Tensor) -> Tensor:
        return (x - BOUNDS[1] * 0.8).norm(dim=1) < 0.15

    def bubbled(x: Tensor) -> Tensor:
        return torch.where(in_bubble(x), -0.02, ball_sdf(x))

    student = FunctionVolume(ball_teacher.space, "sdf", bubbled, lambda x, d: torch.zeros_like(x))
    pool, generator = distance_pool(ball_teacher, 1 << 14), torch.Generator().manual_seed(1)
    some = in_bubble(pool.sample(1 << 14, generator)[0]).float().mean()
    hard = in_bubble(pool.take(hardest_points(student, pool, generator))[0]).float().mean()
    assert 0 < some < 0.02 and hard > 12 * some


def test_resumed_teaching_draws_the_same_hard_points(ball_teacher: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fields.distill.run.distance_pool", partial(distance_pool, size=1 << 14))
    students = [Field.create("triplane", ball_teacher.space, "sdf", preset="tiny") for _ in range(3)]
    options, budget = DistillOptions(), Budget(steps=176)
    run(distill(ball_teacher, students[0], budget, options=options))
    state = DistillState(ball_teacher, students[1], options)
    for report in distill(ball_teacher, students[1], budget, options=options, state=state):
        if report.step == 144:
            break
    assert len(state.hard_points)
    state = DistillState.restore(ball_teacher, students[2], options, state.tensors())
    run(distill(ball_teacher, students[2], budget, options=options, state=state))
    assert all(torch.equal(a, b) for a, b in zip(students[0].parameters(), students[2].parameters(), strict=True))


def test_a_shape_without_colors_is_taught_by_points_alone(
    ball_teacher: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fields.distill.run.distance_pool", partial(distance_pool, size=1 << 14))
    monkeypatch.setattr("fields.distill.run.lesson", None)  # no ray is asked about
    student = Field.create("triplane", ball_teacher.space, "sdf", preset="tiny")
    before = [p.clone() for p in student.appearance.parameters()]
    options = DistillOptions(colors=False, active=("points",))
    state = DistillState(ball_teacher, student, options)
    reports, _ = run(distill(ball_teacher, student, Budget(steps=160), options=options, state=state))
    assert not any(report.metrics for report in reports)  # closeness is told by pixels
    x = uniform()
    near = ball_sdf(x).abs() < 0.1
    assert (student.sdf(x) - ball_sdf(x)).abs()[near].mean() < 0.01
    assert all(torch.equal(a, b) for a, b in zip(before, student.appearance.parameters(), strict=True))
    assert set(state.seconds) == {"start", "values"}


def test_state_with_other_levels_is_refused(ball_teacher: Volume) -> None:
    student = Field.create("triplane", ball_teacher.space, "sdf", preset="tiny")
    kept = DistillState(ball_teacher, student, DistillOptions()).tensors()
    with pytest.raises(UserError, match=r"E-CKPT-TENSORS.*other levels"):
        DistillState.restore(ball_teacher, student, DistillOptions(colors=False), kept)


def test_volume_without_surface_gives_uniform_points() -> None:
    volume = FunctionVolume(Space(BOUNDS), "sdf", lambda x: 1 + x[:, 0] ** 2, position_colors)
    volume.occupancy.bits.zero_()
    x, _ = distance_points(volume, 100, torch.Generator().manual_seed(0))
    assert x.shape == (100, 3)


def test_loss_is_zero_for_the_truth_and_counts_errors_near_the_surface_most(ball_teacher: Volume) -> None:
    x = uniform(200)
    normals = distance_normals(ball_teacher, x[:50], 0.01)
    sloped = DistanceOptions(slope=0.1)
    assert distance_loss(ball_teacher, x, ball_sdf(x), normals, sloped).item() < 1e-3
    near, far = torch.tensor([[RADIUS, 0.0, 0.0]]), torch.tensor([[0.95, 0.95, 0.7]])
    errors = [distance_loss(ball_teacher, p, ball_sdf(p) + 0.01).item() for p in (near, far)]
    assert errors[0] > 10 * errors[1]
    wrong = distance_loss(ball_teacher, x, ball_sdf(x), -normals, sloped)
    assert wrong.item() > 0.3
    assert distance_loss(ball_teacher, x, ball_sdf(x), options=sloped).item() < 1e-3  # lengths alone are right too


@pytest.mark.parametrize("name", ["hash", "mlp", "sparse", "vm", "cp", "triplane"])
def test_every_backend_learns_a_distance(name: str, ball_teacher: Volume) -> None:
    student = Field.create(name, ball_teacher.space, "sdf", preset="tiny")
    torch.nn.init.constant_(student.log_beta, math.log(0.002))
    shape = FunctionVolume(
        ball_teacher.space, "sdf", lambda x: (x.abs() - 0.35).clamp_min(0).norm(dim=1) - 0.15, position_colors
    )
    shape.occupancy.rebuild(shape, torch.Generator().manual_seed(0))
    pool, generator = distance_pool(shape, 1 << 14), torch.Generator().manual_seed(1)
    optimiser, options, losses = Adam(student.parameter_groups()), DistanceOptions(slope=0.01), []
    x = uniform(3000)
    before = (student.evaluate_geometry(x) - shape.evaluate_geometry(x)).abs().mean()
    for _ in range(60):
        x, sdf = pool.sample(1024, generator)
        normals = distance_normals(shape, x[: slope_points(len(x), options)], 0.01)
        loss = distance_loss(student, x, sdf, normals, options)
        loss.backward()
        optimiser.collect()
        optimiser.step(1.0)
        losses.append(loss.item())
    x = uniform(3000)
    after = (student.evaluate_geometry(x) - shape.evaluate_geometry(x)).abs().mean()
    assert losses[-1] < 0.6 * losses[0] and after < 0.6 * before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spot.obj", "armadillo.obj"])
def test_taught_distance_is_nearly_as_close_to_the_mesh_as_the_teacher(name: str, shared_data) -> None:  # type: ignore[no-untyped-def]
    from data.mesh_sdf import MeshSDF
    from data.meshes import load_mesh

    source = MeshSDF(load_mesh(shared_data / "meshes" / name))
    fields, chamfer = [], []
    for seed in range(2):
        field = Field.create("hash", Space(source.bounds), "sdf", preset="small", seed=seed)
        points = source if not fields else distance_pool(fields[0])
        for _ in fit_sdf(field, points, Budget(steps=800), options=SDFOptions(batch=1 << 13)):
            pass
        fields.append(field)
        mesh = extract_mesh(field.evaluate_geometry, source.bounds, 128, inside="negative")
        chamfer.append(
            compare_meshes(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), source, 30000)["chamfer"]
        )
    assert chamfer[1] < 1.2 * chamfer[0]
