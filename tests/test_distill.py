"""Progressive Volume Distillation, as a whole and in its parts."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from cuda_ext.mlp import split_weights
from data.procedural import make_capture
from fields.budget import Budget
from fields.distill import DistillOptions, DistillState, cameras_around, distill
from fields.distill.losses import clamped_difference, visible_range
from fields.distill.rays import RaySource, turned
from fields.distill.schedule import Schedule
from fields.field import Field
from fields.fit import fit_images
from fields.fog import empty_log_density
from fields.metrics import psnr
from fields.progress import Progress
from fields.render import render_rays, render_view
from fields.space import Space
from fields.views import Capture

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


@pytest.fixture(scope="module")
def capture() -> Capture:
    return make_capture(views=16, test_views=2, size=48, seed=0)


def new_field(capture: Capture, name: str = "hash", **settings: object) -> Field:
    return Field.create(name, Space(capture.bounds, capture.contraction), preset="tiny", settings=settings)


@pytest.fixture(scope="module")
def teacher(capture: Capture) -> Field:
    field = new_field(capture)
    for _ in fit_images(field, capture, Budget(steps=400)):
        pass
    return field


def closeness(teacher: Field, student: Field, capture: Capture) -> float:
    """PSNR of the student against the teacher over the test views."""
    pairs = [[render_view(field, capture.test.cameras, i)["rgb"] for field in (teacher, student)] for i in range(2)]
    return sum(psnr(b, a) for a, b in pairs) / 2


def run(teacher: Field, student: Field, steps: int, **options: object) -> list[Progress]:
    return list(distill(teacher, student, Budget(steps=steps), options=DistillOptions(**options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mlp", "vm", "triplane", "sparse", "cp", "hash+vm"])
def test_student_of_any_backend_follows_its_teacher(teacher: Field, capture: Capture, name: str) -> None:
    student = new_field(capture, name)
    before = closeness(teacher, student, capture)
    reports = run(teacher, student, 240, cameras=capture.train.cameras)
    assert {report.phase for report in reports} <= {"start", "features", "values", "pixels"}
    assert closeness(teacher, student, capture) > before + 3
    assert closeness(teacher, student, capture) > 18


def test_same_configuration_is_copied_exactly(teacher: Field, capture: Capture) -> None:
    student = new_field(capture)
    reports = run(teacher, student, 100)
    assert reports[-1].step == 0
    assert closeness(teacher, student, capture) > 60


@pytest.mark.parametrize("name", ["triplane", "mlp", "sparse"])
def test_interrupted_distillation_equals_an_unbroken_one(teacher: Field, capture: Capture, name: str) -> None:
    options, budget = DistillOptions(), Budget(steps=320)
    whole, broken, resumed = (new_field(capture, name) for _ in range(3))
    for _ in distill(teacher, whole, budget, options=options):
        pass
    state = DistillState(teacher, broken, options)
    for report in distill(teacher, broken, budget, options=options, state=state):
        if report.step == 192:
            break
    tensors = {key: value.clone() for key, value in state.tensors().items()}
    again = DistillState.restore(teacher, resumed, options, tensors)
    assert (again.step, again.start_method, again.seconds) == (state.step, state.start_method, state.seconds)
    for _ in distill(teacher, resumed, budget, options=options, state=again):
        pass
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key]), key


def test_where_the_start_solves_for_values_only_pixels_are_left(teacher: Field, capture: Capture) -> None:
    def phases(**options: object) -> set[str]:
        return {report.phase for report in run(teacher, new_field(capture, "sparse"), 128, **options)}

    assert phases() == {"start", "pixels"}
    assert "values" in phases(start=False) and phases(levels=("values",)) == {"start", "values"}


def test_pixels_alone_are_slower_than_the_progressive_levels(teacher: Field, capture: Capture) -> None:
    found = {}
    for levels in (("pixels",), ("features", "values", "pixels")):
        student = new_field(capture, "triplane")
        run(teacher, student, 120, levels=levels, start=levels != ("pixels",), cameras=capture.train.cameras)
        found[levels] = closeness(teacher, student, capture)
    assert found["features", "values", "pixels"] > found["pixels",] + 0.5


def test_student_has_no_fog_where_the_mask_is_off(teacher: Field, capture: Capture) -> None:
    student = new_field(capture, "triplane")
    run(teacher, student, 300, cameras=capture.train.cameras)
    rays = capture.test.cameras.view(0)
    empty = render_rays(teacher, rays).opacity < 1e-3
    student.occupancy.bits.fill_(255)
    assert float(render_rays(student, rays).opacity[empty].mean()) < 0.05


def test_distances_cannot_be_taught_by_a_density(teacher: Field, capture: Capture) -> None:
    student = Field.create("hash", teacher.space, "sdf", preset="tiny")
    with pytest.raises(TypeError, match="distance_volume"):
        run(teacher, student, 4)


def test_distillation_ends_when_it_is_close_enough(teacher: Field, capture: Capture) -> None:
    student = new_field(capture, "vm")
    reports = run(teacher, student, 600, cameras=capture.train.cameras, target_psnr=20.0)
    assert reports[-1].step < 600 and reports[-1].metrics["psnr"] >= 20


def test_unlike_features_are_compared_through_an_adapter(teacher: Field, capture: Capture) -> None:
    other = new_field(capture, "sparse")
    state = DistillState(other, student := new_field(capture, "vm"), DistillOptions())
    reports = list(distill(other, student, Budget(steps=32), state=state))
    assert state.adapter is not None and state.adapter.out_features == 27
    assert math.isfinite(reports[-1].loss)


@torch.no_grad()
def with_larger_features(field: Field, factor: float) -> Field:
    """The same field: its appearance network takes back what its features are larger by."""
    found = copy.deepcopy(field)
    split_weights(found.backend.weights, found.backend.widths)[-1][:, 1:] *= factor
    split_weights(found.appearance.weights, found.appearance.widths)[0][: found.backend.width - 1] /= factor
    return found


def test_size_of_a_teachers_features_is_no_matter(teacher: Field, capture: Capture) -> None:
    found = []
    for factor in (1.0, 8.0):
        student = new_field(capture, "sparse")
        run(with_larger_features(teacher, factor), student, 160, cameras=capture.train.cameras)
        found.append(closeness(teacher, student, capture))
    assert found[1] > found[0] - 0.1


@pytest.mark.parametrize("options", [{"active": ("views",)}, {"levels": ()}, {"levels": ("pixels", "features")}])
def test_unknown_parts_of_the_method_are_refused(options: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match="expected some of"):
        DistillOptions(**options)  # type: ignore[arg-type]


def test_clamp_keeps_the_gradient_of_what_must_come_back() -> None:
    value = torch.tensor([-9.0, -9.0, 0.5, 9.0, 9.0], requires_grad=True)
    wanted = torch.tensor([-7.0, 1.0, 0.0, 1.0, 8.0])
    difference = clamped_difference(value, wanted, -2.0, 7.0)
    difference.square().sum().backward()
    assert difference.tolist() == pytest.approx([0.0, -3.0, 0.5, 6.0, 0.0])
    assert value.grad is not None
    assert value.grad.tolist() == pytest.approx([0.0, -6.0, 1.0, 12.0, 0.0])


def test_visible_densities_follow_from_the_marching_step() -> None:
    for scale in (0.1, 1.0, 30.0):
        space = Space(BOX * scale)
        low, high = visible_range(space)
        alpha = [-math.expm1(-math.exp(v) * space.step) for v in (low, high)]
        assert alpha == pytest.approx([1e-4, 0.98])
        assert -math.expm1(-math.exp(empty_log_density(space)) * space.diagonal) == pytest.approx(0.01)


def test_hard_rays_and_cameras_are_drawn_again(teacher: Field, capture: Capture) -> None:
    source = RaySource(teacher, capture.train.cameras, ("cameras", "rays", "points"), 0)
    bad = capture.train.cameras.origins[3]
    for _ in range(60):
        rays, _ = source.draw(8192)
        source.tell(rays, (rays.origins - bad).norm(dim=1).lt(1e-4).float() + 1e-3 * torch.rand(len(rays)))
    source.refresh()
    assert len(source.hard) == 1
    assert float((source.hard.origins - bad).norm()) < 0.5 * float(bad.norm())
    rays, plain = source.draw(10000)
    assert plain == 8000 and len(rays) == 10000
    replayed = (rays.origins[9000:] - bad).norm(dim=1) < 1e-4
    assert float(replayed.float().mean()) > 0.3 > float((rays.origins[:8000] - bad).norm(dim=1).lt(1e-4).float().mean())


def test_ray_source_goes_on_from_its_tensors(teacher: Field) -> None:
    source, other = (RaySource(teacher, None, ("cameras", "rays"), seed) for seed in (0, 5))
    for _ in range(3):
        rays, _ = source.draw(2000)
        source.tell(rays, torch.rand(len(rays), generator=torch.Generator().manual_seed(1)))
        source.refresh()
    other.load({name: tensor.clone() for name, tensor in source.tensors().items()})
    for a, b in zip(source.draw(500)[0].origins, other.draw(500)[0].origins, strict=True):
        assert torch.equal(a, b)


def test_turned_cameras_keep_their_distance() -> None:
    cameras = make_capture(views=4, test_views=1, size=16, seed=0).train.cameras
    centre = torch.tensor([0.1, 0.2, 0.3])
    moved = turned(cameras, centre, 0.2, torch.Generator().manual_seed(0))
    before, after = ((c.origins - centre).norm(dim=1) for c in (cameras, moved))
    assert torch.allclose(before, after, atol=1e-4)
    rotation = moved.camera_to_world[:, :, :3]
    assert torch.allclose(rotation @ rotation.transpose(1, 2), torch.eye(3).expand(4, 3, 3), atol=1e-5)


def test_level_ends_when_it_stops_paying_or_its_share_is_over() -> None:
    schedule = Schedule(("features", "values", "pixels"))
    for _ in range(16 * 7):
        schedule.follow(0.0, 1.0)
    assert schedule.name == "values"
    schedule.follow(0.5, 0.1)
    assert schedule.name == "pixels"
    for _ in range(1000):
        schedule.follow(0.9, 1.0)
    assert schedule.name == "pixels"


def test_cameras_round_a_field_see_it(teacher: Field) -> None:
    cameras = cameras_around(teacher, 8, torch.Generator().manual_seed(0), size=32)
    seen = [float(render_view(teacher, cameras, i, what=("opacity",))["opacity"].max()) for i in range(8)]
    assert min(seen) > 0.9
